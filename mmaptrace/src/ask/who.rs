//! `mmaptrace who`: what ever happened to an address.
//!
//! ```text
//! 7f84c36bd123 in 4711 server: not mapped
//!   unmapped 3.1 ms before it was killed by SIGSEGV, 10:01:25.576651
//!            by thread 4713 worker-2: munmap(0x7f84c36bd000, 16384), commit 1234
//!              release_page (pool.c:81)
//! ```
//!
//! and after that the events that concern it, as the live text has them.

mod answer;
mod picture;

use std::{
    cell::RefCell,
    collections::HashMap,
    io::{self, Write},
    ops::ControlFlow,
    rc::Rc,
};

use anyhow::Result;
use mmaptrace_model::{
    Event, HeapRule, Model,
    event::{Cause, SpaceId},
    history::{Origins, Story, Tale},
    region::PAGE,
};

use self::{
    answer::Answer,
    picture::{Picture, named},
};
use super::{core::Crash, style, until};
use crate::{
    config::{self, Format},
    exit::Exit,
    history::Past,
    note,
    output::print,
    sink::{Clock, Filter, Json, Lens, Sink, Telling, Text, text::Style},
    symbols::Backtraces,
    syscall::signal,
};

/// How an answer is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) format: Format,
    pub(super) style: Style,
    pub(super) clock: Clock,
    pub(super) heap: HeapRule,
}

/// Listens to all events, and answers at the end.
pub(super) struct Teller {
    address: u64,
    length: u64,
    /// The only process whose spaces are told of.
    pid: Option<u32>,
    manner: Manner,
    story: Story,
    origins: Origins,
    stacks: Backtraces,
    books: HashMap<SpaceId, Book>,
}

/// The story in one space.
struct Book {
    text: Shared,
    sink: Box<dyn Sink>,
    /// How much of the text was the parent's.
    inherited: usize,
    /// What was there when it was last looked at.
    picture: Picture,
}

/// A writer whose text can be looked at.
#[derive(Clone, Debug, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Teller {
    /// Of the bytes at `address`, at least 1, in the spaces of `pid` if one is given.
    pub(super) fn new(address: u64, length: u64, pid: Option<u32>, manner: Manner) -> Self {
        Self {
            address,
            length,
            pid,
            manner,
            story: Story::new(address, length, pid),
            origins: Origins::default(),
            stacks: Backtraces::default(),
            books: HashMap::new(),
        }
    }

    /// Takes an event, and the model after it.
    ///
    /// # Errors
    /// None that a writer into memory could have.
    pub(super) fn event(&mut self, event: &Event, model: &Model) -> io::Result<()> {
        self.origins.event(event, model);
        // A page may have been made elsewhere, and moved here.
        self.stacks.event(event, model);
        let Some((space, told)) = self.story.event(event, model) else {
            if let Event::Commit { space, cause, .. } = event
                && self.story.tales().contains_key(space)
            {
                self.look_around(*space, *cause, model);
            }
            return Ok(());
        };
        if let Event::Fork { .. } = told {
            self.inherit(space);
        }
        self.book(space);
        let lens = Lens { model, heap: self.manner.heap, symbols: self.stacks.symbols() };
        if let Some(book) = self.books.get_mut(&space) {
            book.sink.event(&told, &lens)?;
        }
        // The space may be gone by the time that its end is told.
        if let Some(picture) = self.look(space, model) {
            self.book(space).picture = picture;
        }
        Ok(())
    }

    /// Keeps up with what is beside the address, which nothing has happened to: once the end of the
    /// process is told, its space may be gone.
    fn look_around(&mut self, space: SpaceId, cause: Cause, model: &Model) {
        if let Cause::Seed | Cause::Fork | Cause::Exec = cause {
            // What nothing ever happens to is told by what was there at first.
            if let Some(picture) = self.look(space, model) {
                self.book(space).picture = picture;
            }
        } else if let Some(book) = self.books.get_mut(&space) {
            let symbols = self.stacks.symbols();
            let lens = Lens { model, heap: self.manner.heap, symbols };
            book.picture.look_around(self.address, &lens, space);
        }
    }

    /// Writes what there is to say; `now` is the moment it is said of, ns of `CLOCK_MONOTONIC`. Tells
    /// of how many spaces there was anything.
    ///
    /// # Errors
    /// What the writer says.
    pub(super) fn answer(
        mut self,
        out: &mut dyn Write,
        model: &Model,
        now: u64,
    ) -> io::Result<usize> {
        self.story.end(model);
        let spaces = self.told();
        for (index, (space, tale)) in spaces.iter().enumerate() {
            if let (None, Some(picture)) = (tale.end, self.look(*space, model)) {
                self.book(*space).picture = picture;
            }
            let book = self.book(*space);
            book.sink.tick(u64::MAX)?;
            let picture = std::mem::take(&mut book.picture);
            // What a child inherited is told with its parent, if that is told.
            let from = match tale.parent {
                Some(parent) if spaces.iter().any(|(space, _)| *space == parent) => book.inherited,
                Some(_) | None => 0,
            };
            let Self { address, length, manner, ref stacks, .. } = self;
            let telling = Telling { clock: manner.clock, stacks };
            let answer = Answer { address, length, tale, picture: &picture, now };
            let text = self.books.get(space).map(|book| book.text.0.borrow());
            let events = text.as_ref().and_then(|text| text.get(from..)).unwrap_or_default();
            match manner.format {
                Format::Text => {
                    if index > 0 {
                        writeln!(out)?;
                    }
                    answer.write(out, telling)?;
                    if !events.is_empty() {
                        writeln!(out)?;
                    }
                }
                Format::Json => answer.write_json(out, *space, telling)?,
            }
            out.write_all(events)?;
        }
        Ok(spaces.len())
    }

    /// The spaces to tell of: those that ever had the address; of a process that never did, its last.
    fn told(&self) -> Vec<(SpaceId, Tale)> {
        let wanted = |tale: &Tale| self.pid.is_none() || tale.owner.map(|it| it.pid) == self.pid;
        let all = self.story.tales().iter().filter(|(_, tale)| wanted(tale));
        let all: Vec<_> = all.map(|(&space, tale)| (space, tale.clone())).collect();
        let had = |(_, tale): &&(SpaceId, Tale)| tale.mapped || tale.last.is_some();
        if all.iter().any(|it| had(&it)) {
            return all.iter().filter(had).cloned().collect();
        }
        all.into_iter().next_back().into_iter().collect()
    }

    fn book(&mut self, space: SpaceId) -> &mut Book {
        let Manner { format, style, clock, .. } = self.manner;
        self.books.entry(space).or_insert_with(|| {
            let text = Shared::default();
            let (out, filter) = (text.clone(), Filter::default());
            let sink: Box<dyn Sink> = match format {
                Format::Text => Box::new(Text::new(out, style, clock, filter)),
                Format::Json => Box::new(Json::new(out, clock, filter)),
            };
            Book { text, sink, inherited: 0, picture: Picture::default() }
        })
    }

    /// A child's story begins with its parent's.
    fn inherit(&mut self, child: SpaceId) {
        let parent = self.story.tales().get(&child).and_then(|tale| tale.parent);
        let text = parent.and_then(|parent| self.books.get(&parent));
        let text = text.map(|book| book.text.0.borrow().clone()).unwrap_or_default();
        let book = self.book(child);
        book.inherited = text.len();
        *book.text.0.borrow_mut() = text;
    }

    /// What is at the address now, in a space that lives.
    fn look(&self, space: SpaceId, model: &Model) -> Option<Picture> {
        let lens = Lens { model, heap: self.manner.heap, symbols: self.stacks.symbols() };
        let map = model.space(space)?.map();
        let region = map.at(self.address);
        let end = self.address.saturating_add(self.length);
        let parts = map.overlapping(self.address, end);
        let origin = self.origins.at(space, self.address & !(PAGE - 1)).cloned();
        let mut picture = Picture {
            region: region.map(|region| named(region, &lens, space)),
            origin: origin.unwrap_or_default(),
            mapped: parts.map(|it| it.end.min(end) - it.start.max(self.address)).sum(),
            ..Picture::default()
        };
        picture.look_around(self.address, &lens, space);
        Some(picture)
    }
}

/// Answers.
///
/// # Errors
/// There is no such past, or no such moment in it; the core file tells of no address; or the answer
/// cannot be written.
pub fn run(config: &config::Who) -> Result<Exit> {
    let (address, length, crash) = match &config.subject {
        config::Subject::Address { start, length } => (*start, *length, None),
        config::Subject::Core(path) => {
            let crash = Crash::read(path)?;
            (crash.address, 1, Some(crash))
        }
    };
    let pid = config.pid.or(crash.map(|crash| crash.pid));
    let mut past = Past::open(&config.source)?;
    let style = style::style(config.colour, past.start().calls);
    let (clock, heap) = (past.clock(), past.heap_rule());
    let manner = Manner { format: config.format, style, clock, heap };
    let mut teller = Teller::new(address, length, pid, manner);
    let until = until(&mut past, config.at.as_ref(), pid)?;
    let told = past.replay(None, until, |event, model| {
        teller.event(event, model)?;
        Ok(ControlFlow::Continue(()))
    })?;
    told.expect(pid)?;
    let mut spaces = 0;
    print(|out| {
        if let (Some(crash), Format::Text) = (crash, config.format) {
            let (signal, Crash { tid, address, .. }) = (signal::Name(crash.signal), crash);
            writeln!(out, "{signal} in thread {tid} at {address:x}")?;
        }
        spaces = teller.answer(out, &told.model, told.until)?;
        Ok(())
    })?;
    if spaces == 0 {
        note(format_args!(
            "{address:x} was never mapped while it was traced; -p PID tells what is around it"
        ));
    }
    Ok(told.end())
}
