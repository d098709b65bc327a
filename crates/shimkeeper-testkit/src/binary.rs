// SPDX-License-Identifier: Apache-2.0
//! The fake shim as a process. One executable is the helper a manager runs, the server that helper starts, the
//! containers' processes, and what holds a pipe open for a test.
//!
//! ```text
//! manager ──runs──▶ start ──starts──▶ serve ──starts──▶ fake-init (one per process of a container)
//! manager ──runs──▶ delete, -info
//! ```

mod args;
mod delete;
mod info;
mod server;
mod start;

use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use args::{Action, Args};

use crate::model::run_init;

/// The action under which the executable does nothing but hold its standard streams.
const HOLD: &str = "hold";
const FAKE_INIT: &str = crate::model::INIT_ACTION;

/// A helper that failed; the manager reads the text on standard error.
type Failed = String;

/// The body of `containerd-shim-fake-v2`.
pub fn main() -> ExitCode {
    let raw: Vec<String> = std::env::args().skip(1).collect();
    match raw.first().map(String::as_str) {
        Some(FAKE_INIT) => return run_init(&raw[1..]),
        Some(HOLD) => {
            idle(Duration::from_millis(raw.get(1).and_then(|ms| ms.parse().ok()).unwrap_or(0)));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let done = Args::parse(&raw).and_then(|args| match args.action {
        Action::Start => start::run(&args),
        Action::Delete => delete::run(&args),
        Action::Serve => server::run(&args),
        Action::Info => info::run(),
    });
    match done {
        Ok(code) => code,
        Err(why) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

/// Writes a line on standard error, where a manager looks for the reason.
fn complain(text: &str) {
    // Nobody may be reading.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Does nothing for so long.
fn idle(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// Leaves a child that holds the standard streams for so many milliseconds.
fn leave_child_on_pipes(ms: u64) -> Result<(), Failed> {
    // The last argument tells a person, and a sweep of the test's directories, whose it is.
    let here = std::env::current_dir().unwrap_or_default();
    let exe = std::env::current_exe().map_err(|e| format!("finding this executable: {e}"))?;
    let child = Command::new(exe).arg(HOLD).arg(ms.to_string()).arg(here).stdin(Stdio::null()).spawn();
    child.map(drop).map_err(|e| format!("starting a child: {e}"))
}
