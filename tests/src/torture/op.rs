//! One call of a torture, and how it is written in a [script](super::Script): a line such as
//!
//! ```text
//! mmap 0x20003000 0x4000 0x3 0x32 106 0x0 -> s2
//! > munmap s2+0x1000 0x2000
//! i386:mprotect 0x20004000 0x1000 0x1
//! ```
//!
//! `>` before a line: it is for the child that the last line without one made. `s2` is the third
//! of the thread's slots, where `->` keeps what a call returned. `[...]` is the address of a block
//! with these words in it.

use std::fmt;
use std::str::FromStr;

use mmaptrace_common::syscalls::{NAMING, Syscall, TABLE, X32_BIT};

/// Which table of the kernel a call is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// That of 64-bit programs.
    Native,
    /// That of 32-bit programs.
    I386,
    /// That of programs with 32-bit addresses, which few kernels have.
    X32,
}

/// A word of an argument or of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// As it is.
    Number(u64),
    /// The address in a slot, and so many bytes more. A length after it ends within the slot.
    Slot(u8, u32),
    /// The break as the program found it, and so many bytes more.
    Heap(u32),
    /// The id of a segment of shared memory.
    Segment(u8),
    /// The address of one of [`TEXTS`].
    Text(u8),
    /// The address of [`Op::block`].
    Block,
}

/// Words in a block: as many as `struct prctl_mm_map` has.
pub const BLOCK: usize = 13;

/// The strings that calls are given: files in the working directory, names for memory, and what
/// is neither.
pub const TEXTS: &[&str] =
    &["a", "b", "c", "d/a", "/nonexistent/x", "", "torture", "[bad]", "/proc/self/exe", "d", "e"];

/// What is no call of the table, and happens in between.
pub const OTHERS: &[&str] = &["touch", "read", "kill", "stay"];

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// Whether it is for the child that the last call that was not made.
    pub child: bool,
    /// Its table.
    pub abi: Abi,
    /// Its name: of [`TABLE`], [`NAMING`] or [`OTHERS`].
    pub name: &'static str,
    /// Its arguments.
    pub args: [Word; 6],
    /// What is at [`Word::Block`].
    pub block: [Word; BLOCK],
    /// The slot for what it returns.
    pub keep: Option<u8>,
}

impl Op {
    /// A call of this name and these arguments, the others 0.
    pub fn new(name: &'static str, args: &[Word]) -> Self {
        let mut all = [Word::Number(0); 6];
        all[..args.len()].copy_from_slice(args);
        let block = [Word::Number(0); BLOCK];
        Self { child: false, abi: Abi::Native, name, args: all, block, keep: None }
    }

    /// Its row of the table.
    pub fn row(&self) -> Option<&'static Syscall> {
        TABLE.iter().find(|row| row.name == self.name)
    }

    /// Its number in its table; `None` if it has none there.
    pub fn number(&self) -> Option<i32> {
        let numbers = TABLE.iter().map(|row| (row.name, row.x86_64, row.ia32));
        let naming = NAMING.iter().map(|row| (row.name, row.x86_64, row.ia32));
        let (_, native, ia32) = numbers.chain(naming).find(|row| row.0 == self.name)?;
        let number = i32::from(if self.abi == Abi::I386 { ia32 } else { native });
        let x32 = if self.abi == Abi::X32 { X32_BIT } else { 0 };
        (number >= 0).then_some(number | x32)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Number(number) => write!(f, "{number:#x}"),
            Self::Slot(slot, 0) => write!(f, "s{slot}"),
            Self::Slot(slot, offset) => write!(f, "s{slot}+{offset:#x}"),
            Self::Heap(offset) => write!(f, "heap+{offset:#x}"),
            Self::Segment(segment) => write!(f, "segment{segment}"),
            Self::Text(text) => write!(f, "\"{}\"", TEXTS[usize::from(text)]),
            Self::Block => write!(f, "[]"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let abi = match self.abi {
            Abi::Native => "",
            Abi::I386 => "i386:",
            Abi::X32 => "x32:",
        };
        write!(f, "{}{abi}{}", if self.child { "> " } else { "" }, self.name)?;
        let unset = self.args.iter().rev().take_while(|word| **word == Word::Number(0)).count();
        for word in &self.args[..self.args.len() - unset] {
            if *word == Word::Block {
                let last = self.block.iter().rposition(|word| *word != Word::Number(0));
                let words = &self.block[..=last.unwrap_or(0)];
                let words: Vec<_> = words.iter().map(Word::to_string).collect();
                write!(f, " [{}]", words.join(" "))?;
            } else {
                write!(f, " {word}")?;
            }
        }
        self.keep.map_or(Ok(()), |slot| write!(f, " -> s{slot}"))
    }
}

/// `0x1f` or `31`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = if let Some(text) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
            TEXTS.iter().position(|known| *known == text).map(|at| Self::Text(at as u8))
        } else if let Some(offset) = text.strip_prefix("heap+") {
            number(offset).map(|offset| Self::Heap(offset as u32))
        } else if let Some(segment) = text.strip_prefix("segment") {
            number(segment).map(|segment| Self::Segment(segment as u8))
        } else if let Some(slot) = text.strip_prefix('s') {
            let (slot, offset) = slot.split_once('+').unwrap_or((slot, "0"));
            number(slot).zip(number(offset)).map(|(s, o)| Self::Slot(s as u8, o as u32))
        } else {
            number(text).map(Self::Number)
        };
        word.ok_or_else(|| format!("no word: {text}"))
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let (child, line) = line.strip_prefix("> ").map_or((false, line), |line| (true, line));
        let (line, keep) = match line.split_once(" -> s") {
            Some((line, slot)) => (line, Some(number(slot).ok_or("no slot")? as u8)),
            None => (line, None),
        };
        let (name, mut rest) = line.split_once(' ').unwrap_or((line, ""));
        let (abi, name) = match name.split_once(':') {
            None => (Abi::Native, name),
            Some(("i386", name)) => (Abi::I386, name),
            Some(("x32", name)) => (Abi::X32, name),
            Some((abi, _)) => return Err(format!("no such table: {abi}")),
        };
        let names = TABLE.iter().map(|row| row.name).chain(NAMING.iter().map(|row| row.name));
        let known = names.chain(OTHERS.iter().copied()).find(|known| *known == name);
        let mut op = Self::new(known.ok_or_else(|| format!("no such call: {name}"))?, &[]);
        for arg in &mut op.args {
            rest = rest.trim_start();
            if rest.is_empty() {
                break;
            }
            if let Some(inner) = rest.strip_prefix('[') {
                let (words, after) = inner.split_once(']').ok_or("a block without an end")?;
                for (place, word) in op.block.iter_mut().zip(words.split(' ')) {
                    *place = word.parse()?;
                }
                (*arg, rest) = (Word::Block, after);
            } else {
                let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
                (*arg, rest) = (word.parse()?, after);
            }
        }
        if rest.trim().is_empty() {
            Ok(Self { child, abi, keep, ..op })
        } else {
            Err(format!("more than six arguments: {line}"))
        }
    }
}
