//! A recording: what is damaged gets an error, and memory stays bounded, read from the start as from wherever
//! its heads lead.
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
    let _ = reader.last_end();
    if let Ok(Some(place)) = reader.last_where(|place| place.events < 100) {
        reader.go_to(&place);
        let _ = reader.next_block();
    }
    let mut segment = reader.last_segment();
    while let Ok(Some(it)) = segment {
        reader.go_to_segment(&it);
        let _ = reader.next_block();
        segment = reader.segment_before(&it);
    }
});
