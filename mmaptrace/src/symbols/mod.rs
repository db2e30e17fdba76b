//! What the frames of stacks are called: functions, and lines of source where files have them.
//!
//! Each distinct place is looked up once, when an event that has it is first shown. The kernel's side
//! and the model know nothing of it, and a recording is named when it is read.

mod account;
mod ask;
mod backtraces;
mod demangle;
mod files;
mod reader;
mod readers;

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    num::NonZeroU64,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use mmaptrace_common::record::{BuildId, Header, kind};
use mmaptrace_model::{
    Backing, Model, Stack,
    event::SpaceId,
    stack::{End, Frame, Place, Unidentified},
};
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes as _;

pub use backtraces::Backtraces;
pub use reader::read;
pub use readers::ARGUMENT;

use ask::{Answer, Question, Wanted};
use readers::{Later, Readers};

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
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbol {
    /// Its name, demangled, and cut off where it is too long. The file chooses it: any characters.
    pub name: String,
    /// From its start, in bytes: of the frame's address.
    pub offset: u64,
    /// The line of source, where the file's debugging information tells it.
    pub line: Option<(PathBuf, u32)>,
}

/// Places and stacks that are kept. One more, and all are forgotten: they are found again.
const KEPT: usize = 1 << 16;

/// Names frames.
#[derive(Debug)]
pub struct Symbols {
    live: bool,
    cache: RefCell<Cache>,
}

#[derive(Debug)]
struct Cache {
    readers: Readers,
    /// By file and offset; by [`KERNEL`] and address.
    symbols: HashMap<(u64, u64), Option<Arc<Symbol>>>,
    stacks: HashMap<NonZeroU64, (Arc<Stack>, Arc<Backtrace>)>,
    /// Those of them that have places for which there was no time yet.
    unfinished: HashSet<NonZeroU64>,
}

impl Symbols {
    /// `live`: the model is of what runs now, and not of a recording.
    pub fn new(live: bool) -> Self {
        let (readers, symbols, stacks) = (Readers::new(live), HashMap::new(), HashMap::new());
        let cache = RefCell::new(Cache { readers, symbols, stacks, unfinished: HashSet::new() });
        Self { live, cache }
    }

    /// Starts the processes that read the files, which the first question would do otherwise; their PIDs.
    pub fn start(&self) -> Vec<u32> {
        self.cache.borrow().readers.start().collect()
    }

    /// How long the processes that read the files were waited for so far.
    pub fn waited(&self) -> Duration {
        self.cache.borrow().readers.waited()
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
        cache.try_again();
        if let Some((known, named)) = cache.stacks.get(&key)
            && Arc::ptr_eq(known, stack)
        {
            return Some(Arc::clone(named));
        }
        cache.make_room();
        let mut frames = Vec::with_capacity(stack.frames.len());
        let mut is_finished = true;
        for (index, frame) in stack.frames.iter().enumerate() {
            let build_id = frame.file().and_then(|file| model.stacks().build_id(file)).cloned();
            // What is to be returned to may be past the end of the function that called.
            let back = u64::from(index > 0);
            let symbol = match frame.place {
                Place::Kernel => cache.kernel(frame.address, back),
                Place::File { key, offset, .. } => {
                    let wanted = || self.wanted(model, space, frame, build_id.as_deref());
                    cache.function(key, offset, back, wanted)
                }
                Place::Special { .. } | Place::Anonymous { .. } | Place::Unmapped => Ok(None),
            };
            is_finished &= symbol.is_ok();
            let symbol = symbol.unwrap_or_default();
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
        if !is_finished {
            cache.unfinished.insert(key);
        }
        Some(named)
    }

    /// The record of the build id of a file that is new in a stack, as words for their alignment.
    pub fn identify(&self, model: &Model, file: &Unidentified) -> Vec<u64> {
        let key = file.frame.file().unwrap_or(KERNEL);
        let wanted = self.wanted(model, file.space, &file.frame, None);
        let answer = wanted.and_then(|file| {
            self.cache.borrow_mut().readers.ask(Question::BuildId { file }).ok()?
        });
        let id = match answer {
            // Where there was no time for it, there is none.
            Some(Answer::BuildId(Some(id))) => id,
            _ => Vec::new(),
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
    fn wanted(
        &self,
        model: &Model,
        space: SpaceId,
        frame: &Frame,
        build_id: Option<&[u8]>,
    ) -> Option<Wanted> {
        let Place::File { key, path, dev, ino, .. } = &frame.place else { return None };
        let process = model.process_of(space).filter(|_| self.live).map(|process| {
            let region = model.space(space).and_then(|space| space.map().at(frame.address));
            let region = region.filter(
                |region| matches!(region.backing, Backing::File { path, .. } if path == *key),
            );
            (process.pid, region.map(|region| (region.start, region.end)))
        });
        let (path, build_id) = (path.to_vec(), build_id.map(<[u8]>::to_vec));
        Some(Wanted {
            key: *key,
            process,
            path,
            dev: *dev,
            ino: *ino,
            build_id,
            only_trusted: false,
        })
    }
}

impl Cache {
    /// Forgets all where there is too much of it.
    fn make_room(&mut self) {
        if self.symbols.len() > KEPT || self.stacks.len() > KEPT {
            self.symbols.clear();
            self.stacks.clear();
            self.unfinished.clear();
        }
    }

    /// Forgets the stacks for which there was no time, once there is.
    fn try_again(&mut self) {
        if !self.unfinished.is_empty() && self.readers.have_time() {
            for key in self.unfinished.drain() {
                self.stacks.remove(&key);
            }
        }
    }

    /// The function `back` bytes before a place in a file.
    fn function(
        &mut self,
        file: u64,
        offset: u64,
        back: u64,
        wanted: impl FnOnce() -> Option<Wanted>,
    ) -> Result<Option<Arc<Symbol>>, Later> {
        self.symbol((file, offset), || Some(Question::Function { file: wanted()?, offset, back }))
    }

    /// The function of the kernel `back` bytes before an address.
    fn kernel(&mut self, address: u64, back: u64) -> Result<Option<Arc<Symbol>>, Later> {
        self.symbol((KERNEL, address), || Some(Question::Kernel { address, back }))
    }

    fn symbol(
        &mut self,
        place: (u64, u64),
        question: impl FnOnce() -> Option<Question>,
    ) -> Result<Option<Arc<Symbol>>, Later> {
        let Self { readers, symbols, .. } = self;
        if let Some(known) = symbols.get(&place) {
            return Ok(known.clone());
        }
        let answer = question().map_or(Ok(None), |question| readers.ask(question))?;
        let symbol = match answer {
            Some(Answer::Function(symbol)) => symbol.map(Arc::new),
            _ => None,
        };
        symbols.insert(place, symbol.clone());
        Ok(symbol)
    }
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
