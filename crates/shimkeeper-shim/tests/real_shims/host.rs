// SPDX-License-Identifier: Apache-2.0
//! What a shim expects of its host: a log FIFO somebody reads, an events service that answers; and a way to find
//! and end its process whatever happened.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use shimkeeper_ttrpc::{Answer, Context, Server, ServerLimits, Service};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// Takes every event and keeps none.
struct Events;

impl Service for Events {
    fn call<'a>(&'a self, _method: &'a str, _payload: Bytes, _cx: &'a Context) -> Answer<'a> {
        Box::pin(async { Ok(Bytes::new()) })
    }
}

/// Serves the events service at this path until `stop`.
pub(crate) async fn serve_events(listener: UnixListener, stop: CancellationToken) {
    Server::new(ServerLimits::default())
        .service("containerd.services.events.ttrpc.v1.Events", Arc::new(Events))
        .serve(listener, stop)
        .await;
}

/// Makes the FIFO that a shim logs to, and holds it open: without a reader the shim would wait for one.
pub(crate) fn open_log(bundle: &Path) -> OwnedFd {
    let path = bundle.join("log");
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    rustix::fs::open(&path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// A process, held so that its number cannot come to mean another one.
#[derive(Debug)]
pub(crate) struct Process(OwnedFd);

impl Process {
    /// The processes that were started with `-id <id>`: the shim, under every generation.
    pub(crate) fn of_task(id: &str) -> Vec<Self> {
        let needle = format!("\0-id\0{id}\0");
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter_map(|pid| {
            let process = Self(rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?);
            let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let found = words.windows(needle.len()).any(|window| window == needle.as_bytes());
            found.then_some(process)
        })
        .collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        match rustix::process::pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => panic!("signal {signal:?}: {error}"),
        }
    }

    /// Waits for its end; blocks.
    pub(crate) fn wait_gone(&self, limit: Duration) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&limit.try_into().unwrap()))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}
