use mmaptrace_common::record::{self, Header, Region, kind};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;

const LIMIT: usize = 1 << 24;

fn encode(records: &[Vec<u8>]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    for record in records {
        encoder.push(Item::Record(record));
    }
    let mut payload = Vec::new();
    encoder.finish(&mut payload);
    payload
}

fn decode(payload: &[u8]) -> Result<Vec<Vec<u8>>, Corrupt> {
    let mut decoder = Decoder::new(payload, LIMIT)?;
    let mut records = Vec::new();
    while let Some(item) = decoder.next_item()? {
        if let Item::Record(bytes) = item {
            records.push(bytes.to_vec());
        }
    }
    Ok(records)
}

/// Records of all kinds and of none, of a few spaces and threads, as the kernel writes them and not.
fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let header = (0..11_u16, any::<u16>(), any::<u64>(), 0..3_u64, 0..4_u32, 0..9_u32);
    let header = header.prop_map(|(kind, flags, time, mm, tid, lost)| Header {
        kind,
        flags,
        size: 0,
        time,
        mm,
        pid: tid / 2,
        tid,
        lost,
        generation: lost / 3,
    });
    let word = prop_oneof![0..4_u64, any::<u64>(), (0..40_u64).prop_map(|page| page << 12)];
    let record = (header, prop::collection::vec(word, 0..90), 0..8_usize, any::<bool>());
    let record = record.prop_map(|(mut header, words, cut, sized)| {
        let len = size_of::<Header>() + 8 * words.len();
        header.size = if sized { len as u32 } else { 7 };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(words.as_bytes());
        bytes.truncate(len - cut);
        bytes
    });
    let raw = prop::collection::vec(any::<u8>(), 0..200);
    prop::collection::vec(prop_oneof![9 => record, 1 => raw], 0..60)
}

proptest! {
    #[test]
    fn all_records_come_back(records in records()) {
        prop_assert_eq!(decode(&encode(&records)), Ok(records));
    }

    #[test]
    fn whatever_is_changed_is_read_or_refused(
        records in records(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut payload = encode(&records);
        for (place, byte) in changes {
            let place = place.index(payload.len());
            payload[place] = byte;
        }
        // That it ends, and asks for no more memory than it may, is what is tested.
        let _ = decode(&payload);
    }

    #[test]
    fn marks_come_back_in_their_places(marks in prop::collection::vec((0..5_u8, any::<u64>()), 0..50)) {
        let record = vec![9; 48];
        let items: Vec<_> = marks
            .iter()
            .map(|&(which, time)| match which {
                0 => Item::Tick { time },
                1 => Item::Dump { time, pid: time as u32 },
                2 => Item::ForgetNames,
                3 => Item::ForgetStacks,
                _ => Item::Record(&record),
            })
            .collect();
        let mut encoder = Encoder::default();
        for &item in &items {
            encoder.push(item);
        }
        let mut payload = Vec::new();
        encoder.finish(&mut payload);
        let mut decoder = Decoder::new(&payload, LIMIT).expect("as written");
        for item in items {
            prop_assert_eq!(decoder.next_item(), Ok(Some(item)));
        }
        prop_assert_eq!(decoder.next_item(), Ok(None));
    }
}

/// What a thread does over and over costs next to nothing.
#[test]
fn a_loop_is_a_few_bytes_a_record() {
    let mut records = Vec::new();
    for round in 0..1000_u64 {
        let at = 0x7f00_0000_0000;
        for (nr, count, hi) in [(9, 2, at + 0x3000), (11, 1, at + 0x2000)] {
            let size = size_of::<record::Commit>() + count * size_of::<Region>();
            let (id, time) = (4 * round + 2 * nr, round * 1000 + nr);
            let header =
                Header { kind: kind::COMMIT, size: size as u32, time, ..Header::default() };
            let args = [at + 0x1000, 0x1000, 3, 34, u64::MAX, 0];
            let commit = record::Commit {
                header,
                id,
                lo: at,
                hi,
                nr: nr as i32,
                args,
                ..record::Commit::default()
            };
            let mut bytes = commit.as_bytes().to_vec();
            for index in 0..count as u64 {
                let start = at + index * 0x1000;
                let region =
                    Region { start, end: start + 0x1000, pgoff: start >> 12, ..Region::default() };
                bytes.extend_from_slice(region.as_bytes());
            }
            records.push(bytes);
        }
    }
    let payload = encode(&records);
    assert!(payload.len() < 16 * records.len(), "{} bytes", payload.len());
}

#[test]
fn a_shape_that_no_record_has_is_refused() {
    for len in [0, 39, RECORD_MAX as u64 + 1, u64::MAX] {
        let mut columns = Columns::<{ column::COUNT }>::default();
        columns.put(column::SYMBOLS, RECORDS);
        columns.put(column::SHAPES, Fold::Count.fold(0, len));
        for _ in 0..4 {
            columns.put(column::SHAPES, 0);
        }
        for at in [column::TIMES, column::MASKS] {
            columns.put(at, 0);
        }
        let mut payload = Vec::new();
        columns.drain_into(&mut payload);
        assert_eq!(decode(&payload), Err(Corrupt), "{len}");
    }
}
