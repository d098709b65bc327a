// SPDX-License-Identifier: Apache-2.0
//! Watches a running container: everything that can happen is one [`Event`], and what each asks for is decided
//! without waiting, in [`Decisions::on`]. Orders are carried out one after the other beside the watching, so that
//! a shim that is slow to take a signal does not hide the container's end.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use shimkeeper::{Error, ProcessIo, Task};
use shimkeeper_core::Exit;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::signals::{Interrupts, Reaction, Request, Signals};
use super::stdio::{Lost, pump_input, pump_output, read_in_background};
use super::terminal::{self, RawMode, Size};
use crate::failure::{Failure, say};

const SIGINT: u32 = 2;
const SIGKILL: u32 = 9;
const SIGPIPE: u32 = 13;

/// What happens while a container runs, apart from its end.
#[derive(Clone, Copy, Debug)]
enum Event {
    Signal(Request),
    Lost(Lost),
    TimeUp,
}

/// What is to be done to the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Signal(u32),
    Kill,
    Resize(Size),
}

/// What is to be done here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Order(Order),
    /// Forward the interrupt, and say that the next one kills.
    WarnAndInterrupt,
    /// The terminal may have a new size.
    Resize,
    /// The terminal may have been changed while we were stopped.
    RawAgain,
}

/// The decisions, apart from the world they are about.
#[derive(Debug, Default)]
struct Decisions {
    interrupts: Interrupts,
    timed_out: bool,
}

impl Decisions {
    fn on(&mut self, event: Event, now: Instant) -> Reply {
        match event {
            Event::Signal(Request::Forward(signal)) => Reply::Order(Order::Signal(signal.unsigned_abs())),
            Event::Signal(Request::Interrupt) => match self.interrupts.at(now) {
                Reaction::Forward => Reply::Order(Order::Signal(SIGINT)),
                Reaction::Warn => Reply::WarnAndInterrupt,
                Reaction::Kill => Reply::Order(Order::Kill),
            },
            Event::Signal(Request::Resize) => Reply::Resize,
            Event::Signal(Request::Continue) => Reply::RawAgain,
            // What the kernel would do to a program whose reader has gone; and because the first process of a
            // container does not die of it by default, one that goes on writing regardless is ended.
            Event::Lost(Lost::Now) => Reply::Order(Order::Signal(SIGPIPE)),
            Event::Lost(Lost::Still) => Reply::Order(Order::Kill),
            Event::TimeUp => {
                self.timed_out = true;
                Reply::Order(Order::Kill)
            }
        }
    }
}

/// Watches one task until its end.
#[derive(Debug)]
pub(crate) struct Supervisor<'a> {
    task: &'a Task,
    raw_mode: Option<&'a RawMode>,
    terminal: bool,
    timeout: Option<Duration>,
    decisions: Decisions,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn new(
        task: &'a Task,
        raw_mode: Option<&'a RawMode>,
        terminal: bool,
        timeout: Option<Duration>,
    ) -> Self {
        Self { task, raw_mode, terminal, timeout, decisions: Decisions::default() }
    }

    /// Whether the time was up before the container ended.
    pub(crate) fn timed_out(&self) -> bool {
        self.decisions.timed_out
    }

    /// Waits for the end, and does meanwhile what is asked for.
    pub(crate) async fn run(&mut self, signals: &mut Signals, streams: &mut Streams) -> Result<Exit, Error> {
        let (orders, to_do) = mpsc::unbounded_channel();
        if self.terminal {
            self.reply(Reply::Resize, &orders);
        }
        let mut end = Box::pin(self.task.wait());
        let mut carry_out = Box::pin(carry_out(self.task, to_do));
        let mut timeout = self.timeout;
        let deadline = Instant::now() + timeout.unwrap_or_default();
        loop {
            let event = tokio::select! {
                biased;
                exit = &mut end => return exit,
                () = tokio::time::sleep_until(deadline), if timeout.is_some() => {
                    timeout = None;
                    Event::TimeUp
                }
                request = signals.next() => Event::Signal(request),
                Some(lost) = streams.lost.recv() => Event::Lost(lost),
                () = &mut carry_out => unreachable!("the sender of orders is held here"),
            };
            let reply = self.decisions.on(event, Instant::now());
            self.reply(reply, &orders);
        }
    }

    fn reply(&self, reply: Reply, orders: &mpsc::UnboundedSender<Order>) {
        let order = match reply {
            Reply::Order(order) => Some(order),
            Reply::WarnAndInterrupt => {
                say("the container does not react to the interrupt", Some("interrupt once more to kill it"));
                Some(Order::Signal(SIGINT))
            }
            Reply::Resize => terminal::size().filter(|_| self.terminal).map(Order::Resize),
            Reply::RawAgain => {
                // A terminal that cannot be set any more is gone; the end of its input follows.
                let _ = self.raw_mode.map(RawMode::again);
                terminal::size().filter(|_| self.terminal).map(Order::Resize)
            }
        };
        if let Some(order) = order {
            // The receiver lives as long as the loop that calls this.
            let _ = orders.send(order);
        }
    }
}

/// Carries orders out in their turn, for as long as there may be more.
async fn carry_out(task: &Task, mut orders: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        let done = match order {
            Order::Signal(signal) => task.kill(signal, false).await,
            Order::Kill => match task.kill(SIGKILL, true).await {
                Ok(()) => Ok(()),
                // Not every shim knows how to kill all; the first process takes the others along.
                Err(_) => task.kill(SIGKILL, false).await,
            },
            Order::Resize(size) => task.resize(size.columns.into(), size.rows.into()).await,
        };
        // Most often it is over already, which is about to be seen.
        if let Err(error) = done {
            tracing::debug!(?order, %error, "the container did not take it");
        }
    }
}

/// The streams between us and the container.
#[derive(Debug)]
pub(crate) struct Streams {
    outputs: JoinSet<()>,
    /// Held so that reading input ends with us.
    _input: JoinSet<()>,
    over: CancellationToken,
    lost: mpsc::UnboundedReceiver<Lost>,
}

impl Streams {
    /// Begins to copy in every direction there is.
    pub(crate) fn begin(io: Option<ProcessIo>) -> Result<Self, Failure> {
        let failed = |error| Failure::io("use standard input and output", &error, "check that they are open");
        let over = CancellationToken::new();
        let (lost_sender, lost) = mpsc::unbounded_channel();
        let (mut outputs, mut input) = (JoinSet::new(), JoinSet::new());
        if let Some(io) = io {
            if let Some(pipe) = io.stdout {
                let ours = io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
                outputs.spawn(pump_output(pipe, ours, over.clone(), lost_sender.clone()));
            }
            if let Some(pipe) = io.stderr {
                let ours = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
                outputs.spawn(pump_output(pipe, ours, over.clone(), lost_sender));
            }
            if let Some(pipe) = io.stdin {
                let ours = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
                input.spawn(pump_input(read_in_background(ours).map_err(failed)?, pipe));
            }
        }
        Ok(Self { outputs, _input: input, over, lost })
    }

    /// Waits until all output is written. A signal that is meant to end us ends the waiting.
    pub(crate) async fn drain(&mut self, signals: &mut Signals) {
        self.over.cancel();
        loop {
            tokio::select! {
                ended = self.outputs.join_next() => if ended.is_none() { return },
                _ = signals.told_to_end() => {
                    self.outputs.abort_all();
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_its_answer() {
        let mut decisions = Decisions::default();
        let now = Instant::now();
        let mut on = |event| decisions.on(event, now);
        assert_eq!(on(Event::Signal(Request::Forward(15))), Reply::Order(Order::Signal(15)));
        assert_eq!(on(Event::Signal(Request::Resize)), Reply::Resize);
        assert_eq!(on(Event::Signal(Request::Continue)), Reply::RawAgain);
        assert_eq!(on(Event::Lost(Lost::Now)), Reply::Order(Order::Signal(13)));
        assert_eq!(on(Event::Lost(Lost::Still)), Reply::Order(Order::Kill));
        assert_eq!(on(Event::TimeUp), Reply::Order(Order::Kill));
        assert!(decisions.timed_out);
    }

    #[test]
    fn the_impatient_get_their_way() {
        let mut decisions = Decisions::default();
        let now = Instant::now();
        let replies = [(); 4].map(|()| decisions.on(Event::Signal(Request::Interrupt), now));
        let interrupt = Reply::Order(Order::Signal(2));
        assert_eq!(replies, [interrupt, interrupt, Reply::WarnAndInterrupt, Reply::Order(Order::Kill)]);
        assert!(!decisions.timed_out);
    }
}
