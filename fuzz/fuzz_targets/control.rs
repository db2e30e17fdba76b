//! The control socket, both ways: a request of any bytes, and a reply of any. What is understood is
//! understood alike when it is sent on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mmaptrace::control::{Reply, Request};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = Request::parse(bytes) {
        let line = request.to_line().expect("it has a line");
        assert_eq!(Request::parse(&line).ok(), Some(request));
    }
    if let Ok((reply, body)) = Reply::read(&mut &bytes[..]) {
        let sent = [reply.to_line().expect("it has a line"), body.clone()].concat();
        assert_eq!(Reply::read(&mut &sent[..]).ok(), Some((reply, body)));
    }
});
