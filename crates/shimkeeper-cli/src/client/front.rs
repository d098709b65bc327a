// SPDX-License-Identifier: Apache-2.0
//! A process that we have a daemon start, in the foreground: the signals we listen to from before it is there, its
//! FIFOs, and the terminal that is given back at the end.

use std::time::Duration;

use shimkeeper_core::{Exit, Kind};

use super::fifos::{Fifos, Io};
use super::process::Process;
use crate::failure::Failure;
use crate::foreground::signals::Signals;
use crate::foreground::supervise::{Ending, Stake, Streams, Supervisor};
use crate::foreground::terminal::{self, RawMode};

/// What there is of it before it starts.
#[derive(Debug)]
pub(super) struct Front {
    signals: Signals,
    raw_mode: Option<RawMode>,
    fifos: Fifos,
    timeout: Option<Duration>,
    timed_out: bool,
    written: Result<(), Failure>,
}

impl Front {
    /// From here on no signal ends us half-way; what arrives before the start is delivered after it.
    pub(super) fn new(fifos: Fifos) -> Result<Self, Failure> {
        let signals = Signals::of_process()?;
        let typed_into = fifos.io.terminal && !fifos.io.stdin.is_empty();
        terminal::may_type(typed_into)?;
        let raw_mode = RawMode::of_input(typed_into)?;
        Ok(Self { signals, raw_mode, fifos, timeout: None, timed_out: false, written: Ok(()) })
    }

    /// Kills it after this time.
    pub(super) fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// What the daemon is told of its streams.
    pub(super) fn io(&self) -> &Io {
        &self.fifos.io
    }

    /// Whether the time was up before it ended.
    pub(super) fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// That all it wrote is written.
    pub(super) fn written(self) -> Result<(), Failure> {
        self.written
    }

    /// Watches it from its start to its end, and until all it wrote is written.
    pub(super) async fn watch(&mut self, process: &Process) -> Result<Exit, Failure> {
        let mut streams = Streams::new();
        self.fifos.copy(&mut streams, process)?;
        let terminal = self.fifos.io.terminal;
        let mut supervisor = Supervisor::new(process, Stake::Owner, terminal, self.raw_mode.as_ref());
        supervisor = supervisor.timeout(self.timeout);
        let ending = supervisor.run(&mut self.signals, &mut streams).await;
        self.timed_out = supervisor.timed_out();
        let exit = match ending {
            Ok(Ending::Exit(exit)) => exit,
            Ok(Ending::Left) => {
                return Err(Failure::new(
                    Kind::Canceled,
                    "nobody watches the process any more",
                    "see `shimkeeper ps`",
                ));
            }
            Err(failure) => {
                // It may go on, and somebody may want to attach to it.
                self.fifos.keep();
                return Err(failure);
            }
        };
        streams.drain(&mut self.signals).await;
        self.written = streams.written();
        self.raw_mode = None;
        Ok(exit)
    }
}
