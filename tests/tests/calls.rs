//! Each call of the table, in its forms: a real process makes it, and the tracer's picture of that
//! process is the kernel's, byte for byte. Each test is of the victim's case of its name.

use mmaptrace_tests::cases;

cases! { MMAP:
    mmap_anonymous: ["mmap"];
    mmap_hint: ["mmap"];
    mmap_fixed: ["mmap"];
    mmap_fixed_unaligned: ["mmap"];
    mmap_noreplace: ["mmap"];
    mmap_noreplace_taken: ["mmap"];
    mmap_growsdown: ["mmap"];
    mmap_32bit: ["mmap"];
    mmap_populate: ["mmap"];
    mmap_locked: ["mmap"];
    mmap_hugetlb: ["mmap", "munmap"];
    mmap_huge_alignment: ["mmap"];
    mmap_file_private: ["mmap"];
    mmap_file_shared: ["mmap"];
    mmap_file_offset: ["mmap"];
    mmap_shared_anonymous: ["mmap"];
    mmap_memfd: ["mmap"];
    mmap_none: ["mmap"];
    mmap_droppable: ["mmap"];
    mmap_failing: ["mmap"];
    mmap_merges_both_neighbours: ["mmap"];
    mmap_stack_flag: ["mmap"];
    mmap_zero_page: ["mmap"];
}

cases! { MUNMAP:
    munmap_whole: ["munmap"];
    munmap_middle: ["munmap"];
    munmap_edges: ["munmap"];
    munmap_over_holes: ["munmap"];
    munmap_nothing: ["munmap"];
    munmap_failing: ["munmap"];
    munmap_odd_length: ["munmap"];
    munmap_then_same_address: ["munmap", "mmap"];
    munmap_at_the_limit: ["munmap", "mprotect"];
}

cases! { BRK:
    brk_up: ["brk"];
    brk_down: ["brk"];
    brk_unaligned: ["brk"];
    brk_failing: ["brk"];
    brk_populates_beside_unmapping: ["brk", "munmap"];
    brk_stops_at_a_mapping: ["brk"];
    brk_down_to_nothing: ["brk"];
    brk_hole_in_the_heap: ["munmap", "mprotect"];
}

cases! { MREMAP:
    mremap_grows_in_place: ["mremap"];
    mremap_moves: ["mremap"];
    mremap_part_moves: ["mremap"];
    mremap_shrinks: ["mremap"];
    mremap_dontunmap: ["mremap"];
    mremap_fixed: ["mremap"];
    mremap_fixed_replaces: ["mremap"];
    mremap_old_size_0: ["mremap"];
    mremap_several: ["mremap"];
    mremap_failing: ["mremap"];
    mremap_fixed_fails: ["mremap"];
    mremap_same_size: ["mremap"];
    mremap_vdso: ["mremap"];
    remap_file_pages: ["remap_file_pages"];
}

cases! { MPROTECT:
    mprotect_whole: ["mprotect"];
    mprotect_splits: ["mprotect"];
    mprotect_merges: ["mprotect"];
    mprotect_many: ["mprotect"];
    mprotect_of_a_reservation: ["mprotect"];
    mprotect_over_a_hole: ["mprotect"];
    mprotect_failing: ["mprotect"];
    mprotect_no_change: ["mprotect"];
    mprotect_neighbours_that_do_not_merge: ["mprotect"];
    mprotect_growsdown: ["mprotect"];
    pkey_mprotect: ["pkey_mprotect"];
    mseal: ["mseal", "munmap", "mprotect"];
}

cases! { MADVISE:
    madvise_dontfork: ["madvise"];
    madvise_dontdump: ["madvise"];
    madvise_wipeonfork: ["madvise"];
    madvise_hugepage: ["madvise"];
    madvise_mergeable: ["madvise"];
    madvise_access_pattern: ["madvise"];
    madvise_dontneed: ["madvise"];
    madvise_over_a_hole: ["madvise"];
    madvise_failing: ["madvise"];
    madvise_guard: ["madvise"];
    madvise_collapse: ["madvise"];
    process_madvise: ["process_madvise"];
    process_madvise_from_outside: ["process_madvise"];
}

cases! { LOCKS_AND_POLICIES:
    mlock: ["mlock"];
    mlock_over_a_hole: ["mlock"];
    mlock2_onfault: ["mlock2"];
    munlock: ["munlock"];
    mlockall_current: ["mlockall"];
    mlockall_future: ["mlockall", "mmap"];
    munlockall: ["munlockall"];
    mbind: ["mbind"];
    mbind_over_a_hole: ["mbind"];
    set_mempolicy_home_node: ["set_mempolicy_home_node"];
}

cases! { OBJECTS:
    shmat: ["shmat"];
    shmat_at_address: ["shmat"];
    shmat_remap: ["shmat"];
    shmat_neighbours_that_do_not_merge: ["mprotect"];
    shmdt: ["shmdt"];
    shmdt_after_split: ["shmdt"];
    io_setup: ["io_setup"];
    io_destroy: ["io_destroy"];
    userfaultfd: ["ioctl"];
    map_shadow_stack: ["map_shadow_stack"];
    perf_event_buffer: ["mmap"];
    mmap_fixed_refused_by_driver: ["mmap"];
}

cases! { PRCTL:
    prctl_name_anonymous: ["prctl"];
    prctl_name_shared: ["prctl"];
    prctl_move_heap: ["prctl"];
    prctl_move_stack: ["prctl"];
    prctl_wide_option: ["prctl"];
    prctl_set_brk: ["prctl"];
    prctl_beside_a_shrinking_brk: ["brk", "munmap", "prctl"];
    prctl_memory_merge: ["prctl", "mmap"];
    arch_prctl_map_vdso: ["arch_prctl", "munmap"];
    personality_read_implies_exec: ["personality", "mmap"];
}
