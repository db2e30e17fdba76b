//! Files that are written through one mapping and run through another, as a JIT compiler does that
//! wants no page to be both.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Since, name};
use crate::{
    history::{
        Deed,
        pages::{Pages, copied},
    },
    model::Model,
    region::{Flags, PAGE, Region},
};

/// A file that was mapped shared and writable, and executable, in part at least the same part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// `s_dev`: `major << 20 | minor`.
    pub dev: u32,
    /// Inode number.
    pub ino: u64,
    /// Its path; any bytes.
    pub name: Option<Arc<[u8]>>,
    /// The first part that was both, in bytes of the file, the end exclusive.
    pub part: (u64, u64),
    /// What mapped it writable.
    pub writable: Since,
    /// What mapped it executable.
    pub executable: Since,
}

/// What is known of the parts of files.
#[derive(Debug, Default)]
pub(super) struct Files {
    by_inode: HashMap<(u32, u64), Ways>,
    told: HashSet<(u32, u64)>,
    found: Vec<Shared>,
}

/// By offset in bytes.
#[derive(Debug, Default)]
struct Ways {
    writable: Pages<Since>,
    executable: Pages<Since>,
}

impl Files {
    pub(super) fn found(&self) -> &[Shared] {
        &self.found
    }

    /// Takes a mapping, new or changed.
    pub(super) fn take(&mut self, region: &Region, deed: Option<&Arc<Deed>>, model: &Model) {
        let (dev, ino) = region.inode();
        let writes = region.flags.has(Flags::WRITE) && region.flags.has(Flags::MAYSHARE);
        let runs = region.flags.has(Flags::EXEC);
        // One that does both is told by itself.
        if (dev, ino) == (0, 0) || writes == runs || self.told.contains(&(dev, ino)) {
            return;
        }
        let start = region.pgoff.saturating_mul(PAGE);
        let part = start..start.saturating_add(region.size());
        if part.is_empty() {
            return;
        }
        let ways = self.by_inode.entry((dev, ino)).or_default();
        let since: Since = deed.cloned();
        let (this, other) = if writes {
            (&mut ways.writable, &ways.executable)
        } else {
            (&mut ways.executable, &ways.writable)
        };
        this.insert(part.clone(), since.clone());
        let Some((part, before)) = copied(other, part).into_iter().next() else { return };
        let (writable, executable) = if writes { (since, before) } else { (before, since) };
        let (part, name) = ((part.start, part.end), name(region, model));
        self.told.insert((dev, ino));
        self.found.push(Shared { dev, ino, name, part, writable, executable });
    }
}
