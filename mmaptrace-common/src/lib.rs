//! What crosses the kernel line: the records the eBPF programs send, the settings they are loaded
//! with, and the one table of system calls that both sides read.
//!
//! `no_std`, integers only, every pad byte explicit: a record is plain bytes on both sides.
#![cfg_attr(not(test), no_std)]

pub mod control;
pub mod kfunc;
pub mod layout;
pub mod record;
pub mod ring;
pub mod syscalls;
