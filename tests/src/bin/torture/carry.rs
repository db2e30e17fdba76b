//! Carries a sequence of calls out.

use mmaptrace_common::syscalls::Arg;
use mmaptrace_tests::{
    raw::{call, call32},
    torture::{
        ARENA, AT_EMPTY_PATH, Abi, At, Generator, IMAGE_FILE, Op, Script, Setting, Start, Word,
    },
};

use crate::{
    children,
    place::{By, PAGE, Slot, Worker, note},
    signals::torture_touch,
};

/// The path of an image that goes on where this one was.
const IMAGE: Word = Word::Text(8);
/// The same, by its file.
const OPEN_IMAGE: [Word; 5] = [
    Word::Number(IMAGE_FILE),
    Word::Text(5),
    Word::Number(0),
    Word::Number(0),
    Word::Number(AT_EMPTY_PATH),
];

/// The calls of one thread in one phase, and how far they are carried out.
#[derive(Clone)]
pub(crate) struct Sequence {
    calls: Calls,
    phase: u64,
    thread: u64,
    index: u64,
    /// A child of the last calls goes on past the end.
    length: u64,
}

#[derive(Clone)]
enum Calls {
    Random(Generator),
    Script(&'static [(At, Op)]),
}

impl Sequence {
    pub(crate) fn new(
        setting: &Setting,
        script: Option<&'static Script>,
        phase: u64,
        thread: u64,
    ) -> Self {
        let &Setting { seed, image, calls: length, .. } = setting;
        let calls = match script {
            Some(script) => Calls::Script(script.made(At { image, phase, thread })),
            None => Calls::Random(Generator::new(seed, image, phase, thread)),
        };
        Self { calls, phase, thread, index: 0, length }
    }

    pub(crate) fn skip_to(&mut self, index: u64) {
        while self.index < index && self.next().is_some() {}
    }
}

impl Iterator for Sequence {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        let op = match &mut self.calls {
            Calls::Random(generator) => generator.next(),
            Calls::Script(script) => script.get(self.index as usize).map(|call| call.1),
        }?;
        self.index += 1;
        (self.index <= self.length || op.child).then_some(op)
    }
}

/// Carries out what is for the process, or for the child that it is.
pub(crate) fn carry_out(worker: &mut Worker, mut sequence: Sequence, child: bool) {
    while let Some(op) = sequence.next() {
        match (op.child, child) {
            // Its child's.
            (true, false) => continue,
            // Its parent's again.
            (false, true) => return,
            (true, true) | (false, false) => {}
        }
        match op.name {
            "fork" | "vfork" | "clone" | "clone3" => children::make(worker, &op, &sequence),
            "kill" => worker.children.kill_one(),
            "stay" => children::stay(),
            "touch" => torture_touch(worker.resolve(op.args[0])),
            "execve" if op.args[0] == IMAGE => image(worker, &sequence, By::Path),
            "execveat" if op.args[..5] == OPEN_IMAGE => image(worker, &sequence, By::File),
            "execveat" if op.args[1] == IMAGE && op.args[4] == Word::Number(0) => {
                image(worker, &sequence, By::PathAt);
            }
            _ => worker.make(&op),
        }
    }
}

/// Goes on in a new image.
fn image(worker: &Worker, sequence: &Sequence, by: By) {
    let &Sequence { phase, thread, index, .. } = sequence;
    let child = Some(Start { phase, thread, index });
    worker.execute(&Setting { child, script: None, ..*worker.common.setting }, by);
}

impl Worker {
    /// Makes a call that returns.
    fn make(&mut self, op: &Op) {
        let mut block = op.block.map(|word| self.resolve(word));
        for at in 0..block.len() - 1 {
            self.keep_within(op.block[at], &mut block[at + 1]);
        }
        // 32-bit calls have 32-bit words there, but for those that take the same structure.
        let narrow = op.abi == Abi::I386 && !["ioctl", "prctl"].contains(&op.name);
        for (at, word) in block.into_iter().enumerate() {
            // SAFETY: the block is this worker's, and has room for more.
            unsafe {
                if narrow {
                    let place = std::ptr::with_exposed_provenance_mut::<u32>(self.block);
                    place.add(at).write_volatile(word as u32);
                } else {
                    let place = std::ptr::with_exposed_provenance_mut::<usize>(self.block);
                    place.add(at).write_volatile(word);
                }
            }
        }
        let mut args = op.args.map(|word| self.resolve(word));
        for at in 0..args.len() - 1 {
            // `read`, which is not in the table, has its length after its address, too.
            let kind = op.row().map_or(Some(&Arg::Size), |row| row.args.get(at + 1));
            if kind == Some(&Arg::Size) {
                self.keep_within(op.args[at], &mut args[at + 1]);
            }
        }
        let Some(number) = op.number().or((op.name == "read").then_some(libc::SYS_read as i32))
        else {
            return;
        };
        let result = match op.abi {
            Abi::Native | Abi::X32 => call(number.into(), args),
            Abi::I386 => call32(number as u32, args.map(|arg| arg as u32)),
        };
        let result = note(result);
        if let Some((keep, address)) = op.keep.zip(result.ok()) {
            let length = match op.name {
                "mmap" | "mmap2" => args[1],
                "old_mmap" => block[1],
                "mremap" => args[2],
                "shmat" => 16 * PAGE,
                "io_setup" if op.abi == Abi::Native => PAGE,
                _ => return,
            };
            let address = if op.name == "io_setup" { self.first_of_block() } else { address };
            self.keep(keep, Slot { address, length: length.next_multiple_of(PAGE) });
        }
    }

    /// What the kernel wrote there.
    fn first_of_block(&self) -> usize {
        // SAFETY: the block is this worker's.
        unsafe { std::ptr::with_exposed_provenance::<usize>(self.block).read_volatile() }
    }

    /// Keeps what a call returned, and gives up what was kept there, lest a long run has all
    /// regions that it may have.
    fn keep(&mut self, at: u8, slot: Slot) {
        let old = std::mem::replace(&mut self.slots[usize::from(at)], slot);
        let kept = self.slots.iter().any(|slot| slot.address == old.address);
        if old.length > 0 && !kept && !(ARENA as usize..2 * ARENA as usize).contains(&old.address) {
            let _ = call(libc::SYS_munmap, [old.address, old.length]);
        }
    }

    /// What a word means here and now.
    pub(crate) fn resolve(&self, word: Word) -> usize {
        match word {
            Word::Number(number) => number as usize,
            Word::Slot(slot, offset) => {
                let slot = self.slots[usize::from(slot)];
                // Behind it may be what the program stands on.
                if (offset as usize) < slot.length { slot.address + offset as usize } else { PAGE }
            }
            Word::Heap(offset) => self.common.heap + offset as usize,
            Word::Segment(segment) => self.common.segments[usize::from(segment)],
            Word::Text(text) => self.common.texts[usize::from(text)],
            Word::Block => self.block,
        }
    }

    /// Shortens a length so that a range ends within its slot.
    fn keep_within(&self, start: Word, length: &mut usize) {
        if let Word::Slot(slot, offset) = start {
            let left = self.slots[usize::from(slot)].length.saturating_sub(offset as usize);
            *length = (*length).min(left);
        }
    }
}
