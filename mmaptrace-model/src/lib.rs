//! The model of mmaptrace: from the kernel's records to address spaces as `/proc/PID/maps` would
//! print them, and to the events that changed them.
//!
//! One way through, and no I/O anywhere:
//!
//! ```text
//! bytes -> decode::Record -> Model::apply -> event::Event
//!                              |- names   (keys of paths and names -> bytes)
//!                              |- stack   (keys of stacks -> files and offsets)
//!                              |- Space   (parts -> one commit; order; counters)
//!                              |   `- Map (replace a range)  -> effect::diff
//!                              |- processes, and what each ends with
//!                              `- threads (commits wait for their call's return; the model does not)
//!
//! Event, Model -> history: who made what, its story, its growth, what is wrong with it
//! ```
#![forbid(unsafe_code)]

pub mod decode;
pub mod effect;
pub mod event;
pub mod history;
pub mod keyframe;
pub mod label;
pub mod map;
pub mod model;
pub mod names;
mod parts;
pub mod process;
pub mod region;
pub mod space;
pub mod stack;
mod threads;

pub use decode::{DecodeError, Record};
pub use effect::Effect;
pub use event::Event;
pub use keyframe::BadKeyframe;
pub use label::{HeapRule, RegionName};
pub use map::Map;
pub use model::Model;
pub use names::Names;
pub use region::{Backing, Flags, Region};
pub use space::Space;
pub use stack::{Stack, StackTable};
