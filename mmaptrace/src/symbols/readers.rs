//! The processes that read the files: asked, and replaced where one is lost.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    KERNEL,
    account::Account,
    ask::{Answer, Question},
};
use crate::{escape::Escaped, note};

/// The first argument of such a process.
pub const ARGUMENT: &str = "--read-symbols";
/// How many there are. Each but one is there to take the place of one that was lost.
const READERS: usize = 4;
/// How long one may take to answer of what nobody but root can change.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one may take to open a file while something runs that is traced, and to read it if others can change
/// it.
const SHORT: Duration = Duration::from_secs(3);
/// How much may be owed, see [`Account`], for what nobody but root can change: the largest libraries with their
/// debugging information take a second or more the first time. And for all other files together.
const TRUSTED: Duration = Duration::from_secs(10);
/// See [`TRUSTED`].
const OTHERS: Duration = Duration::from_secs(2);
/// Files that are known to be trusted or not. One more, and all are forgotten: they are opened again.
const KNOWN: usize = 1 << 16;
/// The longest answer, in bytes.
const LONGEST: u64 = 1 << 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Readers {
    /// The last is asked. They are started together, before anything is traced: none is to be traced itself.
    left: OnceCell<Vec<Reader>>,
    /// Files that nobody is asked for any more: one was lost over each.
    given_up: HashSet<u64>,
    /// Files that were opened, and whether nobody but root could change them.
    known: HashMap<u64, bool>,
    /// What was waited for those, for what is not known yet, and for the kernel.
    trusted: Account,
    /// What was waited for other files.
    others: Account,
    /// The same as [`SHORT`], where that matters.
    short: Duration,
    /// How long was waited for all answers together.
    waited: Duration,
    /// It was told that names are left out.
    has_told: bool,
}

/// There was no time to ask; there will be later.
#[derive(Debug)]
pub(super) struct Later;

impl Readers {
    /// `live`: while one of these is waited for, other things wait to be done.
    pub(super) fn new(live: bool) -> Self {
        let limit = |limit| if live { limit } else { Duration::MAX };
        Self {
            left: OnceCell::new(),
            given_up: HashSet::new(),
            known: HashMap::new(),
            trusted: Account::new(limit(TRUSTED)),
            others: Account::new(limit(OTHERS)),
            short: if live { SHORT } else { PATIENCE },
            waited: Duration::ZERO,
            has_told: false,
        }
    }

    /// Starts them, if that was not done; their PIDs.
    pub(super) fn start(&self) -> impl Iterator<Item = u32> {
        let start = || (0..READERS).map_while(|_| Reader::start().ok()).collect();
        self.left.get_or_init(start).iter().map(|reader| reader.process.id())
    }

    /// How long was waited for all answers so far.
    pub(super) const fn waited(&self) -> Duration {
        self.waited
    }

    /// Whether there is time for any file.
    pub(super) fn have_time(&self) -> bool {
        let now = Instant::now();
        self.trusted.is_open(now) && self.others.is_open(now)
    }

    /// The answer; `None`: there is nobody left, or this cannot be asked.
    ///
    /// # Errors
    /// Too much time was spent on such files.
    pub(super) fn ask(&mut self, mut question: Question) -> Result<Option<Answer>, Later> {
        let key = question.file().map_or(KERNEL, |file| file.key);
        if self.given_up.contains(&key) {
            return Ok(None);
        }
        let _ = self.start();
        let Some(reader) = self.left.get_mut().and_then(|left| left.last_mut()) else {
            return Ok(None);
        };
        let began = Instant::now();
        let others = self.others.is_open(began);
        let known = self.known.get(&key).copied();
        // Whom a file belongs to is not known until it is opened.
        let account = if known == Some(false) { &self.others } else { &self.trusted };
        if !account.is_open(began) {
            return Err(self.too_late());
        }
        if let Some(file) = question.file_mut() {
            file.only_trusted = !others;
        }
        let mut trusted = None;
        let answer = reader.ask(&question, self.short, &mut trusted);
        let (now, took) = (Instant::now(), began.elapsed());
        self.waited += took;
        // To find that a file is not to be read takes little, unless there are very many.
        let account = match trusted {
            Some(false) if others => &mut self.others,
            _ => &mut self.trusted,
        };
        account.charge(took, now);
        if let Some(trusted) = trusted {
            if self.known.len() >= KNOWN {
                self.known.clear();
            }
            self.known.insert(key, trusted);
        }
        match answer {
            Ok(Some(answer)) => Ok(Some(answer)),
            Ok(None) => Err(self.too_late()),
            Err(error) => {
                self.lose(key, &question, &error);
                Ok(None)
            }
        }
    }

    /// Tells, once, that names are left out.
    fn too_late(&mut self) -> Later {
        if !self.has_told {
            self.has_told = true;
            note(format_args!(
                "names of functions are left out at times: to read the files that have them takes too long"
            ));
        }
        Later
    }

    /// The one that was asked, over this file.
    fn lose(&mut self, key: u64, question: &Question, error: &io::Error) {
        let Some(left) = self.left.get_mut() else { return };
        left.pop();
        self.given_up.insert(key);
        let what = question.file().map_or(&b"the kernel"[..], |file| &file.path);
        note(format_args!("no names of functions in {}: {error}", Escaped(what)));
        if left.is_empty() {
            note(format_args!("no more names of functions are looked for"));
        }
    }
}

/// One of them; it is killed when it is dropped.
#[derive(Debug)]
struct Reader {
    process: Child,
    stream: BufReader<UnixStream>,
}

impl Reader {
    fn start() -> io::Result<Self> {
        let (stream, other) = UnixStream::pair()?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let process = Command::new("/proc/self/exe")
            .arg(ARGUMENT)
            .stdin(Stdio::from(OwnedFd::from(other.try_clone()?)))
            .stdout(Stdio::from(OwnedFd::from(other)))
            .stderr(Stdio::null())
            // Who signals the tracer's terminal does not mean this.
            .process_group(0)
            .spawn()?;
        Ok(Self { process, stream: BufReader::new(stream) })
    }

    /// The answer; `None`: the file is not to be read. Tells whether the file is `trusted` once it is open, within
    /// a `short` time.
    fn ask(
        &mut self,
        question: &Question,
        short: Duration,
        trusted: &mut Option<bool>,
    ) -> io::Result<Option<Answer>> {
        let mut line = serde_json::to_vec(question)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        let Some(file) = question.file() else { return self.answer(PATIENCE).map(Some) };
        match self.answer(short)? {
            Answer::Opened { trusted: is_trusted } => {
                *trusted = Some(is_trusted);
                let patience = if is_trusted { PATIENCE } else { short };
                let is_read = is_trusted || !file.only_trusted;
                is_read.then(|| self.answer(patience)).transpose()
            }
            answer => Ok(Some(answer)),
        }
    }

    /// The next line.
    fn answer(&mut self, patience: Duration) -> io::Result<Answer> {
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        let mut line = Vec::new();
        let read = self.stream.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        read.map_err(|error| named(error, patience))?;
        if line.is_empty() {
            return Err(io::Error::other("the process that read it has ended"));
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

/// What the kernel calls a time-out says nothing to anyone.
fn named(error: io::Error, patience: Duration) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            io::Error::other(format!("it was not read within {patience:?}"))
        }
        _ => error,
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It may wait for something that nothing wakes it from: who waited for it would, too.
        let _ = self.process.kill();
        let _ = self.process.try_wait();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{super::ask::Wanted, *};

    /// A file that only root can change has a key of more than 100 here.
    const TRUSTED_KEY: u64 = 101;

    /// One that has no names, and answers as a thread of this process does.
    fn readers(live: bool) -> Readers {
        let (stream, other) = UnixStream::pair().expect("a pair");
        let process = Command::new("true").spawn().expect("a process");
        thread::spawn(move || {
            let mut out = other.try_clone().expect("another descriptor");
            for line in BufReader::new(other).lines() {
                let question = serde_json::from_str::<Question>(&line.expect("a line"));
                let question = question.expect("a question");
                let file = question.file().expect("one of a file");
                let trusted = file.key >= TRUSTED_KEY;
                let opened = Answer::Opened { trusted };
                let answer = (trusted || !file.only_trusted).then_some(Answer::BuildId(None));
                for answer in [Some(opened), answer].into_iter().flatten() {
                    let mut line = serde_json::to_vec(&answer).expect("it can be written");
                    line.push(b'\n');
                    out.write_all(&line).expect("it is read");
                }
            }
        });
        let readers = Readers::new(live);
        let reader = Reader { process, stream: BufReader::new(stream) };
        readers.left.set(vec![reader]).expect("none was started");
        readers
    }

    /// Whether the reader answers of a file.
    fn answers(readers: &mut Readers, key: u64) -> bool {
        let (path, dev, ino) = (b"/file".to_vec(), 0, 0);
        let file =
            Wanted { key, process: None, path, dev, ino, build_id: None, only_trusted: false };
        matches!(readers.ask(Question::BuildId { file }), Ok(Some(Answer::BuildId(None))))
    }

    #[test]
    fn files_that_take_too_long_cost_others_no_names() {
        let mut readers = readers(true);
        assert!(answers(&mut readers, 1));
        assert!(answers(&mut readers, TRUSTED_KEY));
        readers.others.charge(2 * OTHERS, Instant::now());
        assert!(!answers(&mut readers, 1), "it was opened before");
        assert!(!answers(&mut readers, 3), "it was not");
        assert_eq!(readers.known.get(&3), Some(&false));
        assert!(answers(&mut readers, TRUSTED_KEY));
        assert!(answers(&mut readers, TRUSTED_KEY + 2));
        assert!(!readers.have_time());
        readers.trusted.charge(2 * TRUSTED, Instant::now());
        assert!(!answers(&mut readers, TRUSTED_KEY));
        assert!(!answers(&mut readers, TRUSTED_KEY + 4));
        assert!(readers.waited() < OTHERS, "it was waited for what is not asked");
    }

    #[test]
    fn there_is_time_for_all_files_of_a_recording() {
        let mut readers = readers(false);
        readers.others.charge(100 * TRUSTED, Instant::now());
        readers.trusted.charge(100 * TRUSTED, Instant::now());
        assert!(readers.have_time());
        assert!(answers(&mut readers, 1));
        assert!(answers(&mut readers, TRUSTED_KEY));
    }
}
