//! Where the running kernel keeps things: [`Layout`], resolved from its BTF.

use std::{fs, io, path::Path};

use aya::{Btf, Endianness};
use mmaptrace_common::layout::{ABSENT, Layout, WORD};

use super::types::TypeTable;

/// The running kernel's types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What the programs read of a file, a dentry and an inode, in bytes.
const HEAD: u32 = 128;
/// What they have room for of a region, in bytes.
const VMA: u32 = 256;

/// Why no layout.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The kernel was built without `CONFIG_DEBUG_INFO_BTF`, or /sys is not mounted.
    #[error("cannot read {VMLINUX}")]
    Read(#[source] io::Error),
    /// It is there, but not BTF.
    #[error("cannot parse {VMLINUX}: {0}")]
    Parse(String),
    /// A type or member that every supported kernel has.
    #[error("this kernel's types have no {path} in {type_name}")]
    Missing {
        /// The structure.
        type_name: &'static str,
        /// The member.
        path: &'static str,
    },
    /// A member lies behind what the programs read of its structure.
    #[error("this kernel's types have {path} of {type_name} at {offset}, too far from its start")]
    Far {
        /// The structure.
        type_name: &'static str,
        /// The member.
        path: &'static str,
        /// Where it is, in bytes.
        offset: u32,
    },
}

/// The kernel's types.
pub struct Types {
    /// To find offsets in.
    types: TypeTable,
    /// Those of tracepoints, for the loader.
    pub btf: Btf,
}

impl Types {
    /// Of the running kernel.
    ///
    /// # Errors
    /// There is no BTF, or it cannot be parsed.
    pub fn of_running_kernel() -> Result<Self, BtfError> {
        let bytes = fs::read(Path::new(VMLINUX)).map_err(BtfError::Read)?;
        let types = TypeTable::parse(bytes)
            .ok_or_else(|| BtfError::Parse("a type of an unknown kind".to_owned()))?;
        let btf = Btf::parse(&types.tracepoints(), Endianness::default())
            .map_err(|error| BtfError::Parse(error.to_string()))?;
        Ok(Self { types, btf })
    }

    /// The number of arguments of a tracepoint, its context not counted.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        self.types.parameters(&format!("btf_trace_{name}"))?.checked_sub(1)
    }

    /// The id of a function.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.types.function(name)
    }

    /// The id of a structure that has a number of 64 bits at [`WORD`].
    pub fn words(&self) -> Option<u32> {
        let is_there = self.types.offset("maple_range_64", "pivot") == Some(WORD);
        is_there.then(|| self.types.structure_id("maple_range_64")).flatten()
    }

    /// Fills in all offsets.
    ///
    /// # Errors
    /// A member that every supported kernel has is not there.
    pub fn layout(&self) -> Result<Layout, BtfError> {
        let need = |type_name: &'static str, path: &'static str| {
            self.types.offset(type_name, path).ok_or(BtfError::Missing { type_name, path })
        };
        // What the programs read only the start of.
        let within = |type_name: &'static str, path: &'static str, bytes: u32| match need(
            type_name, path,
        )? {
            offset if offset + 8 <= bytes => Ok(offset),
            offset => Err(BtfError::Far { type_name, path, offset }),
        };
        let optional = |type_name, path| self.types.offset(type_name, path).unwrap_or(ABSENT);
        let vma = |path| within("vm_area_struct", path, VMA);
        let [vma_start, vma_end, vma_flags] = [vma("vm_start")?, vma("vm_end")?, vma("vm_flags")?];
        let [vma_pgoff, vma_file] = [vma("vm_pgoff")?, vma("vm_file")?];
        let [vma_ops, vma_private] = [vma("vm_ops")?, vma("vm_private_data")?];
        let vma_anon_name = match optional("vm_area_struct", "anon_name") {
            ABSENT => ABSENT,
            _ => vma("anon_name")?,
        };
        let members = [
            vma_start,
            vma_end,
            vma_flags,
            vma_pgoff,
            vma_file,
            vma_ops,
            vma_private,
            vma_anon_name,
        ];
        let last = members.into_iter().filter(|&it| it != ABSENT).max().unwrap_or_default();
        Ok(Layout {
            task_mm: need("task_struct", "mm")?,
            task_flags: need("task_struct", "flags")?,
            task_pid: need("task_struct", "pid")?,
            task_tgid: need("task_struct", "tgid")?,
            task_comm: need("task_struct", "comm")?,
            task_exit_code: need("task_struct", "exit_code")?,
            task_signal: need("task_struct", "signal")?,
            task_status: need("task_struct", "thread_info.status")?,
            task_stack: need("task_struct", "stack")?,
            signal_live: need("signal_struct", "live.counter")?,
            signal_nr_threads: need("signal_struct", "nr_threads")?,
            mm_root: need("mm_struct", "mm_mt.ma_root")?,
            mm_users: need("mm_struct", "mm_users.counter")?,
            mm_map_count: need("mm_struct", "map_count")?,
            mm_total_vm: need("mm_struct", "total_vm")?,
            mm_stack_vm: need("mm_struct", "stack_vm")?,
            mm_start_brk: need("mm_struct", "start_brk")?,
            mm_brk: need("mm_struct", "brk")?,
            mm_start_stack: need("mm_struct", "start_stack")?,
            mm_arg_start: need("mm_struct", "arg_start")?,
            mm_arg_end: need("mm_struct", "arg_end")?,
            // Before it became a seqcount it was a plain count, raised when the lock is released.
            mm_lock_seq: optional("mm_struct", "mm_lock_seq.sequence"),
            mm_context_flags: need("mm_struct", "context.flags")?,
            // Up to the last of them.
            vma_size: 8 + last,
            vma_start,
            vma_end,
            vma_flags,
            vma_pgoff,
            vma_file,
            vma_ops,
            vma_private,
            vma_anon_name,
            anon_name_text: optional("anon_vma_name", "name"),
            ops_name: need("vm_operations_struct", "name")?,
            special_name: need("vm_special_mapping", "name")?,
            file_mnt: within("file", "f_path.mnt", HEAD)?,
            file_dentry: within("file", "f_path.dentry", HEAD)?,
            file_inode: within("file", "f_inode", HEAD)?,
            file_mode: within("file", "f_mode", HEAD)?,
            backing_user_path: optional("backing_file", "user_path"),
            path_mnt: need("path", "mnt")?,
            path_dentry: need("path", "dentry")?,
            dentry_flags: within("dentry", "d_flags", HEAD)?,
            dentry_pprev: within("dentry", "d_hash.pprev", HEAD)?,
            dentry_parent: within("dentry", "d_parent", HEAD)?,
            dentry_name: within("dentry", "d_name", HEAD)?,
            qstr_name: need("qstr", "name")?,
            dentry_inode: within("dentry", "d_inode", HEAD)?,
            dentry_op: need("dentry", "d_op")?,
            dop_dname: need("dentry_operations", "d_dname")?,
            inode_ino: within("inode", "i_ino", HEAD)?,
            inode_sb: within("inode", "i_sb", HEAD)?,
            sb_dev: need("super_block", "s_dev")?,
            sb_magic: need("super_block", "s_magic")?,
            mount_mnt: need("mount", "mnt")?,
            mount_parent: need("mount", "mnt_parent")?,
            mount_mountpoint: need("mount", "mnt_mountpoint")?,
            vfsmount_root: need("vfsmount", "mnt_root")?,
            bprm_filename: need("linux_binprm", "filename")?,
            named_files: u32::from(
                self.types.offset("vm_area_struct", "anon_name")
                    != self.types.offset("vm_area_struct", "shared"),
            ),
            io_opcode: optional("io_kiocb", "opcode"),
            io_link: optional("io_kiocb", "link"),
            unmapped_length: need("vm_unmapped_area_info", "length")?,
            ..Layout::NONE
        })
    }
}
