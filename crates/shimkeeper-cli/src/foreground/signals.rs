// SPDX-License-Identifier: Apache-2.0
//! The signals sent to us, and what becomes of them.
//!
//! Every signal with a meaning for the container is forwarded to its first process. The terminal's stop (TSTP) is
//! left as it is: it stops us, not the container. Because a process that is number 1 in its container ignores
//! what it has no handler for, impatience has a meaning of its own: see [`Interrupts`].

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::failure::Failure;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Send the signal of this number to the container.
    Forward(i32),
    /// Ctrl-C, or whoever sends the same.
    Interrupt,
    /// The terminal has a new size.
    Resize,
    /// We were stopped and go on; the terminal may have been changed meanwhile.
    Continue,
}

/// All signals we listen to, from the moment this is made until the process ends.
#[derive(Debug)]
pub(crate) struct Signals {
    sources: Vec<(Request, Signal)>,
}

impl Signals {
    /// Begins to listen; from now on none of them ends this process.
    fn listen() -> io::Result<Self> {
        let forwarded = [
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::quit(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ];
        let forwarded = forwarded.map(|kind| (Request::Forward(kind.as_raw_value()), kind));
        let own = [
            (Request::Interrupt, SignalKind::interrupt()),
            (Request::Resize, SignalKind::window_change()),
            (Request::Continue, SignalKind::from_raw(rustix::process::Signal::CONT.as_raw())),
        ];
        let sources = forwarded.into_iter().chain(own);
        let sources = sources.map(|(request, kind)| Ok((request, signal(kind)?)));
        Ok(Self { sources: sources.collect::<io::Result<_>>()? })
    }

    /// The same, told to the user if it fails.
    pub(crate) fn of_process() -> Result<Self, Failure> {
        Self::listen()
            .map_err(|error| Failure::io("listen to signals", &error, "check the limits on open files"))
    }

    /// The next one. Several of a kind that arrive together count as one, as everywhere in Unix.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Request {
        poll_fn(|cx| {
            for (request, source) in &mut self.sources {
                if source.poll_recv(cx).is_ready() {
                    return Poll::Ready(*request);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The number of the next signal that is meant to end us; what else comes is passed over.
    ///
    /// For when there is no container to forward it to: not yet, or no longer.
    ///
    /// # Cancel safety
    /// Nothing that is meant to end us is lost.
    pub(crate) async fn told_to_end(&mut self) -> u8 {
        const HANGUP: i32 = SignalKind::hangup().as_raw_value();
        const QUIT: i32 = SignalKind::quit().as_raw_value();
        const TERMINATE: i32 = SignalKind::terminate().as_raw_value();
        loop {
            match self.next().await {
                Request::Interrupt => return 2,
                Request::Forward(HANGUP) => return 1,
                Request::Forward(QUIT) => return 3,
                Request::Forward(TERMINATE) => return 15,
                Request::Forward(_) | Request::Resize | Request::Continue => {}
            }
        }
    }
}

/// What to do with an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Forward it.
    Forward,
    /// Forward it, and say that the next one kills.
    Warn,
    /// Kill the container.
    Kill,
}

/// Tells patience from impatience: three interrupts within two seconds bring a warning, and the next one kills.
/// After ten quiet seconds the warning is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    recent: Vec<Instant>,
    warned: Option<Instant>,
}

impl Interrupts {
    const WINDOW: Duration = Duration::from_secs(2);
    const MEMORY: Duration = Duration::from_secs(10);

    /// Takes note of an interrupt at `now`.
    pub(crate) fn at(&mut self, now: Instant) -> Reaction {
        if self.warned.is_some_and(|then| now.duration_since(then) <= Self::MEMORY) {
            return Reaction::Kill;
        }
        self.warned = None;
        self.recent.retain(|then| now.duration_since(*then) <= Self::WINDOW);
        self.recent.push(now);
        if self.recent.len() < 3 {
            return Reaction::Forward;
        }
        self.recent.clear();
        self.warned = Some(now);
        Reaction::Warn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reactions(at_ms: &[u64]) -> Vec<Reaction> {
        let start = Instant::now();
        let mut interrupts = Interrupts::default();
        at_ms.iter().map(|ms| interrupts.at(start + Duration::from_millis(*ms))).collect()
    }

    #[test]
    fn three_in_a_row_warn_and_the_fourth_kills() {
        use Reaction::{Forward, Kill, Warn};
        assert_eq!(reactions(&[0, 500, 1000, 1500]), [Forward, Forward, Warn, Kill]);
        assert_eq!(reactions(&[0, 500, 1000, 11_000]), [Forward, Forward, Warn, Kill]);
        assert_eq!(reactions(&[0, 500, 1000, 11_001]), [Forward, Forward, Warn, Forward]);
    }

    #[test]
    fn the_patient_are_never_warned() {
        assert!(reactions(&[0, 1100, 2200, 3300, 4400]).iter().all(|r| *r == Reaction::Forward));
    }

    #[tokio::test]
    async fn signals_become_requests() {
        let mut signals = Signals::listen().unwrap();
        let me = rustix::process::getpid();
        for (sent, expected) in [
            (rustix::process::Signal::TERM, Request::Forward(15)),
            (rustix::process::Signal::USR1, Request::Forward(10)),
            (rustix::process::Signal::INT, Request::Interrupt),
            (rustix::process::Signal::WINCH, Request::Resize),
            (rustix::process::Signal::CONT, Request::Continue),
        ] {
            rustix::process::kill_process(me, sent).unwrap();
            let request = tokio::time::timeout(Duration::from_secs(10), signals.next()).await;
            assert_eq!(request.unwrap(), expected);
        }
        for sent in [rustix::process::Signal::USR2, rustix::process::Signal::QUIT] {
            rustix::process::kill_process(me, sent).unwrap();
        }
        let told = tokio::time::timeout(Duration::from_secs(10), signals.told_to_end()).await;
        assert_eq!(told.unwrap(), 3);
    }
}
