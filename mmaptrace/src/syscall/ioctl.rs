//! Requests of ioctl: userfaultfd's by name (`include/uapi/linux/userfaultfd.h`), any other by its
//! parts (`include/uapi/asm-generic/ioctl.h`).

use std::fmt::{self, Display, Formatter};

use mmaptrace_common::syscalls::option;

use super::bits::{Hex, Names, named};

const REQUESTS: Names = &[
    (0xc018_aa3f, "UFFDIO_API"),
    (option::UFFDIO_REGISTER, "UFFDIO_REGISTER"),
    (option::UFFDIO_UNREGISTER, "UFFDIO_UNREGISTER"),
    (0x8010_aa02, "UFFDIO_WAKE"),
    (0xc028_aa03, "UFFDIO_COPY"),
    (0xc020_aa04, "UFFDIO_ZEROPAGE"),
    (0xc028_aa05, "UFFDIO_MOVE"),
    (0xc018_aa06, "UFFDIO_WRITEPROTECT"),
    (0xc020_aa07, "UFFDIO_CONTINUE"),
    (0xc020_aa08, "UFFDIO_POISON"),
];

/// A request.
pub(super) struct Request(pub(super) u64);

impl Display for Request {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // The kernel takes an unsigned int.
        let request = self.0 & 0xffff_ffff;
        if let Some(name) = named(REQUESTS, request) {
            return f.write_str(name);
        }
        let direction = match request >> 30 {
            0 => "_IOC_NONE",
            1 => "_IOC_WRITE",
            2 => "_IOC_READ",
            _ => "_IOC_READ|_IOC_WRITE",
        };
        let (kind, nr, size) = (request >> 8 & 0xff, request & 0xff, request >> 16 & 0x3fff);
        write!(f, "_IOC({direction}, {}, {}, {})", Hex(kind), Hex(nr), Hex(size))
    }
}
