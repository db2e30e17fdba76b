//! What is shown. The model follows everything, whatever is shown of it.

use std::collections::BTreeSet;

use mmaptrace_model::{
    Effect,
    event::{Cause, Stacks, Syscall},
};

use crate::syscall;

/// What to show: everything by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these calls, by name, and what they did; all, and what no call did, if `None`.
    pub calls: Option<BTreeSet<String>>,
    /// Only effects on at least so many bytes, and the calls that had them; a call that had no
    /// effect at all is shown all the same.
    pub min_size: u64,
    /// What is not shown of events that are.
    pub hidden: Hidden,
}

/// What may be known of an event and is not to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Stacks in user space.
    pub user_stacks: bool,
    /// Stacks in the kernel.
    pub kernel_stacks: bool,
    /// How long calls took.
    pub durations: bool,
}

impl Filter {
    /// Whether to show a call of this name.
    pub fn name(&self, name: &str) -> bool {
        self.calls.as_ref().is_none_or(|calls| calls.contains(name))
    }

    /// Whether to show a call.
    pub fn call(&self, call: &Syscall) -> bool {
        self.calls.is_none() || self.name(&syscall::name(call))
    }

    /// Whether to show what has this cause.
    pub fn cause(&self, cause: &Cause) -> bool {
        match cause {
            Cause::Call(call) | Cause::Growth(Some(call)) | Cause::Remote(Some(call)) => {
                self.call(call)
            }
            Cause::Exec => self.exec(),
            Cause::Fork => self.fork(),
            Cause::Fault
            | Cause::Growth(None)
            | Cause::Kernel
            | Cause::Worker
            | Cause::Remote(None)
            | Cause::Seed => self.calls.is_none(),
        }
    }

    /// Whether to show new images.
    pub fn exec(&self) -> bool {
        ["execve", "execveat"].into_iter().any(|name| self.name(name))
    }

    /// Whether to show new tasks.
    pub fn fork(&self) -> bool {
        ["fork", "vfork", "clone", "clone3"].into_iter().any(|name| self.name(name))
    }

    /// Those of an event's stacks that are to be shown.
    pub fn stacks(&self, stacks: Stacks) -> Stacks {
        Stacks {
            user: stacks.user.filter(|_| !self.hidden.user_stacks),
            kernel: stacks.kernel.filter(|_| !self.hidden.kernel_stacks),
        }
    }

    /// How long a call took, if that is to be shown.
    pub fn duration(&self, duration: Option<u64>) -> Option<u64> {
        duration.filter(|_| !self.hidden.durations)
    }

    /// Whether to show an effect.
    pub fn effect(&self, effect: &Effect) -> bool {
        size(effect) >= self.min_size
    }
}

/// How many bytes an effect is on: the pages it changed, or the region it cut or joined.
fn size(effect: &Effect) -> u64 {
    match effect {
        Effect::Added { pages, .. } | Effect::Removed { pages, .. } => pages.size(),
        Effect::Replaced { new, .. } | Effect::Changed { new, .. } => new.size(),
        Effect::Split { was: (start, end), .. } | Effect::Merged { into: (start, end), .. } => {
            end - start
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::testing::{MUNMAP, region};

    fn only(names: &[&str]) -> Filter {
        let calls = Some(names.iter().map(|&name| name.to_owned()).collect());
        Filter { calls, ..Filter::default() }
    }

    #[test]
    fn all_by_default() {
        let filter = Filter::default();
        assert!(filter.call(&MUNMAP) && filter.exec() && filter.fork());
        assert!(filter.cause(&Cause::Kernel) && filter.cause(&Cause::Growth(None)));
    }

    #[test]
    fn calls_by_name_and_what_no_call_did_not() {
        let filter = only(&["munmap", "clone3"]);
        assert!(filter.call(&MUNMAP) && filter.cause(&Cause::Remote(Some(MUNMAP))));
        assert!(filter.fork() && !filter.exec() && !filter.cause(&Cause::Exec));
        assert!(!filter.cause(&Cause::Fault) && !filter.cause(&Cause::Remote(None)));
        assert!(!only(&["mmap"]).cause(&Cause::Call(MUNMAP)));
    }

    #[test]
    fn effects_by_size() {
        let filter = Filter { min_size: 8192, ..Filter::default() };
        let added = |pages| filter.effect(&Effect::Added { pages, within: (0x1000, 0x9000) });
        assert!(added(region(0x1000, 0x3000, "rw-p")));
        assert!(!added(region(0x1000, 0x2000, "rw-p")));
        assert!(filter.effect(&Effect::Split { at: 0x2000, was: (0x1000, 0x3000) }));
    }
}
