//! The kernel's side of the tool: its types, the programs in it, and the pictures they take.

pub mod btf;
pub mod degraded;
mod left_out;
mod load;
pub mod maps;
pub mod probe;
mod readers;
pub mod ring;
pub mod seed;
pub mod shared;
pub mod source;
mod types;

pub use degraded::Degraded;
pub use load::{Follow, LoadError, Settings, Stacks};
pub use probe::Probe;
pub use readers::Readers;
pub use ring::Gauge;
pub use seed::SeedError;
pub use shared::Shared;
pub use source::{Source, Tally, Tier};
