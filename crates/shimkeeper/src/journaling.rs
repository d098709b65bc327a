// SPDX-License-Identifier: Apache-2.0
//! The way of task events into the journal, and to those who read it as it grows.
//!
//! ```text
//! publish ──► exchange ──► subscribers                            at once
//!        └──► backlog ──► journal (a write per batch) ──► tail ──► readers with a number
//! ```
//!
//! Publishing only puts an event into the backlog: no disk is ever waited for. One task, the last of a manager's to
//! leave, appends what has come in and then shows it to those who resume by number, so that nobody is ever shown a
//! number that a crash could take back. A disk that is full or broken costs the journal its events, as a gap that is
//! told, and nobody else anything.
//!
//! It appends at once if somebody waits for that: a reader, or who is about to remove what an event could be told from
//! again. Else a moment later, together with what comes until then: the events of a task come close together, and a turn
//! of another thread costs more than all of them. A manager that is killed in that moment leaves a gap, as it always did.
//!
//! Each batch is synced where tasks outlive a crash of the machine, too. Where the state directory is in memory they do not,
//! and the kernel writes events in its own time.

mod backlog;
mod known;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use shimkeeper_core::HasKind as _;
use shimkeeper_events::{
    Envelope, Exchange, Filters, Journal, JournalError, JournalLimits, Limits, Replay, Subscription,
};
use shimkeeper_shim::BootId;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::error::{Cause, Refused};
use crate::scope::Scope;
use crate::sync::lock;
use backlog::{Backlog, Part};
use known::Known;

/// The journal's directory, below the root directory: no namespace has such a name there.
pub(crate) const DIRECTORY: &str = "shimkeeper.events";

/// How often events that are too old are looked for where none are appended.
const TIDY: Duration = Duration::from_hours(1);

/// How long events wait for more to come, while nobody waits for them.
const GATHER: Duration = Duration::from_millis(50);

/// First and longest wait until a journal that cannot be opened is tried again. It may still be that of a manager in
/// this process that is about to leave.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How long anything else waits for the journal. Its disk may hang for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// A manager's journal, and what is on its way there.
#[derive(Debug)]
pub(crate) struct Journaling {
    path: PathBuf,
    limits: JournalLimits,
    /// The boot that what is kept need not outlive at once, if so.
    boot: Option<BootId>,
    /// Locked over a write to disk: only by those who may block.
    desk: Mutex<Desk>,
    backlog: Mutex<Backlog>,
    came: Notify,
    /// How many events, from the first one on, somebody waits for.
    wanted: AtomicU64,
    /// Somebody has begun to wait, or there are many.
    hurry: Notify,
    /// How many events have been dealt with, kept or lost.
    settled: watch::Sender<u64>,
    /// How many of them were lost.
    unkept: AtomicU64,
    /// Whether there is a journal to read, and if not, why.
    readable: watch::Sender<Readable>,
    /// Events with their numbers, once they are kept.
    tail: Exchange,
}

/// The journal itself, with whoever writes it.
#[derive(Debug)]
enum Desk {
    /// Not opened yet, or not to be opened; so many events have been lost meanwhile.
    Without {
        missed: u64,
    },
    Open(Box<Journal>, Known),
    Left,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Readable {
    NotYet,
    Yes,
    No(String),
}

impl Journaling {
    /// A journal below this directory; it is opened by [`Journaling::run`]. With a `boot` it is not synced.
    pub(crate) fn new(root: &Path, limits: JournalLimits, boot: Option<BootId>) -> Arc<Self> {
        Arc::new(Self {
            path: root.join(DIRECTORY),
            limits,
            boot,
            desk: Mutex::new(Desk::Without { missed: 0 }),
            backlog: Mutex::default(),
            came: Notify::new(),
            wanted: AtomicU64::new(0),
            hurry: Notify::new(),
            settled: watch::Sender::new(0),
            unkept: AtomicU64::new(0),
            readable: watch::Sender::new(Readable::NotYet),
            tail: Exchange::new(),
        })
    }

    /// Takes an event for the journal. Never waits.
    pub(crate) fn take(&self, event: &Arc<Envelope>) {
        let is_long = {
            let mut backlog = lock(&self.backlog);
            backlog.push(event);
            backlog.is_long()
        };
        self.came.notify_one();
        if is_long {
            self.hurry.notify_one();
        }
    }

    /// How many events were taken so far.
    pub(crate) fn came(&self) -> u64 {
        lock(&self.backlog).came()
    }

    /// How many of them are in the journal, or lost to it.
    pub(crate) fn dealt_with(&self) -> u64 {
        *self.settled.borrow()
    }

    /// Waits until everything taken so far is in the journal, or lost to it: until then, whoever was shown these events
    /// must be ready to show them again. `false` if that takes too long.
    ///
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn settled(&self) -> bool {
        let came = self.came();
        self.wanted.fetch_max(came, Ordering::Relaxed);
        self.hurry.notify_one();
        self.came_to_an_end(came).await
    }

    /// The same for whoever has time: events that come meanwhile are kept together with these. `leaving` ends that.
    ///
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn settled_in_time(&self, leaving: &CancellationToken) -> bool {
        let came = self.came();
        match leaving.run_until_cancelled(self.came_to_an_end(came)).await {
            Some(settled) => settled,
            None => self.settled().await,
        }
    }

    async fn came_to_an_end(&self, came: u64) -> bool {
        let mut settled = self.settled.subscribe();
        let waited = tokio::time::timeout(PATIENCE, settled.wait_for(|settled| *settled >= came)).await;
        waited.is_ok_and(|settled| settled.is_ok())
    }

    /// How many events could not be kept so far.
    pub(crate) fn unkept(&self) -> u64 {
        self.unkept.load(Ordering::Relaxed)
    }

    /// Keeps the journal until every other task of the manager has left.
    pub(crate) async fn run(self: Arc<Self>, scope: Scope) {
        let (mut left, mut retry) = (false, RETRY.0);
        while !left {
            self.work(&scope, Self::append).await;
            let is_open = *self.readable.borrow() == Readable::Yes;
            let pause = if is_open { TIDY } else { retry };
            retry = (retry * 2).min(RETRY.1);
            tokio::select! {
                () = self.gathered() => {}
                () = scope.others_ended() => left = true,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.work(&scope, |this, parts| {
            this.append(parts);
            this.close();
        })
        .await;
    }

    /// Waits until something has come in that is to be kept now.
    ///
    /// # Cancel safety
    /// Yes: what is cancelled before it ends has consumed only hints, and is followed by a look at the backlog.
    async fn gathered(&self) {
        while lock(&self.backlog).is_empty() {
            self.came.notified().await;
        }
        let hurried = async {
            while !self.is_awaited() {
                self.hurry.notified().await;
            }
        };
        // Awaited or not: for long enough.
        let _ = tokio::time::timeout(GATHER, hurried).await;
    }

    /// Whether somebody waits for what is in the backlog, or there is much of it.
    fn is_awaited(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > *self.settled.borrow()
            || self.tail.has_subscribers()
            || lock(&self.backlog).is_long()
    }

    /// Does something with what has come in, where it may block.
    async fn work(self: &Arc<Self>, scope: &Scope, f: impl FnOnce(&Self, VecDeque<Part>) + Send + 'static) {
        let this = self.clone();
        let (parts, came) = lock(&self.backlog).take();
        // A panic in there loses this batch; the numbers of the next do not depend on it.
        let _ = scope.spawn_blocking_last(move || f(&this, parts)).await;
        self.settled.send_replace(came);
    }

    fn append(&self, parts: VecDeque<Part>) {
        let mut desk = lock(&self.desk);
        if let Desk::Without { missed } = *desk {
            match self.open(missed) {
                Ok((journal, known)) => {
                    *desk = Desk::Open(journal, known);
                    self.readable.send_replace(Readable::Yes);
                }
                Err(error) => {
                    self.note_failure(&error);
                    let lost = parts.iter().map(Part::len).sum::<u64>();
                    self.unkept.fetch_add(lost, Ordering::Relaxed);
                    *desk = Desk::Without { missed: missed + lost };
                }
            }
        }
        let Desk::Open(journal, known) = &mut *desk else { return };
        let now = SystemTime::now();
        if let Err(error) = journal.prune(now) {
            tracing::warn!(error = &error as &dyn std::error::Error, "old events could not be forgotten");
        }
        for mut part in parts {
            if let Part::Events(events) = &mut part {
                events.retain(|event| !known.has(event));
            }
            if part.len() == 0 {
                continue;
            }
            let kept = match &part {
                Part::Events(events) => journal.append(events, now).map(drop),
                Part::Missed(count) => journal.skip(*count),
            };
            if kept.is_err() || matches!(part, Part::Missed(_)) {
                self.unkept.fetch_add(part.len(), Ordering::Relaxed);
            }
            if let Err(error) = kept {
                tracing::error!(error = &error as &dyn std::error::Error, "the journal has a gap");
            }
            if let Part::Events(events) = part {
                // While the desk is locked, so that who begins to read has each event once.
                for event in &events {
                    self.tail.publish(event);
                }
            }
        }
    }

    fn open(&self, missed: u64) -> Result<(Box<Journal>, Known), JournalError> {
        let mut journal = match self.boot {
            Some(boot) => Journal::open_unsynced(&self.path, self.limits, &boot.to_string()),
            None => Journal::open(&self.path, self.limits),
        }?;
        let known = Known::of(&journal);
        if missed > 0 {
            journal.skip(missed)?;
        }
        Ok((Box::new(journal), known))
    }

    fn note_failure(&self, error: &JournalError) {
        let reason = match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let is_news = self.readable.send_if_modified(|readable| {
            let now = Readable::No(reason.clone());
            *readable != now && {
                *readable = now;
                true
            }
        });
        if is_news {
            tracing::error!(reason, kind = ?error.kind(), "the journal cannot be opened: events are not kept");
        }
    }

    fn close(&self) {
        let desk = std::mem::replace(&mut *lock(&self.desk), Desk::Left);
        if let Desk::Open(journal, _) = desk
            && let Err(error) = journal.close()
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the journal could not be closed");
        }
        self.tail.close();
        self.readable.send_replace(Readable::No("the manager is detaching".to_owned()));
    }

    /// Waits until it is known whether there is a journal to read.
    pub(crate) async fn readable(&self) -> Result<(), Refused> {
        let mut readable = self.readable.subscribe();
        let known = readable.wait_for(|readable| *readable != Readable::NotYet).await;
        match known.as_deref() {
            Ok(Readable::No(reason)) => Err(Refused::NoJournal { reason: reason.clone() }),
            // Its sender is our own.
            Ok(Readable::NotYet | Readable::Yes) | Err(_) => Ok(()),
        }
    }

    /// Begins to read after the number `since`, or from now on: what is on disk, and everything after that as it comes.
    /// Blocks.
    pub(crate) fn read(&self, since: Option<u64>) -> Result<(Replay, Subscription), Cause> {
        let desk = lock(&self.desk);
        let Desk::Open(journal, _) = &*desk else { return Err(Refused::Detaching.into()) };
        let replay = journal.replay(since.unwrap_or(journal.last()))?;
        let tail = self.tail.subscribe(Filters::everything(), Limits::default())?;
        self.hurry.notify_one();
        Ok((replay, tail))
    }
}

#[cfg(test)]
mod tests;
