//! A page in a real browser: Chromium, without a window, told what to do over two pipes.
//!
//! Messages are JSON and end with a NUL: the [DevTools protocol].
//!
//! [DevTools protocol]: https://chromedevtools.github.io/devtools-protocol/

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::process::readable;
use crate::{Process, Scratch, has};

const PROGRAM: &str = "chromium";
/// What the tests' scripts share.
const TOOLS: &str = include_str!("browser/tools.js");

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    to: ChildStdin,
    from: ChildStdout,
    unread: Vec<u8>,
    messages: u64,
    session: Option<String>,
    /// What the page complained of: errors, and what its policy refused.
    pub complaints: Vec<String>,
    _process: Process,
    _profile: Scratch,
}

impl Browser {
    /// Whether there is one.
    pub fn is_there() -> bool {
        has(PROGRAM)
    }

    /// Opens a page, and waits until it is loaded.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn open(page: &Path) -> Self {
        let profile = Scratch::new();
        // It reads from descriptor 3, and writes to 4.
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#, "sh", PROGRAM]);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
        // It would look for its maker's hosts.
        command.args(["--disable-background-networking", "--disable-component-update"]);
        command.args(["--disable-sync", "--disable-quic", "--disable-dev-shm-usage"]);
        command.args(["--remote-debugging-pipe", "--window-size=1280,800"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        let mut process = Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let to = process.child().stdin.take().expect("a pipe");
        let from = process.child().stdout.take().expect("a pipe");
        let mut browser = Self {
            to,
            from,
            unread: Vec::new(),
            messages: 0,
            session: None,
            complaints: Vec::new(),
            _process: process,
            _profile: profile,
        };
        browser.navigate(page);
        browser
    }

    fn navigate(&mut self, page: &Path) {
        let target = self.tell("Target.createTarget", &json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.tell("Target.attachToTarget", &target);
        self.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.tell(domain, &json!({}));
        }
        let address = format!("file://{}", page.display());
        self.tell("Page.navigate", &json!({ "url": address }));
        while self.message()["method"] != "Page.loadEventFired" {}
    }

    /// What a script returns, that runs as the body of an asynchronous function in the page.
    ///
    /// # Panics
    /// If it throws.
    pub fn run(&mut self, script: &str) -> Value {
        let expression = format!("(async () => {{ {TOOLS}\nawait ready();\n{script} }})()");
        let how = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
        });
        let mut answer = self.tell("Runtime.evaluate", &how);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{answer:#}");
        answer["result"]["value"].take()
    }

    /// Presses a key as a keyboard does, and lets it go.
    ///
    /// # Panics
    /// If the browser refuses.
    pub fn press(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let event =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            self.tell("Input.dispatchKeyEvent", &event);
        }
    }

    /// Tells the browser to do something; its answer.
    fn tell(&mut self, method: &str, params: &Value) -> Value {
        self.messages += 1;
        let mut message = json!({ "id": self.messages, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("a browser that reads");
        loop {
            let mut answer = self.message();
            if answer["id"] == self.messages {
                assert_eq!(answer["error"], Value::Null, "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// The next that it says.
    fn message(&mut self) -> Value {
        let message = loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == 0) {
                break self.unread.drain(..=end).collect::<Vec<_>>();
            }
            assert!(readable(self.from.as_raw_fd()), "the browser is silent");
            let mut bytes = [0; 1 << 13];
            let count = self.from.read(&mut bytes).expect("its pipe");
            assert!(count > 0, "the browser has ended");
            self.unread.extend_from_slice(&bytes[..count]);
        };
        let message: Value =
            serde_json::from_slice(&message[..message.len() - 1]).expect("JSON of a browser");
        let complains = match message["method"].as_str() {
            Some("Log.entryAdded") => message["params"]["entry"]["level"] == "error",
            method => {
                matches!(method, Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown"))
            }
        };
        if complains {
            self.complaints.push(message["params"].to_string());
        }
        message
    }
}
