//! Random calls, drawn so that they meet each other's regions.

use mmaptrace_model::region::PAGE;

/// Where they play: nothing else is near.
const ARENA: u64 = 0x2000_0000_0000;
const ARENA_PAGES: u64 = 96;

/// What calls are made of beside their place.
pub(crate) struct Given {
    /// A file in memory, open for reading and writing.
    pub(crate) memory_file: i32,
    /// A file on disk, open for reading.
    pub(crate) program_file: i32,
    /// The break at the start: what lies below is not ours.
    pub(crate) brk: u64,
}

/// xorshift64*
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A call: its number and arguments, and the ranges it may change but for the one it returns.
pub(crate) struct Call {
    pub(crate) nr: libc::c_long,
    pub(crate) args: [u64; 6],
    pub(crate) touches: Vec<(u64, u64)>,
    /// The length of what it returns the address of, or 0.
    pub(crate) returns: u64,
}

impl Call {
    pub(crate) fn random(rng: &mut Rng, given: &Given) -> Self {
        let lo = ARENA + rng.below(ARENA_PAGES) * PAGE;
        let len = (1 + rng.below(12)) * PAGE;
        let here = vec![(lo, lo + len)];
        let range = |nr, third: u64| Self {
            nr,
            args: [lo, len, third, 0, 0, 0],
            touches: here.clone(),
            returns: 0,
        };
        match rng.below(20) {
            0..6 => Self::mmap(rng, given, lo, len),
            6..9 => range(libc::SYS_munmap, 0),
            9..12 => range(libc::SYS_mprotect, rng.pick(&[0, 1, 3])),
            12..15 => Self::mremap(rng, lo, len),
            15..17 => {
                let advice = [
                    libc::MADV_DONTFORK,
                    libc::MADV_DOFORK,
                    libc::MADV_DONTDUMP,
                    libc::MADV_DODUMP,
                    libc::MADV_WIPEONFORK,
                    libc::MADV_KEEPONFORK,
                    libc::MADV_SEQUENTIAL,
                    libc::MADV_NORMAL,
                    libc::MADV_DONTNEED,
                ];
                range(libc::SYS_madvise, rng.pick(&advice) as u64)
            }
            17 => range(rng.pick(&[libc::SYS_mlock, libc::SYS_munlock, libc::SYS_munlock]), 0),
            18 => {
                let brk = given.brk + rng.below(40) * 1000;
                let first = given.brk & !(PAGE - 1);
                let touches = vec![(first, first + 12 * PAGE)];
                Self { nr: libc::SYS_brk, args: [brk, 0, 0, 0, 0, 0], touches, returns: 0 }
            }
            _ => {
                let onfault = (libc::MCL_CURRENT | libc::MCL_ONFAULT) as u64;
                let nr = rng.pick(&[libc::SYS_mlockall, libc::SYS_munlockall]);
                let touches = vec![(0, u64::MAX - 4095)];
                Self { nr, args: [onfault, 0, 0, 0, 0, 0], touches, returns: 0 }
            }
        }
    }

    fn mmap(rng: &mut Rng, given: &Given, lo: u64, len: u64) -> Self {
        let place = rng.pick(&[libc::MAP_FIXED, libc::MAP_FIXED, libc::MAP_FIXED_NOREPLACE, 0]);
        let (kind, file) = rng.pick(&[
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE, -1),
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_GROWSDOWN, -1),
            (libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
            (libc::MAP_SHARED, given.memory_file),
            (libc::MAP_PRIVATE, given.memory_file),
            (libc::MAP_PRIVATE, given.program_file),
        ]);
        let prot = rng.pick(&[0, 1, 3, 3]);
        let offset = rng.below(4) * PAGE;
        // A hint now and then; what it gives is told by the result.
        let hint = if place == 0 && rng.below(2) == 0 { 0 } else { lo };
        Self {
            nr: libc::SYS_mmap,
            args: [hint, len, prot, (place | kind) as u64, i64::from(file) as u64, offset],
            touches: vec![(lo, lo + len)],
            returns: len,
        }
    }

    fn mremap(rng: &mut Rng, lo: u64, len: u64) -> Self {
        let to = ARENA + rng.below(ARENA_PAGES) * PAGE;
        let (old, new, flags) = match rng.below(6) {
            0 => (len, len + PAGE * (1 + rng.below(4)), 0),
            1 => (len, PAGE, 0),
            2 => (len, len + PAGE, libc::MREMAP_MAYMOVE),
            3 => (len, len, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED),
            4 => (len, len, libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP),
            _ => (0, len, libc::MREMAP_MAYMOVE),
        };
        let longest = old.max(new);
        Self {
            nr: libc::SYS_mremap,
            args: [lo, old, new, flags as u64, to, 0],
            touches: vec![(lo, lo + longest), (to, to + longest)],
            returns: new,
        }
    }
}
