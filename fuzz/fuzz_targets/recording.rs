//! A recording: what is damaged gets an error, and memory stays bounded.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use mmaptrace_recording::{Block, Reader};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = Reader::open(Cursor::new(bytes)) else { return };
    while let Ok(Some(block)) = reader.next_block() {
        if let Block::Items(mut items) = block {
            while let Ok(Some(_)) = items.next_item() {}
        }
    }
    reader.forgotten();
});
