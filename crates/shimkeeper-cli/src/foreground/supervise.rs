// SPDX-License-Identifier: Apache-2.0
//! Watches a process that runs: everything that can happen is one [`Event`], and what each asks for is decided
//! without waiting, in [`Decisions::on`]. Orders are carried out one after the other beside the watching, so that
//! a shim that is slow to take a signal does not hide the process's end.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use shimkeeper_core::Exit;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::leave::Keys;
use super::signals::{Interrupts, Reaction, Request, Signals};
use super::stdio::{Lost, pump_input, pump_output, read_in_background};
use super::terminal::{self, RawMode, Size};
use crate::failure::{Failure, say};
use crate::stdout;

const SIGINT: u32 = 2;
const SIGPIPE: u32 = 13;

/// A process that can be watched: of a manager in this process, or of a daemon.
pub(crate) trait Watched {
    /// Waits for its end, however long that takes.
    async fn wait(&self) -> Result<Exit, Failure>;

    /// Does this to it.
    async fn obey(&self, order: Order) -> Result<(), Failure>;
}

/// What is to be done to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Send it this signal.
    Signal(u32),
    /// Kill it, and all that is with it.
    Kill,
    /// Its terminal has this size now.
    Resize(Size),
}

/// What the process is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stake {
    /// We have started it, and it ends with us.
    Owner,
    /// It was there before us, and stays when we leave.
    Guest,
}

/// How the watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The process did.
    Exit(Exit),
    /// We leave, and it goes on.
    Left,
}

/// What happens while the process runs, apart from its end.
#[derive(Clone, Copy, Debug)]
enum Event {
    Signal(Request),
    Lost(Lost),
    TimeUp,
}

/// What is to be done here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Order(Order),
    /// Forward the interrupt, and say what the next one does.
    WarnAndInterrupt,
    /// The terminal may have a new size.
    Resize,
    /// The terminal may have been changed while we were stopped.
    RawAgain,
    Leave,
}

/// The decisions, apart from the world they are about.
#[derive(Debug)]
struct Decisions {
    stake: Stake,
    interrupts: Interrupts,
    timed_out: bool,
}

impl Decisions {
    fn new(stake: Stake) -> Self {
        Self { stake, interrupts: Interrupts::default(), timed_out: false }
    }

    fn on(&mut self, event: Event, now: Instant) -> Reply {
        let last_resort = match self.stake {
            Stake::Owner => Reply::Order(Order::Kill),
            Stake::Guest => Reply::Leave,
        };
        match event {
            Event::Signal(Request::Forward(signal)) => Reply::Order(Order::Signal(signal.unsigned_abs())),
            Event::Signal(Request::Interrupt) => match self.interrupts.at(now) {
                Reaction::Forward => Reply::Order(Order::Signal(SIGINT)),
                Reaction::Warn => Reply::WarnAndInterrupt,
                Reaction::Kill => last_resort,
            },
            Event::Signal(Request::Resize) => Reply::Resize,
            Event::Signal(Request::Continue) => Reply::RawAgain,
            Event::Lost(_) if self.stake == Stake::Guest => Reply::Leave,
            // What the kernel would do to a program whose reader has gone; and because the first process of a
            // container does not die of it by default, one that goes on writing regardless is ended.
            Event::Lost(Lost::Now(_)) => Reply::Order(Order::Signal(SIGPIPE)),
            Event::Lost(Lost::Still) => Reply::Order(Order::Kill),
            Event::TimeUp => {
                self.timed_out = true;
                Reply::Order(Order::Kill)
            }
        }
    }
}

/// Watches one process until its end.
#[derive(Debug)]
pub(crate) struct Supervisor<'a, P> {
    process: &'a P,
    raw_mode: Option<&'a RawMode>,
    terminal: bool,
    timeout: Option<Duration>,
    decisions: Decisions,
}

impl<'a, P: Watched> Supervisor<'a, P> {
    pub(crate) fn new(process: &'a P, stake: Stake, terminal: bool, raw_mode: Option<&'a RawMode>) -> Self {
        Self { process, raw_mode, terminal, timeout: None, decisions: Decisions::new(stake) }
    }

    /// Kills it after this time.
    pub(crate) fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether the time was up before the process ended.
    pub(crate) fn timed_out(&self) -> bool {
        self.decisions.timed_out
    }

    /// Waits for the end, and does meanwhile what is asked for.
    pub(crate) async fn run(
        &mut self,
        signals: &mut Signals,
        streams: &mut Streams,
    ) -> Result<Ending, Failure> {
        let (orders, to_do) = mpsc::unbounded_channel();
        if self.terminal {
            self.reply(Reply::Resize, &orders);
        }
        let mut end = Box::pin(self.process.wait());
        let mut carry_out = Box::pin(carry_out(self.process, to_do));
        let mut timeout = self.timeout;
        let deadline = Instant::now() + timeout.unwrap_or_default();
        loop {
            let event = tokio::select! {
                biased;
                exit = &mut end => return exit.map(Ending::Exit),
                () = tokio::time::sleep_until(deadline), if timeout.is_some() => {
                    timeout = None;
                    Event::TimeUp
                }
                request = signals.next() => Event::Signal(request),
                Some(lost) = streams.lost.recv() => {
                    streams.note(lost);
                    Event::Lost(lost)
                }
                () = streams.left.cancelled() => return Ok(Ending::Left),
                () = &mut carry_out => unreachable!("the sender of orders is held here"),
            };
            let reply = self.decisions.on(event, Instant::now());
            if reply == Reply::Leave {
                return Ok(Ending::Left);
            }
            self.reply(reply, &orders);
        }
    }

    fn reply(&self, reply: Reply, orders: &mpsc::UnboundedSender<Order>) {
        let order = match reply {
            Reply::Order(order) => Some(order),
            Reply::WarnAndInterrupt => {
                let next = match self.decisions.stake {
                    Stake::Owner => "interrupt once more to kill it",
                    Stake::Guest => "interrupt once more to leave it",
                };
                say("the container does not react to the interrupt", Some(next));
                Some(Order::Signal(SIGINT))
            }
            Reply::Resize => terminal::size().filter(|_| self.terminal).map(Order::Resize),
            Reply::RawAgain => {
                // A terminal that cannot be set any more is gone; the end of its input follows.
                let _ = self.raw_mode.map(RawMode::again);
                terminal::size().filter(|_| self.terminal).map(Order::Resize)
            }
            Reply::Leave => None,
        };
        if let Some(order) = order {
            // The receiver lives as long as the loop that calls this.
            let _ = orders.send(order);
        }
    }
}

/// Carries orders out in their turn, for as long as there may be more.
async fn carry_out(process: &impl Watched, mut orders: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        // Most often it is over already, which is about to be seen.
        if let Err(failure) = process.obey(order).await {
            tracing::debug!(?order, failure = failure.what, "the container did not take it");
        }
    }
}

/// The streams between us and the process.
#[derive(Debug)]
pub(crate) struct Streams {
    outputs: JoinSet<()>,
    /// Held so that reading input ends with us.
    input: JoinSet<()>,
    over: CancellationToken,
    left: CancellationToken,
    tell_lost: mpsc::UnboundedSender<Lost>,
    lost: mpsc::UnboundedReceiver<Lost>,
    /// Why not all output is written.
    unwritten: Option<Errno>,
}

impl Streams {
    /// None yet.
    pub(crate) fn new() -> Self {
        let (tell_lost, lost) = mpsc::unbounded_channel();
        let (over, left) = (CancellationToken::new(), CancellationToken::new());
        Self { outputs: JoinSet::new(), input: JoinSet::new(), over, left, tell_lost, lost, unwritten: None }
    }

    /// Begins to copy what the process writes to this one of ours.
    pub(crate) fn output(
        &mut self,
        pipe: impl AsyncRead + Unpin + Send + 'static,
        ours: impl AsFd,
    ) -> Result<(), Failure> {
        let ours = ours.as_fd().try_clone_to_owned().map_err(|error| unusable(&error))?;
        self.outputs.spawn(pump_output(pipe, ours, self.over.clone(), self.tell_lost.clone()));
        Ok(())
    }

    /// Has somebody bring the output meanwhile, who is told when the process is over and nothing more will come.
    pub(crate) fn bring<F>(&mut self, bring: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.outputs.spawn(bring(self.over.clone()));
    }

    /// Begins to copy our input to the process, and does the rest when it is at its end. With `keys`, one may leave.
    pub(crate) fn input(
        &mut self,
        pipe: impl AsyncWrite + Unpin + Send + 'static,
        keys: Option<Keys>,
        at_the_end: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Failure> {
        let ours = io::stdin().as_fd().try_clone_to_owned().map_err(|error| unusable(&error))?;
        let typed = read_in_background(ours).map_err(|error| unusable(&error))?;
        let left = self.left.clone();
        self.input.spawn(async move {
            match pump_input(typed, pipe, keys).await {
                Some(pipe) => {
                    drop(pipe);
                    at_the_end.await;
                }
                None => left.cancel(),
            }
        });
        Ok(())
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

    /// That so far all output is written, unless nobody wants it any more.
    pub(crate) fn written(&mut self) -> Result<(), Failure> {
        while let Ok(lost) = self.lost.try_recv() {
            self.note(lost);
        }
        self.unwritten
            .filter(|why| *why != Errno::PIPE)
            .map_or(Ok(()), |why| Err(stdout::unwritten(&why.into())))
    }

    fn note(&mut self, lost: Lost) {
        if let Lost::Now(why) = lost {
            self.unwritten = Some(why);
        }
    }
}

fn unusable(error: &io::Error) -> Failure {
    Failure::io("use standard input and output", error, "check that they are open")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_its_answer() {
        let mut decisions = Decisions::new(Stake::Owner);
        let now = Instant::now();
        let mut on = |event| decisions.on(event, now);
        assert_eq!(on(Event::Signal(Request::Forward(15))), Reply::Order(Order::Signal(15)));
        assert_eq!(on(Event::Signal(Request::Resize)), Reply::Resize);
        assert_eq!(on(Event::Signal(Request::Continue)), Reply::RawAgain);
        assert_eq!(on(Event::Lost(Lost::Now(Errno::PIPE))), Reply::Order(Order::Signal(13)));
        assert_eq!(on(Event::Lost(Lost::Still)), Reply::Order(Order::Kill));
        assert_eq!(on(Event::TimeUp), Reply::Order(Order::Kill));
        assert!(decisions.timed_out);
    }

    #[test]
    fn the_impatient_get_their_way() {
        let mut decisions = Decisions::new(Stake::Owner);
        let now = Instant::now();
        let replies = [(); 4].map(|()| decisions.on(Event::Signal(Request::Interrupt), now));
        let interrupt = Reply::Order(Order::Signal(2));
        assert_eq!(replies, [interrupt, interrupt, Reply::WarnAndInterrupt, Reply::Order(Order::Kill)]);
        assert!(!decisions.timed_out);
    }

    #[test]
    fn a_guest_leaves_and_does_no_harm() {
        let mut decisions = Decisions::new(Stake::Guest);
        let now = Instant::now();
        assert_eq!(decisions.on(Event::Lost(Lost::Now(Errno::PIPE)), now), Reply::Leave);
        let replies = [(); 4].map(|()| decisions.on(Event::Signal(Request::Interrupt), now));
        let interrupt = Reply::Order(Order::Signal(2));
        assert_eq!(replies, [interrupt, interrupt, Reply::WarnAndInterrupt, Reply::Leave]);
        assert_eq!(decisions.on(Event::Signal(Request::Forward(15)), now), Reply::Order(Order::Signal(15)));
    }
}
