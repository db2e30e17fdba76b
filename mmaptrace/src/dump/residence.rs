//! How much of each region is in memory: what `/proc/PID/smaps` says, to be joined to a map of the
//! model. The kernel keeps no such figures; it walks the page tables when asked.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader},
};

use mmaptrace_model::{Map, Region};

use crate::{machine::thread_with_memory, sink::pmap::Resident};

/// The figures of each region, by its first address and the first after it.
#[derive(Debug, Default)]
pub struct Residence(HashMap<(u64, u64), Resident>);

impl Residence {
    /// Of a process, now.
    ///
    /// # Errors
    /// It has ended, or it is not smaps.
    pub fn of(pid: u32) -> io::Result<Self> {
        Self::parse(BufReader::new(File::open(format!("/proc/{}/smaps", thread_with_memory(pid)))?))
    }

    /// Takes smaps apart, byte by byte, for the names in it may be no UTF-8.
    ///
    /// # Errors
    /// It is something else, or what `smaps` says.
    pub fn parse(mut smaps: impl BufRead) -> io::Result<Self> {
        let mut all = HashMap::new();
        let mut now: Option<&mut Resident> = None;
        let mut line = Vec::new();
        while smaps.read_until(b'\n', &mut line)? > 0 {
            let mut words = line.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty());
            let first = words.next().unwrap_or_default();
            // Keys begin with a capital, addresses are in lower case.
            if first.first().is_some_and(u8::is_ascii_uppercase) {
                let resident = now.as_mut().ok_or(io::ErrorKind::InvalidData)?;
                let figure = match first {
                    b"Rss:" => &mut resident.rss,
                    b"Shared_Dirty:" | b"Private_Dirty:" => &mut resident.dirty,
                    _ => {
                        line.clear();
                        continue;
                    }
                };
                let sum = number(words.next(), 10).and_then(|more| figure.checked_add(more));
                *figure = sum.ok_or(io::ErrorKind::InvalidData)?;
            } else {
                let mut ends = first.split(|&byte| byte == b'-').map(|end| number(Some(end), 16));
                let range = ends.next().flatten().zip(ends.next().flatten());
                let range = range.ok_or(io::ErrorKind::InvalidData)?;
                now = Some(all.entry(range).or_insert(Resident::default()));
            }
            line.clear();
        }
        Ok(Self(all))
    }

    /// The figures of a region; none if it was not there.
    pub fn get(&self, region: &Region) -> Resident {
        self.0.get(&(region.start, region.end)).copied().unwrap_or_default()
    }

    /// Whether every region of a map was there.
    pub fn covers(&self, map: &Map) -> bool {
        map.iter().all(|region| self.0.contains_key(&(region.start, region.end)))
    }
}

fn number(word: Option<&[u8]>, radix: u32) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(word?).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &[u8] = b"55d5c0a8e000-55d5c0a90000 r--p 00000000 fe:00 247774  /tmp/\xff Rss:\n\
        Size:                  8 kB\n\
        Rss:                   8 kB\n\
        Pss_Dirty:             3 kB\n\
        Shared_Dirty:          4 kB\n\
        Private_Dirty:         2 kB\n\
        VmFlags: rd mr mw me sd\n\
        7ffe0000-7fff0000 rw-p 00000000 00:00 0\n\
        Rss:                   0 kB\n";

    #[test]
    fn figures_are_those_of_their_region() {
        let residence = Residence::parse(SMAPS).expect("smaps");
        let resident = |start, end| residence.0.get(&(start, end)).copied();
        assert_eq!(
            resident(0x55d5_c0a8_e000, 0x55d5_c0a9_0000),
            Some(Resident { rss: 8, dirty: 6 })
        );
        assert_eq!(resident(0x7ffe_0000, 0x7fff_0000), Some(Resident::default()));
        assert_eq!(residence.0.len(), 2);
    }

    #[test]
    fn what_is_no_smaps_is_an_error() {
        for wrong in [
            &b"Rss: 8 kB\n"[..],
            b"nothing\n",
            b"1000-2000 r--p\nRss: many\n",
            b"1000-2000 r--p\nRss: 18446744073709551615 kB\nRss: 1 kB\n",
        ] {
            assert!(Residence::parse(wrong).is_err());
        }
    }
}
