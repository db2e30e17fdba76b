//! The way from records to what is shown, made ready: for who times it and for who counts what it
//! allocates.

use std::io;

use mmaptrace::{
    flow::Flow,
    sink::{Clock, Filter, Json, Sink, Text, clock::Times, text::Style},
};
use mmaptrace_recording::{Item, Start};

/// A flow that has taken a first record, and shows what comes as `text` or as `json`, to nobody; or
/// not at all.
pub(crate) fn flow(shown: &str, seed: &[u8]) -> Flow {
    let start = Start { max_map_count: 65_530, calls: true, ..Start::default() };
    let (clock, filter) = (Clock::of(&start), Filter::default());
    let sink: Option<Box<dyn Sink>> = match shown {
        "text" => {
            let style = Style {
                colour: false,
                standalone: true,
                escape_dumps: false,
                times: Times::Micros,
                returns: true,
            };
            Some(Box::new(Text::new(io::sink(), style, clock, filter)))
        }
        "json" => Some(Box::new(Json::new(io::sink(), clock, filter))),
        _ => None,
    };
    let mut flow = Flow::new(sink, &start, false).expect("what is nowhere can be written");
    flow.take(Item::Record(seed)).expect("what is nowhere can be written");
    flow
}
