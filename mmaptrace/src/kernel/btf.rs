//! Where the running kernel keeps things: [`Layout`], resolved from its BTF.

use std::{fs, io, path::Path};

use aya::{Btf, Endianness};
use btfparse::{Offset, Readable, TypeInformation, TypeVariant};
use mmaptrace_common::layout::{ABSENT, Layout};

/// The running kernel's types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

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
}

/// BTF in memory.
struct Bytes(Vec<u8>);

impl Readable for Bytes {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), btfparse::Error> {
        let range = usize::try_from(offset).ok().and_then(|start| {
            let end = start.checked_add(buffer.len())?;
            self.0.get(start..end)
        });
        let Some(range) = range else {
            return Err(btfparse::Error::new(btfparse::ErrorKind::IOError, "out of bounds"));
        };
        buffer.copy_from_slice(range);
        Ok(())
    }
}

/// The kernel's types.
pub struct Types {
    /// To find offsets in.
    types: TypeInformation,
    /// The same, for the loader.
    pub btf: Btf,
}

impl Types {
    /// Of the running kernel.
    ///
    /// # Errors
    /// There is no BTF, or it cannot be parsed.
    pub fn of_running_kernel() -> Result<Self, BtfError> {
        let bytes = fs::read(Path::new(VMLINUX)).map_err(BtfError::Read)?;
        // Read once and parsed by each: neither tells the other what it knows.
        let btf = Btf::parse(&bytes, Endianness::default())
            .map_err(|error| BtfError::Parse(error.to_string()))?;
        let types = TypeInformation::new(&Bytes(bytes))
            .map_err(|error| BtfError::Parse(format!("{error:?}")))?;
        Ok(Self { types, btf })
    }

    /// The offset of a member, in bytes; members of anonymous members are found by their own name.
    fn offset(&self, type_name: &str, path: &str) -> Option<u32> {
        let id = self.types.id_of(type_name)?;
        match self.types.offset_of(id, path).ok()?.1 {
            Offset::ByteOffset(offset) => Some(offset),
            Offset::BitOffsetAndSize(..) => None,
        }
    }

    /// The number of arguments of a tracepoint, its context not counted.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let pointer = match self.types.from_id(self.types.id_of(&format!("btf_trace_{name}"))?)? {
            TypeVariant::Typedef(typedef) => *typedef.tid(),
            _ => return None,
        };
        let prototype = match self.types.from_id(pointer)? {
            TypeVariant::Ptr(pointer) => *pointer.tid(),
            _ => return None,
        };
        match self.types.from_id(prototype)? {
            TypeVariant::FuncProto(prototype) => prototype.parameter_list().len().checked_sub(1),
            _ => None,
        }
    }

    /// Fills in all offsets.
    ///
    /// # Errors
    /// A member that every supported kernel has is not there.
    pub fn layout(&self) -> Result<Layout, BtfError> {
        let need = |type_name: &'static str, path: &'static str| {
            self.offset(type_name, path).ok_or(BtfError::Missing { type_name, path })
        };
        let optional = |type_name, path| self.offset(type_name, path).unwrap_or(ABSENT);
        let vma_size = self
            .types
            .id_of("vm_area_struct")
            .and_then(|id| self.types.size_of(id).ok())
            .ok_or(BtfError::Missing { type_name: "vm_area_struct", path: "size" })?;
        Ok(Layout {
            task_mm: need("task_struct", "mm")?,
            task_flags: need("task_struct", "flags")?,
            task_pid: need("task_struct", "pid")?,
            task_tgid: need("task_struct", "tgid")?,
            task_comm: need("task_struct", "comm")?,
            task_exit_code: need("task_struct", "exit_code")?,
            task_signal: need("task_struct", "signal")?,
            task_status: need("task_struct", "thread_info.status")?,
            signal_live: need("signal_struct", "live.counter")?,
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
            vma_size: vma_size.min(256) as u32,
            vma_start: need("vm_area_struct", "vm_start")?,
            vma_end: need("vm_area_struct", "vm_end")?,
            vma_flags: need("vm_area_struct", "vm_flags")?,
            vma_pgoff: need("vm_area_struct", "vm_pgoff")?,
            vma_file: need("vm_area_struct", "vm_file")?,
            vma_ops: need("vm_area_struct", "vm_ops")?,
            vma_private: need("vm_area_struct", "vm_private_data")?,
            vma_anon_name: optional("vm_area_struct", "anon_name"),
            anon_name_text: optional("anon_vma_name", "name"),
            ops_name: need("vm_operations_struct", "name")?,
            special_name: need("vm_special_mapping", "name")?,
            file_path: need("file", "f_path")?,
            file_inode: need("file", "f_inode")?,
            file_mode: need("file", "f_mode")?,
            backing_user_path: optional("backing_file", "user_path"),
            path_mnt: need("path", "mnt")?,
            path_dentry: need("path", "dentry")?,
            dentry_pprev: need("dentry", "d_hash.pprev")?,
            dentry_parent: need("dentry", "d_parent")?,
            dentry_name: need("dentry", "d_name")?,
            qstr_name: need("qstr", "name")?,
            dentry_inode: need("dentry", "d_inode")?,
            dentry_op: need("dentry", "d_op")?,
            dop_dname: need("dentry_operations", "d_dname")?,
            inode_ino: need("inode", "i_ino")?,
            inode_sb: need("inode", "i_sb")?,
            sb_dev: need("super_block", "s_dev")?,
            sb_magic: need("super_block", "s_magic")?,
            mount_mnt: need("mount", "mnt")?,
            mount_parent: need("mount", "mnt_parent")?,
            mount_mountpoint: need("mount", "mnt_mountpoint")?,
            vfsmount_root: need("vfsmount", "mnt_root")?,
            bprm_filename: need("linux_binprm", "filename")?,
            unmapped_length: need("vm_unmapped_area_info", "length")?,
            ..Layout::NONE
        })
    }
}
