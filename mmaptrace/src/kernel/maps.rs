//! What crosses to the programs through maps, as plain bytes.

use aya::Pod;
use mmaptrace_common::control;

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident),*) => {
        $(
            $(#[$doc])*
            #[repr(transparent)]
            #[derive(Clone, Copy, Debug, Default)]
            pub struct $name(pub control::$name);

            // SAFETY: integers only, and its padding is a field.
            unsafe impl Pod for $name {}
        )*
    };
}

plain! {
    /// See [`control::Control`].
    Control,
    /// See [`control::Faults`].
    Faults,
    /// See [`control::Place`].
    Place,
    /// See [`control::Process`].
    Process,
    /// See [`control::Renames`].
    Renames,
    /// See [`control::Space`].
    Space
}
