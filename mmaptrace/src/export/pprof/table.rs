//! A profile in the making: texts, functions, locations and mappings, each once.

use std::{collections::HashMap, sync::Arc};

use mmaptrace_model::{region::PAGE, stack::Place};

use super::proto::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};
use crate::{
    escape::{Escaped, comm},
    export::sites::{Site, Totals},
    sink::text,
    symbols::NamedFrame,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) profile: Profile,
    texts: HashMap<String, i64>,
    /// By name.
    functions: HashMap<i64, u64>,
    /// By address, and name: of the calls, 0.
    locations: HashMap<(u64, i64), u64>,
    /// By path, and the address that its first byte would have.
    mappings: HashMap<(Arc<[u8]>, u64), usize>,
}

impl Table {
    pub(super) fn new() -> Self {
        let mut table = Self {
            profile: Profile::default(),
            texts: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
            mappings: HashMap::new(),
        };
        // The format wants the empty text first.
        table.text("");
        table
    }

    /// The place of a text among all.
    pub(super) fn text(&mut self, text: &str) -> i64 {
        if let Some(&place) = self.texts.get(text) {
            return place;
        }
        let place = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.texts.insert(text.to_owned(), place);
        place
    }

    pub(super) fn value(&mut self, name: &str, unit: &str) -> ValueType {
        ValueType { r#type: self.text(name), unit: self.text(unit) }
    }

    /// Takes what a site comes to. Its call is the innermost of its places.
    pub(super) fn sample(&mut self, site: &Site, totals: Totals, stack: &[NamedFrame]) {
        let mut location_id = vec![self.call(&site.call)];
        let frames = stack.iter().zip(0..);
        location_id.extend(frames.map(|(frame, depth)| self.frame(frame, depth)));
        let value = vec![totals.live as i64, totals.mapped as i64, totals.calls as i64];
        let mut label = Vec::new();
        let tasks = [("process", "pid", Some(site.process)), ("thread", "tid", site.thread)];
        for (name_key, id_key, task) in tasks {
            let Some((id, name)) = task else { continue };
            let (key, name) = (self.text(name_key), self.text(&Escaped(comm(&name)).to_string()));
            label.push(Label { key, str: name, num: 0 });
            label.push(Label { key: self.text(id_key), str: 0, num: id.into() });
        }
        self.profile.sample.push(Sample { location_id, value, label });
    }

    fn call(&mut self, name: &str) -> u64 {
        let name = self.text(name);
        self.location(0, 0, Some((name, 0)))
    }

    fn frame(&mut self, frame: &NamedFrame, depth: u64) -> u64 {
        // The format wants the calling instruction, where the frame has the one after it.
        let address = frame.frame.address - depth.min(1);
        let mapping_id = self.mapping(frame);
        let line = frame.symbol.as_ref().and_then(|symbol| symbol.line.as_ref());
        let line = line.map_or(0, |(_, line)| i64::from(*line));
        let function =
            frame.symbol.is_some().then(|| (self.text(&text::Function(frame).to_string()), line));
        self.location(address, mapping_id, function)
    }

    fn location(&mut self, address: u64, mapping_id: u64, function: Option<(i64, i64)>) -> u64 {
        let name = function.map_or(0, |(name, _)| name);
        let id = self.profile.location.len() as u64 + 1;
        let known = *self.locations.entry((address, name)).or_insert(id);
        if known == id {
            let line = function.map(|(name, line)| Line { function_id: self.function(name), line });
            let line = line.into_iter().collect();
            self.profile.location.push(Location { id, mapping_id, address, line });
        }
        known
    }

    fn function(&mut self, name: i64) -> u64 {
        let id = self.profile.function.len() as u64 + 1;
        let known = *self.functions.entry(name).or_insert(id);
        if known == id {
            self.profile.function.push(Function { id, name, system_name: name });
        }
        known
    }

    /// The mapping of a file's frame, as large as its frames need it; 0 for other frames.
    fn mapping(&mut self, NamedFrame { frame, symbol, build_id }: &NamedFrame) -> u64 {
        let Place::File { path, offset, .. } = &frame.place else { return 0 };
        let base = frame.address.wrapping_sub(*offset);
        let start = frame.address & !(PAGE - 1);
        let next = self.profile.mapping.len();
        let known = *self.mappings.entry((Arc::clone(path), base)).or_insert(next);
        if known == next {
            let id = build_id.as_deref().map_or_else(String::new, hex);
            let mapping = Mapping {
                id: next as u64 + 1,
                memory_start: start,
                memory_limit: start + PAGE,
                file_offset: 0,
                filename: self.text(&Escaped(path).to_string()),
                build_id: self.text(&id),
                has_functions: false,
            };
            self.profile.mapping.push(mapping);
        }
        let mapping = &mut self.profile.mapping[known];
        mapping.memory_start = mapping.memory_start.min(start);
        mapping.memory_limit = mapping.memory_limit.max(start + PAGE);
        mapping.file_offset = mapping.memory_start.wrapping_sub(base);
        mapping.has_functions |= symbol.is_some();
        mapping.id
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
