//! What the frames of stacks are called: functions, and lines of source where files have them.
//!
//! Each distinct place is looked up once, when an event that has it is first shown. The kernel's side
//! and the model know nothing of it, and a recording is named when it is read.

mod backtraces;
mod file;

use std::{
    cell::RefCell,
    collections::HashMap,
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::Arc,
};

use blazesym::{
    MaybeDefault,
    symbolize::{
        Input, Symbolizer,
        source::{Elf, Kernel, Source},
    },
};
use mmaptrace_common::record::{BuildId, Header, kind};
use mmaptrace_model::{
    Backing, Model, Stack,
    event::SpaceId,
    stack::{End, Frame, Place, Unidentified},
};

use zerocopy::IntoBytes as _;

pub use backtraces::Backtraces;
use file::{Found, Wanted};

/// Stands for the kernel where the key of a file is; that of a file is odd.
const KERNEL: u64 = 0;

/// A stack with what its frames are called.
#[derive(Debug, PartialEq, Eq)]
pub struct Backtrace {
    /// The frames, the innermost first. Of a stack in the kernel, those of the tracer's own hook are
    /// left out.
    pub frames: Vec<NamedFrame>,
    /// Whether, and why, there are more that were not found.
    pub cut: Option<Cut>,
}

/// Why a stack is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is deeper than what is taken of one.
    Depth,
    /// The last frame's code keeps no frame pointer, by all that can be told: it is not known to be
    /// where threads start.
    FramePointer,
}

/// A frame with what it is called.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedFrame {
    /// The frame.
    pub frame: Frame,
    /// Its function, if that could be found.
    pub symbol: Option<Arc<Symbol>>,
    /// The build id of its file, if it has one and it is known.
    pub build_id: Option<Arc<[u8]>>,
}

/// A function, and a place in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its name, demangled. The file chooses it: any characters.
    pub name: String,
    /// From its start, in bytes: of the frame's address.
    pub offset: u64,
    /// The line of source, where the file's debugging information tells it.
    pub line: Option<(PathBuf, u32)>,
}

/// Places and stacks that are kept. One more, and all are forgotten: they are found again.
const KEPT: usize = 1 << 16;
/// Files that are kept open, likewise; a process has 1024 descriptors, and blazesym keeps its own.
const FILES: usize = 200;

/// Names frames.
#[derive(Debug)]
pub struct Symbols {
    live: bool,
    cache: RefCell<Cache>,
}

#[derive(Debug)]
struct Cache {
    /// Of files that only root can change: what they say of where their debugging information is
    /// can be believed.
    trusted: Symbolizer,
    /// Of all others.
    others: Symbolizer,
    files: HashMap<u64, Option<Found>>,
    /// By file and offset; by [`KERNEL`] and address.
    symbols: HashMap<(u64, u64), Option<Arc<Symbol>>>,
    stacks: HashMap<NonZeroU64, (Arc<Stack>, Arc<Backtrace>)>,
}

impl Symbols {
    /// `live`: the model is of what runs now, and not of a recording.
    pub fn new(live: bool) -> Self {
        Self { live, cache: RefCell::new(Cache::new()) }
    }

    /// The stack of a key, which an event of `space` has.
    pub fn backtrace(
        &self,
        model: &Model,
        space: SpaceId,
        key: NonZeroU64,
    ) -> Option<Arc<Backtrace>> {
        let stack = model.stacks().get(key)?;
        let cache = &mut *self.cache.borrow_mut();
        if let Some((known, named)) = cache.stacks.get(&key)
            && Arc::ptr_eq(known, stack)
        {
            return Some(Arc::clone(named));
        }
        cache.make_room();
        let mut frames = Vec::with_capacity(stack.frames.len());
        for (index, frame) in stack.frames.iter().enumerate() {
            let build_id = frame.file().and_then(|file| model.stacks().build_id(file)).cloned();
            // What is to be returned to may be past the end of the function that called.
            let back = u64::from(index > 0);
            let symbol = match frame.place {
                Place::Kernel => cache.kernel(frame.address, back),
                Place::File { key, offset, .. } => {
                    let wanted = || self.wanted(model, space, frame, build_id.as_deref());
                    cache.symbol(key, offset, back, wanted)
                }
                Place::Special { .. } | Place::Anonymous { .. } | Place::Unmapped => None,
            };
            frames.push(NamedFrame { frame: frame.clone(), symbol, build_id });
        }
        let mut named = Backtrace { frames, cut: None };
        named.leave_out_the_hook();
        named.cut = match stack.end {
            End::Depth => Some(Cut::Depth),
            End::Null | End::Broken => (!named.is_whole()).then_some(Cut::FramePointer),
        };
        let named = Arc::new(named);
        cache.stacks.insert(key, (Arc::clone(stack), Arc::clone(&named)));
        Some(named)
    }

    /// The record of the build id of a file that is new in a stack, as words for their alignment.
    pub fn identify(&self, model: &Model, file: &Unidentified) -> Vec<u64> {
        let key = file.frame.file().unwrap_or(KERNEL);
        let id = {
            let cache = &mut *self.cache.borrow_mut();
            cache.make_room();
            let wanted = || self.wanted(model, file.space, &file.frame, None);
            cache.file(key, wanted).and_then(Found::build_id).unwrap_or_default()
        };
        let size = size_of::<BuildId>() + id.len();
        let header = Header { kind: kind::BUILD_ID, size: size as u32, ..Header::default() };
        let record = BuildId { header, key, len: id.len() as u32, pad: 0 };
        let mut words = vec![0; size.div_ceil(8)];
        let (head, rest) = words.as_mut_bytes().split_at_mut(size_of::<BuildId>());
        head.copy_from_slice(record.as_bytes());
        rest[..id.len()].copy_from_slice(&id);
        words
    }

    /// What is known of the file that a frame lies in.
    fn wanted<'a>(
        &self,
        model: &Model,
        space: SpaceId,
        frame: &'a Frame,
        build_id: Option<&'a [u8]>,
    ) -> Option<Wanted<'a>> {
        let Place::File { key, path, dev, ino, .. } = &frame.place else { return None };
        let process = model.process_of(space).filter(|_| self.live).map(|process| {
            let region = model.space(space).and_then(|space| space.map().at(frame.address));
            let region = region.filter(
                |region| matches!(region.backing, Backing::File { path, .. } if path == *key),
            );
            (process.pid, region.map(|region| (region.start, region.end)))
        });
        Some(Wanted { process, path, dev: *dev, ino: *ino, build_id })
    }
}

impl Cache {
    fn new() -> Self {
        let none: [&Path; 0] = [];
        Self {
            trusted: Symbolizer::builder().enable_inlined_fns(false).build(),
            others: Symbolizer::builder()
                .enable_inlined_fns(false)
                .set_debug_dirs(Some(none))
                .build(),
            files: HashMap::new(),
            symbols: HashMap::new(),
            stacks: HashMap::new(),
        }
    }

    /// Forgets all where there is too much of it.
    fn make_room(&mut self) {
        if self.files.len() > FILES || self.symbols.len() > KEPT || self.stacks.len() > KEPT {
            *self = Self::new();
        }
    }

    fn file<'a>(
        &mut self,
        key: u64,
        wanted: impl FnOnce() -> Option<Wanted<'a>>,
    ) -> Option<&Found> {
        let found = self.files.entry(key).or_insert_with(|| Found::open(&wanted()?));
        found.as_ref()
    }

    /// The function `back` bytes before a place in a file.
    fn symbol<'a>(
        &mut self,
        file: u64,
        offset: u64,
        back: u64,
        wanted: impl FnOnce() -> Option<Wanted<'a>>,
    ) -> Option<Arc<Symbol>> {
        if let Some(known) = self.symbols.get(&(file, offset)) {
            return known.clone();
        }
        let found = self.file(file, wanted).map(|found| (found.path(), found.trusted));
        let symbol = found.and_then(|(path, trusted)| {
            let symbolizer = if trusted { &self.trusted } else { &self.others };
            let input = Input::FileOffset(offset.wrapping_sub(back));
            let mut elf = Elf::new(path);
            look_up(symbolizer, &Source::Elf(elf.clone()), input, back).or_else(|| {
                // Debugging information that cannot be read hides the symbols that can.
                elf.debug_syms = false;
                look_up(symbolizer, &Source::Elf(elf), input, back)
            })
        });
        self.symbols.insert((file, offset), symbol.clone());
        symbol
    }

    /// The function of the kernel `back` bytes before an address.
    fn kernel(&mut self, address: u64, back: u64) -> Option<Arc<Symbol>> {
        if let Some(known) = self.symbols.get(&(KERNEL, address)) {
            return known.clone();
        }
        // An image of the kernel, if there is one, takes long to read and tells no more functions.
        let kernel = Kernel { vmlinux: MaybeDefault::None, ..Kernel::default() };
        let input = Input::AbsAddr(address.wrapping_sub(back));
        let symbol = look_up(&self.trusted, &Source::Kernel(kernel), input, back);
        self.symbols.insert((KERNEL, address), symbol.clone());
        symbol
    }
}

fn look_up(
    symbolizer: &Symbolizer,
    source: &Source<'_>,
    input: Input<u64>,
    back: u64,
) -> Option<Arc<Symbol>> {
    // Where it cannot be read there is no name, and the address is shown as it is.
    let symbolized = symbolizer.symbolize_single(source, input).ok()?;
    let symbol = symbolized.into_sym()?;
    let line = symbol.code_info.and_then(|code| Some((code.to_path().into_owned(), code.line?)));
    let offset = symbol.offset as u64 + back;
    Some(Arc::new(Symbol { name: symbol.name.into_owned(), offset, line }))
}

impl Backtrace {
    /// Whether the last frame is where the kernel starts what it runs.
    ///
    /// Of a user's stack only the name of the function tells: the code that starts programs and
    /// threads keeps no frame pointers as a rule, and other code that keeps none may leave a null one.
    fn is_whole(&self) -> bool {
        const STARTS: [&str; 13] = [
            "_start",
            "_start_c",
            "_dl_start",
            "_dl_start_user",
            "__libc_start_main",
            "__libc_start_main_impl",
            "__libc_start_call_main",
            "start_thread",
            "clone",
            "clone3",
            "__clone",
            "__clone3",
            "runtime.goexit",
        ];
        let mut last = self.frames.iter().rev();
        let Some(outermost) = last.next() else { return false };
        // The C library may be without the names of its own functions.
        outermost.frame.place == Place::Kernel
            || outermost.function().is_some_and(|name| STARTS.contains(&name))
            || last.next().and_then(NamedFrame::function) == Some("main")
    }

    /// Drops the frames that are there because the tracer looks.
    fn leave_out_the_hook(&mut self) {
        /// How far in they can be.
        const DEEPEST: usize = 12;
        let is_hook = |frame: &NamedFrame| {
            let name = frame.function().unwrap_or_default();
            ["bpf_", "__bpf_", "__traceiter_", "__mmap_lock_do_trace_"]
                .iter()
                .any(|start| name.starts_with(start))
        };
        if matches!(self.frames.first(), Some(frame) if frame.frame.place == Place::Kernel) {
            let first = &self.frames[..self.frames.len().min(DEEPEST)];
            let hook = first.iter().rposition(is_hook).map_or(0, |last| last + 1);
            self.frames.drain(..hook);
        }
    }
}

impl NamedFrame {
    fn function(&self) -> Option<&str> {
        self.symbol.as_ref().map(|symbol| &symbol.name[..])
    }
}
