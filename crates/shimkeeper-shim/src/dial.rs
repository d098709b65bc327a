// SPDX-License-Identifier: Apache-2.0
//! Dialling a shim's socket: every form of address, one deadline for all of it.
//!
//! A socket that does not exist, or on which nobody listens, fails at once: a shim listens before its launch
//! ends, so waiting would only hide its death. What is worth another try within the deadline is a shim that is
//! there but cannot take us yet: a full backlog, and a hypervisor whose guest does not listen yet.

mod hvsock;
mod stream;
mod unix;
mod vsock;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use shimkeeper_core::{HasKind, Kind};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::Address;

pub(crate) use self::stream::Stream;

/// What is known about the shim that is dialled; it decides what a missing socket means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialMode {
    /// It was launched just now, and said that it listens there.
    Fresh,
    /// It was there before us; only its bundle says that it was.
    Existing,
}

/// Why a shim could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// There is no such socket.
    #[error("dial {address}: there is no such socket: {}", meaning(*mode))]
    Missing {
        /// What was dialled.
        address: String,
        /// What was known about the shim.
        mode: DialMode,
        /// What the system said.
        source: io::Error,
    },
    /// The socket is there and nobody listens on it.
    #[error("dial {address}: nobody listens on this socket: {}", meaning(*mode))]
    Refused {
        /// What was dialled.
        address: String,
        /// What was known about the shim.
        mode: DialMode,
        /// What the system said.
        source: io::Error,
    },
    /// The name does not fit into a socket address.
    #[error("dial {}: the socket's name has {len} bytes, at most {} fit a socket address", path.display(), unix::MAX_NAME_BYTES)]
    NameTooLong {
        /// The path, or the abstract name.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
    },
    /// This machine has no virtual sockets.
    #[error("dial {address}: this machine has no virtual sockets (AF_VSOCK): is the vsock module loaded?")]
    NoVsock {
        /// What was dialled.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The hypervisor did not connect us to the port.
    #[error("dial {address}: the hypervisor answered {answer:?} instead of OK")]
    Hypervisor {
        /// What was dialled.
        address: String,
        /// The line it answered, cut at its limit.
        answer: String,
    },
    /// The time allowed ran out.
    #[error("dial {address}: no connection within {after:?}{}", last(obstacle.as_deref()))]
    Deadline {
        /// What was dialled.
        address: String,
        /// How long was allowed.
        after: Duration,
        /// What was in the way at the last try, if it was not silence.
        obstacle: Option<String>,
    },
    /// The HTTP/2 session could not be opened.
    #[error("dial {address}: cannot open an HTTP/2 session")]
    Session {
        /// What was dialled.
        address: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Anything else the system refused.
    #[error("dial {address}: cannot connect")]
    Io {
        /// What was dialled.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// How one try can fail.
#[derive(Debug)]
enum Failure {
    /// It will not get better.
    Final(DialError),
    /// It may, within the deadline; the text says what is in the way.
    Again(String),
}

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A stream to the shim.
pub(crate) async fn open(address: &Address, mode: DialMode, until: Deadline) -> Result<Stream, DialError> {
    let mut pause = FIRST_PAUSE;
    let mut obstacle = None;
    loop {
        match timeout_at(until.at, attempt(address, mode)).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Again(text))) => obstacle = Some(text),
            Err(_elapsed) => return Err(until.passed(address, obstacle)),
        }
        sleep_until(until.at.min(Instant::now() + pause)).await;
        // A try that fails without waiting would always be faster than its own timeout.
        if Instant::now() >= until.at {
            return Err(until.passed(address, obstacle));
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

async fn attempt(address: &Address, mode: DialMode) -> Result<Stream, Failure> {
    match address {
        Address::Unix(path) => unix::connect(unix::Name::Path(path), address, mode).map(Stream::Unix),
        Address::Abstract(name) => unix::connect(unix::Name::Abstract(name), address, mode).map(Stream::Unix),
        Address::Hvsock { path, port } => {
            let stream = unix::connect(unix::Name::Path(path), address, mode)?;
            hvsock::request(stream, *port, address).await.map(Stream::Unix)
        }
        Address::Vsock { cid, port } => vsock::connect(*cid, *port, address, mode).await.map(Stream::Vsock),
    }
}

/// When dialling ends, and how long that was from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    allowed: Duration,
}

impl Deadline {
    /// So much time from now; more than a year is a year, because clocks overflow.
    pub(crate) fn after(allowed: Duration) -> Self {
        const YEAR: Duration = Duration::from_hours(365 * 24);
        Self { at: Instant::now() + allowed.min(YEAR), allowed }
    }

    pub(crate) fn passed(self, address: &Address, obstacle: Option<String>) -> DialError {
        DialError::Deadline { address: address.to_string(), after: self.allowed, obstacle }
    }
}

/// Sorts a failed `connect`.
fn failure(address: &Address, mode: DialMode, source: io::Error) -> Failure {
    let address = address.to_string();
    match source.kind() {
        io::ErrorKind::NotFound => Failure::Final(DialError::Missing { address, mode, source }),
        io::ErrorKind::ConnectionRefused => Failure::Final(DialError::Refused { address, mode, source }),
        // A non-blocking connect to a full backlog: somebody listens, but does not accept at the moment.
        io::ErrorKind::WouldBlock => Failure::Again("its queue of connections is full".to_owned()),
        io::ErrorKind::Interrupted => Failure::Again(source.to_string()),
        _ => Failure::Final(DialError::Io { address, source }),
    }
}

fn meaning(mode: DialMode) -> &'static str {
    match mode {
        DialMode::Fresh => "the shim said it listens there, so it has died since or told an untruth",
        DialMode::Existing => "the shim that served it is gone",
    }
}

fn last(obstacle: Option<&str>) -> String {
    obstacle.map(|text| format!(" ({text})")).unwrap_or_default()
}

impl HasKind for DialError {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing { .. } | Self::Refused { .. } | Self::Session { .. } | Self::Hypervisor { .. } => {
                Kind::Unavailable
            }
            Self::NameTooLong { .. } => Kind::InvalidArgument,
            Self::NoVsock { .. } => Kind::FailedPrecondition,
            Self::Deadline { .. } => Kind::DeadlineExceeded,
            Self::Io { source, .. } => Kind::of_io(source),
        }
    }
}

#[cfg(test)]
mod tests;
