// SPDX-License-Identifier: Apache-2.0
//! What the daemon is asked by signal.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// TERM or INT: to end.
    Stop,
    /// HUP: to read the configuration again.
    Reload,
    /// USR1: to say in the log what there is.
    Dump,
}

/// Every signal the daemon listens to. SIGPIPE is ignored by the language's runtime.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: Signal,
}

impl Signals {
    /// Listens from now on; a signal before the first [`Signals::next`] is not lost.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// What is asked next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Ask {
        tokio::select! {
            // Ending comes before everything else that was asked at the same time.
            biased;
            _ = self.terminate.recv() => Ask::Stop,
            _ = self.interrupt.recv() => Ask::Stop,
            // Whoever looks and then changes something sees what was.
            _ = self.user.recv() => Ask::Dump,
            _ = self.hangup.recv() => Ask::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal as Number, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn signals_become_what_they_ask() {
        let mut signals = Signals::listen().unwrap();
        for (number, expected) in [
            (Number::HUP, Ask::Reload),
            (Number::USR1, Ask::Dump),
            (Number::INT, Ask::Stop),
            (Number::TERM, Ask::Stop),
        ] {
            kill_process(getpid(), number).unwrap();
            let asked = tokio::time::timeout(Duration::from_secs(30), signals.next()).await.unwrap();
            assert_eq!(asked, expected);
        }
    }
}
