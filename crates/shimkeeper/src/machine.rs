// SPDX-License-Identifier: Apache-2.0
//! What becomes of a shim: the supervisor's decisions as a pure, total state machine. No I/O, no clock, no lock.
//!
//! ```text
//!            Settle(Keep)                 Lost
//!   Held ─────────────────▶ Serving ────────────▶ Unreachable
//!    │  ◀───── Hold ────────┘  │  ◀── Dialed ──────┘ │   │
//!    │                         │ Died                │   │ Hold → Held
//!    │ Settle(End)             ▼               Died  │
//!    ├───────────▶ Ending ──▶ Reaping ◀──────────────┘
//!    │              │   Died   │   ▲
//!    │        Failed│    Failed│   │Retry
//!    │              ▼          ▼   │
//!    │             Quarantined ────┘
//!    └ every state ── Detach ──▶ Gone(Detached)
//!                               Reaping ── Reaped ──▶ Removing ── Removed ──▶ Gone(Reaped)
//! ```
//!
//! Whoever decides a shim's fate *holds* it first: create and adoption are born holding, delete asks. A shim that
//! dies meanwhile is then one more input, not a race. Nothing is reaped without `Died`, which the supervisor feeds
//! only on proof (pidfd, start time, boot id); a closed connection alone is `Lost`. A shim that serves other tasks
//! too, and has been told that this one is over, counts as dead for this one.
//!
//! Which events are owed at the end is not decided here but by the [ledger](crate::ledger), which knows what was
//! published; so no path through this machine can announce an end twice, or forget to.

/// What the holder decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// The shim lives on.
    Keep,
    /// Its task is deleted, or was never made: the shim has to go.
    End,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// Somebody wants to decide the fate.
    Hold,
    /// The holder has decided.
    Settle(Fate),
    /// The connection is closed, and the process is not proven dead.
    Lost,
    /// Connected again.
    Dialed,
    /// The shim's process is proven dead.
    Died,
    /// The `delete` action ran, or was not needed, and nothing of the task is left running.
    Reaped,
    /// The bundle is gone.
    Removed,
    /// Ending, reaping or removing could not be brought to its end.
    Failed,
    /// Time to try again.
    Retry,
    /// The manager leaves; the shim lives on.
    Detach,
}

/// What is known of the connection and the process while somebody holds the fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Link {
    Up,
    Lost,
    Dead,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// Nothing of it is left.
    Reaped,
    /// The manager left it running.
    Detached,
}

/// Where a shim is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// Somebody is deciding its fate.
    Held(Link),
    /// It serves.
    Serving,
    /// No connection, no proof of death: kept, and dialed again.
    Unreachable,
    /// It has been told to go.
    Ending,
    /// It is dead; what it left is being cleared.
    Reaping,
    /// Nothing of it runs; the end is announced and its bundle goes.
    Removing,
    /// What is left could not be cleared: kept in sight, tried again.
    Quarantined,
    /// Over.
    Gone(End),
}

/// What to do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Dial again, with back-off, until `Dialed` or `Died`.
    Redial,
    /// Shutdown, SIGTERM, SIGKILL, each with its time, until `Died` or `Failed`.
    EndShim,
    /// The `delete` action and the proof that nothing runs, until `Reaped` or `Failed`.
    Reap,
    /// Arm a `Retry`.
    ScheduleRetry,
    /// Publish what is still owed: exits, then the delete. Does nothing the second time.
    PublishEnd,
    /// Take the bundle from the disk, until `Removed` or `Failed`.
    RemoveBundle,
    /// Give the id free.
    Deregister,
}

impl State {
    /// The next state, and what to do on the way. Inputs that mean nothing in a state leave it as it is.
    #[expect(clippy::match_same_arms, reason = "a row for each arrow, to be read against the diagram")]
    pub(crate) fn step(self, input: Input) -> (Self, &'static [Action]) {
        use Action::{Deregister, EndShim, PublishEnd, Reap, Redial, RemoveBundle, ScheduleRetry};
        use Input::{Detach, Dialed, Died, Failed, Hold, Lost, Reaped, Removed, Retry, Settle};
        use State::{Ending, Gone, Held, Quarantined, Reaping, Removing, Serving, Unreachable};
        match (self, input) {
            (Gone(_), _) => (self, &[]),
            (_, Detach) => (Gone(End::Detached), &[]),

            (Serving, Hold) => (Held(Link::Up), &[]),
            (Unreachable, Hold) => (Held(Link::Lost), &[]),

            // What happens under the holder's hands is remembered; the holder decides.
            (Held(Link::Up), Lost) => (Held(Link::Lost), &[]),
            (Held(Link::Lost), Dialed) => (Held(Link::Up), &[]),
            (Held(_), Died) => (Held(Link::Dead), &[]),

            (Held(Link::Up), Settle(Fate::Keep)) => (Serving, &[]),
            (Held(Link::Lost), Settle(Fate::Keep)) => (Unreachable, &[Redial]),
            (Held(Link::Up | Link::Lost), Settle(Fate::End)) => (Ending, &[EndShim]),
            (Held(Link::Dead), Settle(_)) => (Reaping, &[Reap]),

            (Serving, Lost) => (Unreachable, &[Redial]),
            (Unreachable, Dialed) => (Serving, &[]),
            (Serving | Unreachable | Ending, Died) => (Reaping, &[Reap]),

            (Reaping, Reaped) => (Removing, &[PublishEnd, RemoveBundle]),
            (Removing, Removed) => (Gone(End::Reaped), &[Deregister]),
            (Ending | Reaping | Removing, Failed) => (Quarantined, &[ScheduleRetry]),
            (Quarantined, Died) => (Reaping, &[Reap]),
            (Quarantined, Retry) => (Ending, &[EndShim]),

            _ => (self, &[]),
        }
    }

    /// Whether a hold can be granted now.
    pub(crate) fn can_be_held(self) -> bool {
        matches!(self, Self::Serving | Self::Unreachable)
    }
}

#[cfg(test)]
mod tests;
