//! The kernels, and what each is expected to lack: one more kernel is one more row.

/// A kernel to boot.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What `--kernel` takes.
    pub(crate) name: &'static str,
    /// What the names of its packages start with, up to the rest of the version.
    pub(crate) package: &'static str,
    /// What the tool can do there.
    pub(crate) tier: Tier,
    /// Tests that skip there, by name, beside those of [`ROOTLESS`].
    pub(crate) skips: &'static [Skip],
}

/// What the tool can do on a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Everything: all tests run.
    Exact,
    /// Calls, and what /proc says after them: the tests run, but for those that say [`EXACT_ONLY`].
    Degraded,
}

/// What the reasons of tests start with that a kernel of the degraded tier is not held to.
pub(crate) const EXACT_ONLY: &str = "of the exact tier";

/// A test that skips, and a part of the reason that it gives.
pub(crate) type Skip = (&'static str, &'static str);

/// What the names of all packages end with: small kernels that boot fast.
pub(crate) const FLAVOUR: &str = "-cloud-amd64";

/// Oldest first. The newest is whatever Debian's unstable has.
pub(crate) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "5.10",
        package: "linux-image-5.10.",
        tier: Tier::Degraded,
        skips: &[
            ("a_munmap_that_returns_last_was_first", "degraded tier"),
            ("a_program_is_refused", "degraded tier"),
            ("check_says_that_all_is_there", "degraded tier"),
            ("map_shadow_stack", "map_shadow_stack 38"),
            ("mmap_droppable", "mmap 22"),
            ("mremap_several", "mremap 14"),
            ("mseal", "mseal 38"),
            ("prctl_memory_merge", "prctl 22"),
            ("prctl_name_anonymous", "prctl 22"),
            ("prctl_name_shared", "prctl 22"),
            ("secret_memory", "memfd_secret 38"),
            ("set_mempolicy_home_node", "set_mempolicy_home_node 38"),
            ("the_kernel_is_locked_down", "degraded tier"),
            ("userfaultfd", "userfaultfd 22"),
        ],
    },
    Kernel {
        name: "6.1",
        package: "linux-image-6.1.",
        tier: Tier::Exact,
        skips: &[
            ("madvise_guard", "madvise 22"),
            ("map_shadow_stack", "map_shadow_stack 38"),
            ("mmap_droppable", "mmap 22"),
            ("mremap_several", "mremap 14"),
            ("mseal", "mseal 38"),
            ("prctl_memory_merge", "prctl 22"),
            ("prctl_name_anonymous", "prctl 22"),
            ("prctl_name_shared", "prctl 22"),
            ("secret_memory", "memfd_secret 38"),
        ],
    },
    Kernel {
        name: "6.12",
        package: "linux-image-6.12.",
        tier: Tier::Exact,
        skips: &[
            ("madvise_guard", "madvise 22"),
            ("map_shadow_stack", "map_shadow_stack 95"),
            ("mremap_several", "mremap 14"),
            ("prctl_name_anonymous", "prctl 22"),
            ("prctl_name_shared", "prctl 22"),
        ],
    },
    Kernel {
        name: "newest",
        package: "linux-binary-",
        tier: Tier::Exact,
        skips: &[
            ("map_shadow_stack", "map_shadow_stack 95"),
            ("prctl_name_anonymous", "prctl 22"),
            ("prctl_name_shared", "prctl 22"),
        ],
    },
];

/// Tests that skip on each kernel, for there is no root file system with the programs they run.
pub(crate) const ROOTLESS: &[Skip] = &[
    ("a_hundred_thousand_events_are_shown", "no chromium"),
    ("a_new_name_in_memory_that_is_locked", "open 2"),
    ("a_page_does_what_is_asked_of_it", "no chromium"),
    ("a_page_ends_with_what_maps_says", "no chromium"),
    ("a_page_is_walked_with_tab", "no chromium"),
    ("a_profile_is_one_to_pprof", "no go"),
    ("a_program_that_waits_for_a_recording_goes_on", "emulated"),
    ("a_program_that_waits_outlives_the_tracer", "emulated"),
    ("a_program_waits_for_the_reader", "emulated"),
    ("a_program_waits_though_nobody_watches_the_tracer", "emulated"),
    ("a_program_without_its_main_thread_waits_for_the_reader", "emulated"),
    ("bash_and_its_children", "no bash"),
    ("fuse_long_name", "open 2"),
    ("fuse_other_inode", "open 2"),
    ("memory_that_is_locked_for_ever", "open 2"),
    ("mount_btrfs", "btrfs 2"),
    ("ls_works_as_without_and_is_traced", "no ls"),
    ("no_call_of_the_command_is_missed", "no strace"),
    ("no_capability_for_ebpf", "no setpriv"),
    ("no_capability_to_look", "no setpriv"),
    ("pmap_prints_the_same", "no pmap"),
    ("pmap_x_prints_the_same", "no pmap"),
    ("processes_that_come_and_go_for_long_leave_nothing", "emulated"),
    ("python_with_threads_that_map", "no python3"),
    ("shell_children_are_followed", "no bash"),
    ("several_programs_wait_while_names_change", "emulated"),
    ("the_reader_of_standard_output_does_not_read", "emulated"),
    ("times_are_those_of_the_day_in_a_time_namespace", "no unshare -T"),
    ("vfork_and_exec_of_python", "no python3"),
    ("what_a_tracer_tells_of_a_moment_stays_so", "emulated"),
    ("what_differs_becomes_the_shortest_list", "emulated"),
    ("what_ended_thousands_of_processes_ago_is_known", "emulated"),
    ("who_may_be_the_reader_does_not_wait", "emulated"),
];
