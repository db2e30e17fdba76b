//! The process that reads the files: its life.
//!
//! Whoever may be traced may choose what these files hold. One that makes its reader take all memory,
//! come to nothing, or wait for ever ends this process, or has it ended, and nothing else.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
};

use blazesym::{
    MaybeDefault,
    symbolize::{
        Input, Symbolizer,
        source::{Elf, Kernel, Source},
    },
};

use super::{
    Symbol,
    ask::{Answer, Question, Wanted},
    demangle::demangled,
    files::{Files, Found},
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
        let answer = reader.answer(&serde_json::from_str(&line?)?);
        let mut answer = serde_json::to_vec(&answer)?;
        answer.push(b'\n');
        out.write_all(&answer)?;
        out.flush()?;
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
    /// Of files that only root can change: what they say of where their debugging information is
    /// can be believed.
    trusted: Symbolizer,
    /// Of all others.
    others: Symbolizer,
    files: Files,
}

impl Reader {
    fn new() -> Self {
        let none: [&Path; 0] = [];
        let symbolizer =
            || Symbolizer::builder().enable_inlined_fns(false).enable_demangling(false);
        Self {
            trusted: symbolizer().build(),
            others: symbolizer().set_debug_dirs(Some(none)).build(),
            files: Files::default(),
        }
    }

    fn answer(&mut self, question: &Question) -> Answer {
        if self.files.are_many() {
            *self = Self::new();
        }
        match question {
            Question::Kernel { address, back } => Answer::Function(self.kernel(*address, *back)),
            Question::Function { file, offset, back } => {
                Answer::Function(self.function(file, *offset, *back))
            }
            Question::BuildId { file } => {
                Answer::BuildId(self.files.find(file).and_then(Found::build_id))
            }
        }
    }

    fn function(&mut self, file: &Wanted, offset: u64, back: u64) -> Option<Symbol> {
        let found = self.files.find(file)?;
        let symbolizer = if found.trusted { &self.trusted } else { &self.others };
        let input = Input::FileOffset(offset.wrapping_sub(back));
        let mut elf = Elf::new(found.path());
        look_up(symbolizer, &Source::Elf(elf.clone()), input, back).or_else(|| {
            // Debugging information that cannot be read hides the symbols that can.
            elf.debug_syms = false;
            look_up(symbolizer, &Source::Elf(elf), input, back)
        })
    }

    fn kernel(&self, address: u64, back: u64) -> Option<Symbol> {
        // An image of the kernel, if there is one, takes long to read and tells no more functions.
        let kernel = Kernel { vmlinux: MaybeDefault::None, ..Kernel::default() };
        let input = Input::AbsAddr(address.wrapping_sub(back));
        look_up(&self.trusted, &Source::Kernel(kernel), input, back)
    }
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
