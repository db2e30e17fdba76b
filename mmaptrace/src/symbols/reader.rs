//! The process that reads the files: its life.
//!
//! Whoever may be traced may choose what these files hold. One that makes its reader take all memory,
//! come to nothing, or wait for ever ends this process, or has it ended, and nothing else.

use std::io::{self, BufRead as _, BufReader, Write as _};

use blazesym::{
    MaybeDefault,
    symbolize::{
        Builder, Input, Symbolizer,
        source::{Elf, Kernel, Source},
    },
};

use super::{
    Symbol,
    ask::{Answer, Question},
    demangle::demangled,
    files::{Files, Found, OpenFile},
};

/// What it may take for itself, in bytes; files that are mapped and copies of files are beside that.
const MEMORY: u64 = 1 << 30;
/// The longest path of a line of source that is told, in bytes.
const PATH_MAX: usize = 4096;

/// Answers on standard output what is asked on standard input, until that ends.
///
/// # Errors
/// Nobody listens any more.
pub fn read() -> io::Result<()> {
    keep_to_itself();
    let mut reader = Reader::new();
    let mut out = io::stdout().lock();
    for line in BufReader::new(io::stdin()).lines() {
        reader.answer(&serde_json::from_str(&line?)?, |answer| {
            let mut answer = serde_json::to_vec(&answer)?;
            answer.push(b'\n');
            out.write_all(&answer)?;
            out.flush()
        })?;
    }
    Ok(())
}

/// Takes no more than it may, leaves no core, and ends with whoever asks.
fn keep_to_itself() {
    let limit = |resource, limit| {
        let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: a local that lives on. Without the limit it does the same.
        unsafe { libc::setrlimit(resource, &raw const limit) };
    };
    limit(libc::RLIMIT_DATA, MEMORY);
    limit(libc::RLIMIT_CORE, 0);
    // SAFETY: plain calls; the name is a constant.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NAME, c"symbols".as_ptr());
    }
}

/// Finds functions.
struct Reader {
    kernel: Symbolizer,
    files: Files,
}

impl Reader {
    fn new() -> Self {
        Self { kernel: symbolizer().build(), files: Files::default() }
    }

    /// Tells what is asked for, and before that whether a file that was found is trusted: the time that it takes
    /// to read it depends on who made it.
    fn answer(
        &mut self,
        question: &Question,
        mut tell: impl FnMut(Answer) -> io::Result<()>,
    ) -> io::Result<()> {
        let file = match question.file().map(|file| self.files.find(file)) {
            Some(Found::Untrusted) => return tell(Answer::Opened { trusted: false }),
            Some(Found::File(file)) => {
                tell(Answer::Opened { trusted: file.is_trusted() })?;
                Some(file)
            }
            Some(Found::Nothing) | None => None,
        };
        tell(match *question {
            Question::Kernel { address, back } => Answer::Function(self.kernel(address, back)),
            Question::Function { offset, back, .. } => {
                Answer::Function(file.and_then(|file| function(file, offset, back)))
            }
            Question::BuildId { .. } => Answer::BuildId(file.and_then(OpenFile::build_id)),
        })
    }

    fn kernel(&self, address: u64, back: u64) -> Option<Symbol> {
        // An image of the kernel, if there is one, takes long to read and tells no more functions.
        let kernel = Kernel { vmlinux: MaybeDefault::None, ..Kernel::default() };
        let input = Input::AbsAddr(address.wrapping_sub(back));
        look_up(&self.kernel, &Source::Kernel(kernel), input, back)
    }
}

pub(super) fn symbolizer() -> Builder {
    Symbolizer::builder().enable_inlined_fns(false).enable_demangling(false)
}

fn function(file: &OpenFile, offset: u64, back: u64) -> Option<Symbol> {
    let input = Input::FileOffset(offset.wrapping_sub(back));
    let mut elf = Elf::new(file.path());
    look_up(&file.symbolizer, &Source::Elf(elf.clone()), input, back).or_else(|| {
        // Debugging information that cannot be read hides the symbols that can.
        elf.debug_syms = false;
        look_up(&file.symbolizer, &Source::Elf(elf), input, back)
    })
}

fn look_up(
    symbolizer: &Symbolizer,
    source: &Source<'_>,
    input: Input<u64>,
    back: u64,
) -> Option<Symbol> {
    // Where it cannot be read there is no name, and the address is shown as it is.
    let symbolized = symbolizer.symbolize_single(source, input).ok()?;
    let symbol = symbolized.into_sym()?;
    let line = symbol.code_info.and_then(|code| {
        let path = code.to_path().to_str().filter(|path| path.len() <= PATH_MAX)?.into();
        Some((path, code.line?))
    });
    let offset = symbol.offset as u64 + back;
    Some(Symbol { name: demangled(&symbol.name), offset, line })
}
