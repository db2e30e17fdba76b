//! The model as bytes: what a recording has every now and then, so that reading may begin there.
//!
//! A model made of them goes on as the one they were made of: the same records have the same events
//! from then on, with the same ids. The bytes are [postcard]'s, of the model's own types; they are
//! as stable as those are, and begin with a version that says which they are.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

use crate::model::Model;

/// The version of the bytes, which they begin with. To be raised with every change of the types in
/// a [`Model`].
const VERSION: u32 = 7;

/// Why bytes are no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeyframe {
    /// They were made by another version of mmaptrace.
    #[error("a model of version {version}; this mmaptrace reads version {VERSION}")]
    Version {
        /// The version they are of.
        version: u32,
    },
    /// No model has such bytes.
    #[error("a model that cannot be read")]
    Malformed,
}

impl Model {
    /// The model as bytes.
    pub fn to_keyframe(&self) -> Vec<u8> {
        let bytes = VERSION.to_le_bytes().to_vec();
        // A vector takes all, and no type of a model refuses.
        postcard::to_extend(self, bytes).unwrap_or_default()
    }

    /// The model that bytes were made of.
    ///
    /// # Errors
    /// [`BadKeyframe`]. Bytes that nobody made may give a model that nobody had, but one that is
    /// sound.
    pub fn from_keyframe(bytes: &[u8]) -> Result<Self, BadKeyframe> {
        let (version, rest) = bytes.split_first_chunk().ok_or(BadKeyframe::Malformed)?;
        match u32::from_le_bytes(*version) {
            VERSION => postcard::from_bytes(rest).map_err(|_| BadKeyframe::Malformed),
            version => Err(BadKeyframe::Version { version }),
        }
    }
}

/// A map as its regions.
pub(crate) mod map {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::{map::Map, region::Region};

    pub(crate) fn serialize<S: Serializer>(map: &Map, serializer: S) -> Result<S::Ok, S::Error> {
        // `Serializer::collect_seq` asks the iterator for its length, and this one cannot tell.
        let regions: Vec<_> = map.iter().collect();
        serializer.collect_seq(regions)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Map, D::Error> {
        let mut regions = Vec::<Region>::deserialize(deserializer)?;
        let mut map = Map::default();
        map.replace(0, u64::MAX, &mut regions, &mut Vec::new()).map_err(D::Error::custom)?;
        Ok(map)
    }
}

/// A record as its bytes.
pub(crate) mod plain {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};
    use zerocopy::{FromBytes, Immutable, IntoBytes};

    pub(crate) fn serialize<S, T>(record: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: IntoBytes + Immutable,
    {
        record.as_bytes().serialize(serializer)
    }

    pub(crate) fn deserialize<'a, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'a>,
        T: FromBytes,
    {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        T::read_from_bytes(&bytes).map_err(|_| D::Error::custom("the length of a record"))
    }
}
