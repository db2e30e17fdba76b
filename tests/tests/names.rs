//! The names that maps prints: of files that lose theirs, with bytes that no terminal should see,
//! on mounts that only the process has. Each test is of the victim's case of its name; where one could
//! make the tracer see what another changed, under a tracer of its own.

use mmaptrace_tests::cases;

cases! {
    file_unlinked: [];
    file_unlinked_before: ["mmap"];
    file_renamed: [];
    file_renamed_by_io_uring: [];
    file_renamed_in_a_chain_of_io_uring: [];
    file_unlinked_by_io_uring: [];
    file_replaced_by_rename: ["mmap"];
    file_directory_renamed: [];
    file_unlinked_and_made_again: ["mmap"];
    file_second_link_unlinked: ["mmap"];
}

cases! { PATHS:
    path_newline: ["mmap"];
    path_deleted_for_a_name: ["mmap"];
    path_not_utf8: ["mmap"];
    path_backslash_and_spaces: ["mmap"];
    path_control_characters: ["mmap"];
    path_longest_component: ["mmap"];
    path_deeper_than_path_max: ["mmap"];
    dev_zero: ["mmap"];
    secret_memory: ["mmap"];
}

cases! {
    mount_namespace: ["mmap"];
    mount_namespace_inherited: ["mmap"];
    mount_moved: ["mmap"];
    mount_detached: [];
    mount_bind: ["mmap"];
    mount_overlay: ["mmap"];
    mount_btrfs: ["mmap"];
    chroot: ["mmap"];
}
