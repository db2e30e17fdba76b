//! Where events are written: whole lines, or nothing.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    path::Path,
};

/// How much is gathered before it is handed on without being asked, in bytes.
const BUFFER: usize = 1 << 16;

/// A file, a pipe or a terminal that gets whole lines: where writing fails in the middle of one, a
/// file is cut back to the last that is complete.
#[derive(Debug)]
pub struct Output {
    file: File,
    /// What errors call it.
    name: String,
    buffer: Vec<u8>,
    /// Length of what was written to a regular file, in bytes.
    length: Option<u64>,
}

impl Output {
    /// A new file, or an old one emptied.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let regular = file.metadata()?.is_file();
        let name = path.display().to_string();
        Ok(Self { file, name, buffer: Vec::new(), length: regular.then_some(0) })
    }

    /// One of the standard streams, which errors call `name`. Not cut back: others write to it as
    /// well.
    ///
    /// # Errors
    /// It is closed.
    pub fn stream(stream: &impl AsFd, name: &str) -> io::Result<Self> {
        let file = File::from(stream.as_fd().try_clone_to_owned()?);
        Ok(Self { file, name: name.to_owned(), buffer: Vec::new(), length: None })
    }

    /// Writes the first `count` bytes of the buffer.
    fn hand_on(&mut self, count: usize) -> io::Result<()> {
        let outcome = self.file.write_all(&self.buffer[..count]);
        if let Some(length) = self.length {
            let length = if outcome.is_ok() {
                length + count as u64
            } else {
                let whole = length + self.last_line_behind(length)?;
                self.file.set_len(whole)?;
                whole
            };
            self.length = Some(length);
        }
        // What could not be written is gone: the caller ends.
        self.buffer.drain(..count);
        outcome.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.name)))
    }

    /// How many bytes of the buffer's whole lines came to lie in the file behind `length`.
    fn last_line_behind(&self, length: u64) -> io::Result<u64> {
        let written = self.file.metadata()?.len().saturating_sub(length) as usize;
        let written = &self.buffer[..written.min(self.buffer.len())];
        Ok(written.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at as u64 + 1))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER
            && let Some(at) = self.buffer.iter().rposition(|&byte| byte == b'\n')
        {
            self.hand_on(at + 1)?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.hand_on(self.buffer.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_device_is_an_error_and_lines_stay_whole() {
        let mut full = Output::create(Path::new("/dev/full")).expect("it can be opened");
        full.write_all(b"line\n").expect("buffered");
        let error = full.flush().expect_err("it is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn lines_are_handed_on_whole() {
        let path = std::env::temp_dir().join(format!("mmaptrace-output-{}", std::process::id()));
        let mut output = Output::create(&path).expect("a file");
        let line = [b'x'; 1000];
        for _ in 0..100 {
            output.write_all(&line).expect("room");
            output.write_all(b"\n").expect("room");
        }
        let written = std::fs::read(&path).expect("it is there");
        assert!(!written.is_empty() && written.ends_with(b"x\n"));
        output.flush().expect("room");
        assert_eq!(std::fs::read(&path).expect("it is there").len(), 100 * 1001);
        std::fs::remove_file(&path).expect("it was there");
    }
}
