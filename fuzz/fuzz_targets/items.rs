//! What is behind the checksum of a recording's block, which bytes at random hardly pass.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Ok(mut items) = mmaptrace_recording::items(payload) else { return };
    while let Ok(Some(_)) = items.next_item() {}
});
