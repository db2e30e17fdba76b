//! Where the running kernel keeps what the eBPF programs read, resolved from its BTF by user space
//! and constant for the verifier: Rust eBPF has no CO-RE.

macro_rules! layout {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Offsets in bytes, unless a field says otherwise.
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        #[cfg_attr(feature = "user", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
        pub struct Layout {
            $($(#[$doc])* pub $field: u32,)*
        }

        impl Layout {
            /// Nothing resolved.
            pub const NONE: Self = Self { $($field: ABSENT,)* };
        }
    };
}

/// The offset of a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Where the type [`Layout::words`] has numbers of 64 bits: `maple_range_64.pivot`, in bytes.
pub const WORD: u32 = 8;

layout! {
    /// Not an offset: the id of a type that has a number at [`WORD`], if programs may read any address
    /// as one of that type (`bpf_rdonly_cast`)
    words,
    /// `task_struct.mm`
    task_mm,
    /// `task_struct.flags`
    task_flags,
    /// `task_struct.pid`
    task_pid,
    /// `task_struct.tgid`
    task_tgid,
    /// `task_struct.comm`
    task_comm,
    /// `task_struct.exit_code`
    task_exit_code,
    /// `task_struct.signal`
    task_signal,
    /// `task_struct.thread_info.status`
    task_status,
    /// `task_struct.stack`
    task_stack,
    /// `signal_struct.live.counter`
    signal_live,
    /// `signal_struct.nr_threads`: threads that are not released yet.
    signal_nr_threads,
    /// `mm_struct.mm_mt.ma_root`
    mm_root,
    /// `mm_struct.mm_users.counter`
    mm_users,
    /// `mm_struct.map_count`
    mm_map_count,
    /// `mm_struct.total_vm`
    mm_total_vm,
    /// `mm_struct.stack_vm`
    mm_stack_vm,
    /// `mm_struct.start_brk`
    mm_start_brk,
    /// `mm_struct.brk`
    mm_brk,
    /// `mm_struct.start_stack`
    mm_start_stack,
    /// `mm_struct.arg_start`
    mm_arg_start,
    /// `mm_struct.arg_end`
    mm_arg_end,
    /// `mm_struct.mm_lock_seq.sequence`; absent where it is no seqcount
    mm_lock_seq,
    /// `mm_struct.context.flags`
    mm_context_flags,
    /// what is read of a `struct vm_area_struct`: up to the last member below, in bytes, 256 at most
    vma_size,
    /// `vm_area_struct.vm_start`
    vma_start,
    /// `vm_area_struct.vm_end`
    vma_end,
    /// `vm_area_struct.vm_flags`
    vma_flags,
    /// `vm_area_struct.vm_pgoff`
    vma_pgoff,
    /// `vm_area_struct.vm_file`
    vma_file,
    /// `vm_area_struct.vm_ops`
    vma_ops,
    /// `vm_area_struct.vm_private_data`
    vma_private,
    /// `vm_area_struct.anon_name`; absent without `CONFIG_ANON_VMA_NAME`
    vma_anon_name,
    /// `anon_vma_name.name`; absent likewise
    anon_name_text,
    /// `vm_operations_struct.name`
    ops_name,
    /// `vm_special_mapping.name`
    special_name,
    /// `file.f_path.mnt`
    file_mnt,
    /// `file.f_path.dentry`
    file_dentry,
    /// `file.f_inode`
    file_inode,
    /// `file.f_mode`
    file_mode,
    /// `backing_file.user_path`; absent before 6.5
    backing_user_path,
    /// `path.mnt`
    path_mnt,
    /// `path.dentry`
    path_dentry,
    /// `dentry.d_flags`
    dentry_flags,
    /// `dentry.d_hash.pprev`
    dentry_pprev,
    /// `dentry.d_parent`
    dentry_parent,
    /// `dentry.d_name`
    dentry_name,
    /// `qstr.name`
    qstr_name,
    /// `dentry.d_inode`
    dentry_inode,
    /// `dentry.d_op`
    dentry_op,
    /// `dentry_operations.d_dname`
    dop_dname,
    /// `inode.i_ino`
    inode_ino,
    /// `inode.i_sb`
    inode_sb,
    /// `super_block.s_dev`
    sb_dev,
    /// `super_block.s_magic`
    sb_magic,
    /// `mount.mnt`
    mount_mnt,
    /// `mount.mnt_parent`
    mount_parent,
    /// `mount.mnt_mountpoint`
    mount_mountpoint,
    /// `vfsmount.mnt_root`
    vfsmount_root,
    /// `linux_binprm.filename`
    bprm_filename,
    /// `io_kiocb.opcode`
    io_opcode,
    /// `io_kiocb.link`
    io_link,
    /// `vm_unmapped_area_info.length`
    unmapped_length,
    /// Not an offset: `FMODE_BACKING`, the bit of `file.f_mode` that tells a `backing_file`.
    file_backing,
    /// Not an offset: 1 where maps has the device and inode of what was opened, and not of the file of the layer
    /// below that is mapped (6.8 and later).
    backing_as_opened,
    /// Not an offset: 1 where memory of files may have an `anon_name` too (6.2 and later). Before
    /// that its place is another's where there is a file.
    named_files,
    /// Not an offset: bytes of the ring, a power of two; see [`crate::ring`]
    ring,
    /// Not an offset: 1 if a commit may tell what its call returns, so that nothing has to be said
    /// of its return.
    early_returns,
    /// Not an offset: 1 where `sched_process_exit` tells whether the task was the last of its
    /// group. Else two that end at once may both seem so.
    exit_tells_last,
    /// Not an offset: 1 where stack growth holds the lock for writing (6.5 and later), else 0.
    growth_locked,
    /// Not an offset: the tracer's PID.
    tracer,
    /// Not an offset: 1 to follow every process.
    follow_all,
    /// Not an offset: 1 to follow processes by name; see the global `NAME`.
    follow_name,
    /// Not an offset: 1 to follow the processes of a cgroup; see the map `CGROUP`.
    follow_cgroup,
    /// Not an offset: 1 if the children of followed processes are followed.
    follow_children,
    /// Not an offset: 1 to take the stacks of user space.
    user_stacks,
    /// Not an offset: 1 to take those of the kernel.
    kernel_stacks,
    /// Not an offset: 1 to tell when calls began.
    durations,
    /// Not an offset: 1 if this kernel's mm has the `[vsyscall]` page at all.
    vsyscall,
}
