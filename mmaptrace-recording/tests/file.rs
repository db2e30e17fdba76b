//! Recordings as files: whole, cut, damaged, and entered in the middle.

use std::io::Cursor;

use mmaptrace_common::record::{Header, kind};
use mmaptrace_recording::{Batch, Block, End, Error, Item, Reader, Start, Writer};
use proptest::prelude::*;
use zerocopy::IntoBytes as _;

const SYNC: u64 = 0x0123_4567_89ab_cdef;
const BLOCKS: u64 = 40;
const EVENTS: u64 = 10;

/// A record of nothing, at a time.
fn record(time: u64) -> Vec<u8> {
    let kind = if time % 100 == 7 { kind::EXEC } else { kind::END };
    Header { kind, size: 40, time, mm: 1, ..Header::default() }.as_bytes().to_vec()
}

fn start() -> Start {
    Start { time: 5, version: "1.2.3".to_owned(), calls: true, ..Start::default() }
}

/// Blocks of [`EVENTS`] records, a ns between them, every eighth block after a keyframe; the ends of
/// all its blocks.
fn written(end: bool) -> (Vec<u8>, Vec<usize>) {
    let mut writer = Writer::new(Vec::new(), SYNC, &start()).expect("a vector takes all");
    let mut ends = vec![writer.out().len()];
    for block in 0..BLOCKS {
        let events = block * EVENTS;
        if block > 0 && block % 8 == 0 {
            writer.keyframe(&events.to_le_bytes(), events).expect("a vector takes all");
            ends.push(writer.out().len());
        }
        let mut batch = Batch::new(events);
        for event in 0..EVENTS {
            batch.push(Item::Record(&record(10 + events + event)));
        }
        writer.items(&batch).expect("a vector takes all");
        ends.push(writer.out().len());
    }
    if end {
        writer.end(&End { time: 999, lost: 3, ..End::default() }, BLOCKS * EVENTS).expect("room");
    }
    ends.push(writer.out().len());
    (std::mem::take(writer.out()), ends)
}

/// The times of all records from here on, and what ended them.
fn times(reader: &mut Reader<Cursor<&[u8]>>) -> (Vec<u64>, Option<Error>) {
    let mut times = Vec::new();
    loop {
        match reader.next_block() {
            Ok(None) => return (times, None),
            Ok(Some(Block::Keyframe(_))) => {}
            Ok(Some(Block::Items(mut items))) => loop {
                match items.next_item() {
                    Ok(Some(item)) => {
                        let Item::Record(bytes) = item else { panic!("{item:?}") };
                        times.push(u64::from_le_bytes(bytes[8..16].try_into().expect("8 bytes")));
                    }
                    Ok(None) => break,
                    Err(error) => return (times, Some(error)),
                }
            },
            Err(error) => return (times, Some(error)),
        }
    }
}

fn read(bytes: &[u8]) -> (Vec<u64>, Option<Error>) {
    match Reader::open(Cursor::new(bytes)) {
        Ok(mut reader) => times(&mut reader),
        Err(error) => (Vec::new(), Some(error)),
    }
}

fn all() -> Vec<u64> {
    (10..10 + BLOCKS * EVENTS).collect()
}

#[test]
fn what_was_written_is_read() {
    let (bytes, _) = written(true);
    let mut reader = Reader::open(Cursor::new(&bytes[..])).expect("a recording");
    assert_eq!(reader.start(), &start());
    let (times, error) = times(&mut reader);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(times, all());
    assert_eq!(reader.end().map(|end| end.lost), Some(3));
}

/// Without the rest; what is damaged before it does not matter.
#[test]
fn the_end_is_read_alone() {
    let (mut bytes, ends) = written(true);
    let last_end = |bytes: &[u8]| {
        let mut reader = Reader::open(Cursor::new(bytes)).expect("a recording");
        let end = reader.last_end().map(|end| end.map(|end| end.lost));
        assert!(times(&mut reader).0.first() == Some(&10), "what reads on begins at the beginning");
        end
    };
    let [.., before, _] = ends[..] else { panic!("{ends:?}") };
    assert!(matches!(last_end(&bytes), Ok(Some(3))));
    assert!(matches!(last_end(&bytes[..bytes.len() - 1]), Ok(None)));
    assert!(matches!(last_end(&bytes[..before]), Ok(None)));
    bytes[before - 1] ^= 0x10;
    assert!(matches!(last_end(&bytes), Ok(Some(3))));
    let last = bytes.len() - 1;
    bytes[last] ^= 0x10;
    assert!(matches!(last_end(&bytes), Err(Error::Damaged { .. })));
}

/// Wherever the writer is killed, all whole blocks are read, and the cut has its place.
#[test]
fn a_cut_anywhere_leaves_the_blocks_before_it() {
    let (bytes, ends) = written(true);
    for cut in 0..bytes.len() {
        let (times, error) = read(&bytes[..cut]);
        let Some(Error::Cut { at }) = error else {
            assert!(cut < 32 && matches!(error, Some(Error::Foreign)), "{cut}: {error:?}");
            continue;
        };
        let whole = ends.iter().rev().copied().find(|&end| end <= cut);
        assert!(at as usize == whole.unwrap_or(at as usize), "{cut}: {at}");
        assert!(all().starts_with(&times), "{cut}");
        let keyframes = |blocks: usize| blocks / 9;
        let blocks = ends.iter().filter(|&&end| end <= cut).count().saturating_sub(1);
        let blocks = blocks - keyframes(blocks);
        assert_eq!(times.len() as u64, (blocks as u64).min(BLOCKS) * EVENTS, "{cut}");
    }
}

#[test]
fn a_byte_that_is_not_as_written_is_told_and_all_before_it_is_read() {
    let (bytes, ends) = written(true);
    for place in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[place] ^= 0x10;
        let (times, error) = read(&bytes);
        assert!(all().starts_with(&times), "{place}");
        match error {
            Some(Error::Foreign) => assert!(place < 8),
            Some(Error::Version { .. }) => assert!((8..12).contains(&place)),
            Some(Error::Damaged { at, .. }) => {
                let before = ends.iter().rev().copied().find(|&end| end <= place);
                assert_eq!(at, before.unwrap_or(if place < 32 { 0 } else { 32 }) as u64, "{place}");
            }
            other => assert!((28..32).contains(&place), "{place}: {other:?}"),
        }
    }
}

#[test]
fn what_is_no_recording_is_told_apart() {
    assert!(matches!(read(b"").1, Some(Error::Foreign)));
    assert!(matches!(
        read(b"10:01:25.576510 [4711 worker] mmap(0x7fb60e7").1,
        Some(Error::Foreign)
    ));
    let (mut bytes, _) = written(true);
    bytes[8] = 2;
    assert!(matches!(read(&bytes).1, Some(Error::Version { version: 2 })));
}

#[test]
fn a_time_and_a_number_of_events_are_found_from_the_keyframe_before() {
    for end in [true, false] {
        let (bytes, _) = written(end);
        let mut reader = Reader::open(Cursor::new(&bytes[..])).expect("a recording");
        assert!(reader.last_where(|place| place.time < 5).expect("readable").is_none());
        for time in 10..10 + BLOCKS * EVENTS {
            let place = reader.last_where(|place| place.time <= time).expect("readable");
            let place = place.expect("it is in it");
            assert!(place.time <= time && place.until >= time, "{time}: {place:?}");
            let same = reader.last_where(|place| place.events <= time - 10).expect("readable");
            assert!(same.is_some_and(|same| same.until + 1 >= time), "{time}: {same:?}");
            reader.go_to(&place);
            // The last ns before a keyframe is the state that this one tells of.
            let first = ((time - 9) / (8 * EVENTS)).min(4) * 8 * EVENTS;
            match reader.next_block() {
                Ok(Some(Block::Keyframe(model))) => assert_eq!(model, first.to_le_bytes()),
                other => assert!(first == 0, "{time}: {other:?}"),
            }
        }
        let last = reader.last_where(|_| true).expect("readable").expect("there are some");
        assert_eq!(last.until, if end { 999 } else { 9 + BLOCKS * EVENTS });
    }
}

#[test]
fn segments_lead_back_to_the_first_and_tell_what_is_in_them() {
    for end in [true, false] {
        let (bytes, _) = written(end);
        let mut reader = Reader::open(Cursor::new(&bytes[..])).expect("a recording");
        let mut next = reader.last_segment().expect("readable");
        let mut segments = Vec::new();
        while let Some(segment) = next {
            next = reader.segment_before(&segment).expect("readable");
            reader.go_to_segment(&segment);
            let (times, _) = times(&mut reader);
            segments.push((times[0], segment.until, segment.has_exec));
        }
        let last = if end { 999 } else { 409 };
        let expected = [
            (330, last, true),
            (250, 329, true),
            (170, 249, true),
            (90, 169, true),
            (10, 89, false),
        ];
        assert_eq!(segments, expected);
    }
}

/// Damage does not keep a reader from what lies behind it.
#[test]
fn what_lies_behind_damage_is_found() {
    let (mut bytes, ends) = written(true);
    let middle = ends[ends.len() / 2];
    bytes[ends[3]..middle].fill(0);
    let mut reader = Reader::open(Cursor::new(&bytes[..])).expect("a recording");
    let last = 9 + BLOCKS * EVENTS;
    let place = reader.last_where(|place| place.time <= last).expect("readable").expect("found");
    assert!(place.until >= last);
    reader.go_to(&place);
    assert!(matches!(reader.next_block(), Ok(Some(Block::Keyframe(_)))));
    assert!(times(&mut reader).1.is_none());
}

proptest! {
    #[test]
    fn whatever_is_changed_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        let (mut bytes, _) = written(true);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let (read, _) = read(&bytes);
        prop_assert!(all().starts_with(&read));
        if let Ok(mut reader) = Reader::open(Cursor::new(&bytes[..])) {
            let _ = reader.last_where(|place| place.time < 200);
        }
    }
}
