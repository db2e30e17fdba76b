//! What the events come to, over time: pure folds, each over the events in their order and the
//! model as it is after each.
//!
//! ```text
//! Event, Model -> Origins    who made the pages that are there, and who changed them last
//!              -> Story      all that happened to some pages, in every space that had them
//!              -> Growth     what was mapped and is there still, by where it was asked for
//!              -> Exposure   what was writable and executable
//!              -> Crowd      which spaces come near the most regions the kernel allows
//! two maps     -> Tally      what one of them has that the other has not
//! ```
//!
//! A fold keeps no reference to the model. Its memory is bounded by the pages that are mapped and
//! by what it has to tell, not by the number of events; an event costs it a look-up in a tree.

mod crowd;
mod deed;
mod exposure;
mod growth;
mod origins;
mod pages;
mod snapshot;
mod story;

pub use crowd::{Crowd, Crowded};
pub use deed::{Deed, Replacing};
pub use exposure::{Exposed, Exposure, How, Shared, Since};
pub use growth::{Figures, Growth, Kind, Lifetimes, Population, Site};
pub use origins::{Origin, Origins};
pub use snapshot::{Labels, Sum, Tally};
pub use story::{Ending, Story, Tale};
