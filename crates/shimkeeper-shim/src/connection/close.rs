// SPDX-License-Identifier: Apache-2.0
//! The end of a connection: one reason for both transports, and the latch that remembers the first one.
//!
//! Only what happens to the connection itself counts: end of stream, an I/O error, a peer that breaks the
//! protocol, our own close. A connection that is merely idle is alive for ever.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use shimkeeper_ttrpc::End;
use tokio::sync::Notify;

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The shim closed it, which is what the kernel does when a shim dies.
    PeerClosed,
    /// The shim went away with something of ours unread.
    Reset,
    /// We closed it.
    Local,
    /// The shim sent what the protocol does not allow, or ended the session above the socket.
    Protocol {
        /// What it was.
        detail: Arc<str>,
    },
    /// The socket failed.
    Io {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// What the system said.
        detail: Arc<str>,
    },
}

impl CloseReason {
    /// What a failed read or write says about the connection.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => Self::PeerClosed,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::Reset,
            kind => Self::Io { kind, detail: error.to_string().into() },
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("the shim closed it"),
            Self::Reset => f.write_str("the shim reset it"),
            Self::Local => f.write_str("closed on our side"),
            Self::Protocol { detail } => write!(f, "the shim broke the protocol: {detail}"),
            Self::Io { detail, .. } => write!(f, "the socket failed: {detail}"),
        }
    }
}

/// Remembers the first reason it is given; every waiter, early or late, sees that one.
#[derive(Clone, Debug)]
pub(super) struct CloseLatch(Arc<Latch>);

#[derive(Debug, Default)]
struct Latch {
    reason: OnceLock<CloseReason>,
    end: End,
}

impl CloseLatch {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// Trips the latch, unless it has tripped.
    pub(super) fn trip(&self, reason: CloseReason) {
        // Later ones do not count.
        let _ = self.0.reason.set(reason);
        self.0.end.come();
    }

    /// Notifies who waits for `listener` when it trips; at once if it has.
    pub(super) fn tell(&self, listener: Arc<Notify>) {
        self.0.end.tell(listener);
    }

    pub(super) fn reason(&self) -> Option<CloseReason> {
        self.0.reason.get().cloned()
    }

    pub(super) async fn tripped(&self) -> CloseReason {
        self.0.end.reached().await;
        self.reason().expect("it is set before")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stays_and_everybody_sees_it() {
        let latch = CloseLatch::new();
        assert_eq!(latch.reason(), None);
        let early = [latch.clone(), latch.clone()];
        let waiting = async { tokio::join!(early[0].tripped(), early[1].tripped()) };
        let tripping = async {
            latch.trip(CloseReason::PeerClosed);
            latch.trip(CloseReason::Local);
        };
        let (seen, ()) = tokio::join!(waiting, tripping);
        assert_eq!(seen, (CloseReason::PeerClosed, CloseReason::PeerClosed));
        assert_eq!(latch.tripped().await, CloseReason::PeerClosed);
    }

    #[test]
    fn io_errors_of_a_dead_peer_are_its_closing() {
        assert_eq!(CloseReason::of_io(&io::ErrorKind::BrokenPipe.into()), CloseReason::PeerClosed);
        assert_eq!(CloseReason::of_io(&io::ErrorKind::ConnectionReset.into()), CloseReason::Reset);
        assert!(matches!(CloseReason::of_io(&io::Error::from_raw_os_error(5)), CloseReason::Io { .. }));
    }
}
