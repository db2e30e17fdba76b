//! Calls that map or unmap as part of something else: shared memory, asynchronous I/O,
//! userfaultfd, shadow stacks, perf's buffers, a driver's ioctl.

use std::ptr::with_exposed_provenance;

use crate::sys::{
    ANON, Case, Outcome, PAGE, R, RW, Unsupported, area, begins, call, fails, hole, if_supported,
    mmap, mprotect, munmap, must, ready,
};

pub(crate) const CASES: &[Case] = &[
    ("shmat", attach),
    ("shmat_at_address", attach_at),
    ("shmat_remap", attach_remap),
    ("shmat_neighbours_that_do_not_merge", no_merge),
    ("shmdt", detach),
    ("shmdt_after_split", detach_after_split),
    ("io_setup", aio_setup),
    ("io_destroy", aio_destroy),
    ("userfaultfd", userfault),
    ("userfaultfd_left_to_the_kernel", userfault_left_to_the_kernel),
    ("munmap_returns_after_the_next_mmap", munmap_returns_late),
    ("map_shadow_stack", shadow_stack),
    ("perf_event_buffer", perf_buffer),
    ("mmap_fixed_refused_by_driver", refused_by_driver),
    ("ioctl_that_maps", ioctl_that_maps),
];

/// A segment that goes when nobody is attached to it any more.
fn segment(pages: usize) -> usize {
    let id = must(call(libc::SYS_shmget, [0, pages * PAGE, 0o600]));
    // Attached and then removed: it lives as long as this process.
    must(shmat(id, 0, libc::SHM_RDONLY));
    must(call(libc::SYS_shmctl, [id, libc::IPC_RMID as usize, 0]));
    id
}

fn shmat(id: usize, at: usize, flags: i32) -> Result<usize, i32> {
    call(libc::SYS_shmat, [id, at, flags as usize])
}

fn attach() -> Outcome {
    let id = segment(4);
    ready();
    must(shmat(id, 0, 0));
    must(shmat(id, 0, libc::SHM_RDONLY));
    Ok(())
}

fn attach_at() -> Outcome {
    let (id, at) = (segment(4), hole(64));
    ready();
    must(shmat(id, at + 123, libc::SHM_RND));
    fails(shmat(id, at + PAGE, 0), libc::EINVAL);
    Ok(())
}

/// In place of what was there.
fn attach_remap() -> Outcome {
    let (id, at) = (segment(4), area(16));
    ready();
    must(shmat(id, at + 2 * PAGE, libc::SHM_REMAP));
    Ok(())
}

/// Made equal again: its driver is to be told of the end of each, so that none ends in another.
fn no_merge() -> Outcome {
    let at = must(shmat(segment(6), 0, 0));
    must(mprotect(at + 2 * PAGE, 2 * PAGE, R));
    ready();
    must(mprotect(at + 2 * PAGE, 2 * PAGE, RW));
    assert!([0, 2, 4].iter().all(|page| begins(at + page * PAGE)), "they are one");
    Ok(())
}

fn detach() -> Outcome {
    let at = must(shmat(segment(4), 0, 0));
    ready();
    must(call(libc::SYS_shmdt, [at]));
    fails(call(libc::SYS_shmdt, [at]), libc::EINVAL);
    Ok(())
}

/// Every piece of it goes, however many regions it has become, and what is between them stays.
fn detach_after_split() -> Outcome {
    let at = must(shmat(segment(8), 0, 0));
    must(mprotect(at + 2 * PAGE, PAGE, R));
    must(mmap(at + 4 * PAGE, PAGE, RW, ANON | libc::MAP_FIXED, -1, 0));
    ready();
    must(call(libc::SYS_shmdt, [at]));
    Ok(())
}

fn io_setup() -> Result<usize, Unsupported> {
    let mut context = 0_usize;
    let args = [64, (&raw mut context).expose_provenance()];
    if_supported("io_setup", call(libc::SYS_io_setup, args))?;
    Ok(context)
}

fn aio_setup() -> Outcome {
    ready();
    io_setup()?;
    Ok(())
}

fn aio_destroy() -> Outcome {
    let context = io_setup()?;
    ready();
    must(call(libc::SYS_io_destroy, [context]));
    Ok(())
}

/// `UFFD_USER_MODE_ONLY`: what the kernel itself faults on is not waited for.
const USER_MODE_ONLY: usize = 1;

/// A userfaultfd of these flags and features that these pages are registered with.
fn registered(at: usize, pages: usize, flags: usize, features: u64) -> Result<usize, Unsupported> {
    const API: usize = 0xc018_aa3f;
    const REGISTER: usize = 0xc020_aa00;
    const MISSING: u64 = 1;
    let fd = if_supported("userfaultfd", call(libc::SYS_userfaultfd, [flags]))?;
    ioctl(fd, API, &mut [0xaa, features, 0]);
    ioctl(fd, REGISTER, &mut [at as u64, (pages * PAGE) as u64, MISSING, 0]);
    Ok(fd)
}

fn ioctl(fd: usize, request: usize, argument: &mut [u64]) {
    must(call(libc::SYS_ioctl, [fd, request, argument.as_mut_ptr().expose_provenance()]));
}

/// Registers the middle of a region, and unregisters a part of it; then closes it, which
/// unregisters the rest.
fn userfault() -> Outcome {
    const UNREGISTER: usize = 0x8010_aa01;
    let at = area(9);
    ready();
    let fd = registered(at + 2 * PAGE, 5, USER_MODE_ONLY, 0)?;
    ioctl(fd, UNREGISTER, &mut [(at + 3 * PAGE) as u64, PAGE as u64]);
    must(call(libc::SYS_close, [fd]));
    Ok(())
}

/// The last to hold a userfaultfd is an `io_uring` that is closed: a worker of the kernel's closes it
/// in its turn, and unregisters what is registered.
fn userfault_left_to_the_kernel() -> Outcome {
    const REGISTER_FILES: usize = 2;
    let at = area(9);
    let middle = at + 2 * PAGE;
    ready();
    let fd = registered(middle, 5, USER_MODE_ONLY, 0)?;
    let mut parameters = [0_u32; 30];
    let arguments = [1, parameters.as_mut_ptr().expose_provenance()];
    let ring = if_supported("io_uring_setup", call(libc::SYS_io_uring_setup, arguments))?;
    let files = [fd as i32];
    let arguments = [ring, REGISTER_FILES, files.as_ptr().expose_provenance(), 1];
    must(call(libc::SYS_io_uring_register, arguments));
    must(call(libc::SYS_close, [fd]));
    assert!(begins(middle), "it is not held");
    must(call(libc::SYS_close, [ring]));
    while begins(middle) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(())
}

/// Who unmaps what a userfaultfd wants to be told of waits until it has been, when the pages are gone
/// and the lock is another's: who maps the same pages then returns first.
fn munmap_returns_late() -> Outcome {
    const EVENT_UNMAP: u64 = 1 << 6;
    const PAGES: usize = 5;
    let at = area(9) + 2 * PAGE;
    let fd = registered(at, PAGES, 0, EVENT_UNMAP)?;
    ready();
    std::thread::scope(|scope| {
        let unmaps = scope.spawn(|| must(munmap(at, PAGES * PAGE)));
        while begins(at) {
            std::thread::yield_now();
        }
        let flags = ANON | libc::MAP_FIXED_NOREPLACE;
        must(mmap(at, PAGES * PAGE, R, flags, -1, 0));
        assert!(!unmaps.is_finished(), "it does not wait");
        let mut event = [0_u64; 4];
        let read = [fd, event.as_mut_ptr().expose_provenance(), size_of_val(&event)];
        must(call(libc::SYS_read, read));
        unmaps.join().expect("a thread");
    });
    Ok(())
}

fn shadow_stack() -> Outcome {
    const MAP_SHADOW_STACK: i64 = 453;
    ready();
    if_supported("map_shadow_stack", call(MAP_SHADOW_STACK, [0, 4 * PAGE, 0]))?;
    Ok(())
}

/// A file that never had a name, whose driver says how large a mapping may be.
fn perf_event() -> Result<i32, Unsupported> {
    // struct perf_event_attr, version 0: type 1 (software), size 64, config 9 (dummy).
    let mut attribute = [0_u32; 16];
    (attribute[0], attribute[1], attribute[2]) = (1, 64, 9);
    let args = [attribute.as_ptr().expose_provenance(), 0, usize::MAX, usize::MAX, 0];
    Ok(if_supported("perf_event_open", call(libc::SYS_perf_event_open, args))? as i32)
}

/// A header, and a power of two of pages: `anon_inode:[perf_event]`.
fn perf_buffer() -> Outcome {
    ready();
    let at = must(mmap(0, 3 * PAGE, RW, libc::MAP_SHARED, perf_event()?, 0));
    // SAFETY: just mapped, and readable.
    unsafe { with_exposed_provenance::<u32>(at).read_volatile() };
    Ok(())
}

/// The driver refuses when what was there is gone already; whether it comes back hangs on the
/// kernel's version.
fn refused_by_driver() -> Outcome {
    let (at, fd) = (area(16), perf_event()?);
    must(mprotect(at + 5 * PAGE, PAGE, R));
    ready();
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    fails(mmap(at + 3 * PAGE, 7 * PAGE, RW, flags, fd, 0), libc::EINVAL);
    Ok(())
}

/// KVM maps memory for the guest's interrupt controller in its maker's address space, where the
/// processor has a virtual one: the caller gives no address, and is not told one.
fn ioctl_that_maps() -> Outcome {
    const CREATE_VM: usize = 0xae01;
    const CREATE_VCPU: usize = 0xae41;
    const CREATE_IRQCHIP: usize = 0xae60;
    let path = c"/dev/kvm".as_ptr().expose_provenance();
    let kvm = call(libc::SYS_openat, [usize::MAX, path, libc::O_RDWR as usize]);
    let kvm = if_supported("kvm", kvm)?;
    let regions = || std::fs::read_to_string("/proc/self/maps").expect("maps").lines().count();
    let machine = if_supported("kvm", call(libc::SYS_ioctl, [kvm, CREATE_VM, 0]))?;
    if_supported("kvm", call(libc::SYS_ioctl, [machine, CREATE_IRQCHIP, 0]))?;
    // What reading needs is there before.
    regions();
    ready();
    let before = regions();
    if_supported("kvm", call(libc::SYS_ioctl, [machine, CREATE_VCPU, 0]))?;
    if regions() == before {
        return Err(Unsupported { call: "kvm", errno: 0 });
    }
    Ok(())
}
