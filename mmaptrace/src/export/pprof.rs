//! pprof's format: a gzip'd `profile.proto` of what each site comes to.

mod proto;
mod table;

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use mmaptrace_model::{Event, Model};
use prost::Message as _;

use self::{proto::Profile, table::Table};
use super::{About, Export, sites::Sites, words::frames};
use crate::{sink::Clock, symbols::Backtraces};

/// Writes a profile.
#[derive(Debug)]
pub(super) struct Pprof<W> {
    out: W,
    clock: Clock,
    sites: Sites,
    stacks: Backtraces,
    begin: Option<u64>,
}

impl<W: Write> Pprof<W> {
    pub(super) fn new(out: W, about: About) -> Self {
        let (sites, stacks) = (Sites::new(&about), Backtraces::default());
        Self { out, clock: about.clock, sites, stacks, begin: None }
    }
}

impl<W: Write> Export for Pprof<W> {
    fn event(&mut self, event: &Event, model: &Model) -> io::Result<()> {
        self.begin = self.begin.or_else(|| super::lives::time(event));
        self.stacks.event(event, model);
        self.sites.event(event, model);
        Ok(())
    }

    fn finish(self: Box<Self>, faults: &[String]) -> io::Result<()> {
        let Self { out, clock, sites, stacks, begin } = *self;
        let (sites, end) = sites.finish();
        let begin = begin.unwrap_or(end);
        let mut table = Table::new();
        let live = table.value("live", "bytes");
        let sample_type = vec![live, table.value("mapped", "bytes"), table.value("calls", "count")];
        table.profile = Profile {
            sample_type,
            default_sample_type: live.r#type,
            time_nanos: begin.saturating_add_signed(clock.offset) as i64,
            duration_nanos: (end - begin) as i64,
            ..table.profile
        };
        for fault in faults {
            let comment = table.text(fault);
            table.profile.comment.push(comment);
        }
        for (site, totals) in &sites {
            table.sample(site, *totals, frames(stacks.first(site.stack)));
        }
        // The first is taken for the program's, which lies below its libraries.
        table.profile.mapping.sort_by_key(|mapping| mapping.memory_start);
        let mut out = GzEncoder::new(out, Compression::default());
        out.write_all(&table.profile.encode_to_vec())?;
        out.finish()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::export::{Format, testing};

    #[test]
    fn a_story_as_a_profile() {
        let mut bytes = Vec::new();
        let gzip = testing::export(Format::Pprof);
        GzDecoder::new(&gzip[..]).read_to_end(&mut bytes).expect("gzip");
        let profile = Profile::decode(&bytes[..]).expect("a profile");
        let text = |place: i64| &*profile.string_table[place as usize];
        assert_eq!(text(0), "");
        let types: Vec<_> =
            profile.sample_type.iter().map(|it| (text(it.r#type), text(it.unit))).collect();
        assert_eq!(types, [("live", "bytes"), ("mapped", "bytes"), ("calls", "count")]);
        let call = |id: u64| {
            let location = profile.location.iter().find(|it| it.id == id).expect("a location");
            let function = location.line.first().expect("a line").function_id;
            let function = profile.function.iter().find(|it| it.id == function);
            text(function.expect("a function").name)
        };
        let samples = profile.sample.iter().map(|it| (call(it.location_id[0]), &it.value[..]));
        assert_eq!(
            samples.collect::<Vec<_>>(),
            [
                ("execve", &[0x23000, 0x23000, 1][..]),
                ("mmap", &[0x2000, 0x4000, 1]),
                ("mprotect", &[0, 0, 1]),
                ("munmap", &[0, 0, 1]),
            ]
        );
        let label = &profile.sample[0].label[0];
        assert_eq!((text(label.key), text(label.str)), ("process", r#"=e;"<b>\012,x\377"#));
    }
}
