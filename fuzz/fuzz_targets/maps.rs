//! `/proc/PID/maps` of any bytes: after the records that the degraded tier makes of it, the model
//! has what it says, or is in doubt. And `/proc/PID/smaps` of any bytes, which is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mmaptrace::{
    dump::Residence,
    flow::Mirror,
    kernel::degraded::{picture::Picture, queue::Queue},
    sink::maps,
};
use mmaptrace_common::record::{Commit, Header, cause, flag};
use mmaptrace_model::{Region, RegionName};
use mmaptrace_recording::Start;
use zerocopy::IntoBytes as _;

fn print<'a>(regions: impl IntoIterator<Item = (Region, RegionName<'a>)>) -> Vec<u8> {
    let mut out = Vec::new();
    maps::write(&mut out, regions, None).expect("a vector takes all");
    out
}

fuzz_target!(|text: &[u8]| {
    let _ = Residence::parse(text);
    let Ok(picture) = Picture::of(text.to_vec()) else { return };
    let (mut queue, mut mirror) = (Queue::default(), Mirror::new(&Start::default(), false));
    // All of it, and then a range of it again, as after a call.
    let last = picture.maps.regions.last().map_or(0, |(region, _)| region.start);
    for (id, flags) in [(2, flag::WHOLE), (4, 0)] {
        let header = Header { flags, mm: 1, pid: 1, tid: 1, ..Header::default() };
        let commit =
            Commit { header, id, lo: last, hi: last, cause: cause::CALL, nr: -1, ..Commit::default() };
        queue.push_commit(commit, &picture, picture.image);
        let mut events = Vec::new();
        while let Some(record) = queue.pop() {
            mirror.model.apply(record.as_bytes(), &mut events);
        }
        for space in mirror.model.spaces().filter(|space| space.doubt().is_none()) {
            let model = print(mirror.regions(space));
            assert_eq!(model.escape_ascii().to_string(), print(picture.maps.regions()).escape_ascii().to_string());
        }
    }
});
