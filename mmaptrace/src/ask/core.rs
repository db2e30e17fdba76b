//! What a core file tells of a crash: whose it is, and the address that could not be accessed.

use std::{fs::File, ops::Range, path::Path};

use anyhow::{Context as _, Result, bail};
use object::{
    Endianness,
    elf::{FileHeader64, NT_PRSTATUS, NT_SIGINFO},
    read::{
        ReadCache, ReadRef,
        elf::{FileHeader as _, ProgramHeader as _},
    },
};

/// `si_signo`, `si_code` and `si_addr` in a 64-bit `siginfo_t`.
const SIGINFO: [Range<usize>; 3] = [0..4, 8..12, 16..24];
/// `pr_pid` in `struct elf_prstatus`: the thread.
const PRSTATUS_PID: Range<usize> = 32..36;
/// `pr_pid` in `struct elf_prpsinfo`: the process.
const PRPSINFO_PID: Range<usize> = 24..28;

/// `SI_KERNEL`
const SI_KERNEL: u64 = 0x80;

/// A crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crash {
    /// The process, in the PID namespace it ran in.
    pub(super) pid: u32,
    /// The thread, likewise.
    pub(super) tid: u32,
    /// The signal.
    pub(super) signal: u32,
    /// The address.
    pub(super) address: u64,
}

impl Crash {
    /// Reads it from a core file.
    ///
    /// # Errors
    /// It cannot be read, is no core file of a 64-bit program, or of no fault.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        // Of what may be gigabytes the headers and the notes are read.
        Self::parse(&ReadCache::new(file)).with_context(|| path.display().to_string())
    }

    fn parse<'a>(data: impl ReadRef<'a>) -> Result<Self> {
        let header = FileHeader64::<Endianness>::parse(data)
            .ok()
            .context("no ELF file of 64 bits; give the address itself")?;
        let endian = header.endian()?;
        if header.e_type(endian) != object::elf::ET_CORE {
            bail!("no core file");
        }
        let (mut pid, mut tid, mut signal) = (None, None, None);
        for segment in header.program_headers(endian, data)? {
            let Some(mut notes) = segment.notes(endian, data)? else { continue };
            while let Some(note) = notes.next()? {
                let desc = note.desc();
                let number = |at| word(desc, at);
                match note.n_type(endian) {
                    // The thread that crashed comes first.
                    NT_PRSTATUS => tid = tid.or(number(PRSTATUS_PID)),
                    object::elf::NT_PRPSINFO => pid = pid.or(number(PRPSINFO_PID)),
                    NT_SIGINFO if signal.is_none() => {
                        let [signo, code, address] = SIGINFO.map(|at| word(desc, at));
                        signal = Some((signo, code, address));
                    }
                    _ => {}
                }
            }
        }
        let (Some(pid), Some(tid), Some((Some(signal), Some(code), Some(address)))) =
            (pid, tid, signal)
        else {
            bail!("a core file that does not tell of a signal");
        };
        let name = crate::syscall::signal::Name(signal as u32);
        let fault = [libc::SIGSEGV, libc::SIGBUS].contains(&(signal as i32));
        // Of a signal that a process sent (SI_USER, SI_TKILL) the bytes mean something else.
        if !fault || (code as i32) <= 0 {
            bail!("it died of {name}, which is about no address");
        }
        // A general protection fault: the processor does not say.
        if code == SI_KERNEL {
            bail!("it died of {name} by an address of no canonical form, which no core file tells");
        }
        Ok(Self { pid: pid as u32, tid: tid as u32, signal: signal as u32, address })
    }
}

/// A little-endian number of at most 8 bytes.
fn word(bytes: &[u8], at: Range<usize>) -> Option<u64> {
    let mut word = [0; 8];
    word[..at.len()].copy_from_slice(bytes.get(at)?);
    Some(u64::from_le_bytes(word))
}
