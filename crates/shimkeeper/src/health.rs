// SPDX-License-Identifier: Apache-2.0
//! How a shim is doing, learned from the calls that are made anyway, and from a probe while there is doubt.
//!
//! ```text
//!   Healthy ── a call missed its deadline ──▶ Slow ── a probe missed its own ──▶ Stuck
//!      ▲ ◀──────────── any answer in time ─────┴───────────────────────────────────┘
//!   Healthy, Slow ── connection lost ──▶ Stuck ── connected again ──▶ Healthy
//!   any ── proven dead, or told to go ──▶ Gone
//! ```
//!
//! A stuck shim is the circuit breaker's open state: callers are refused at once instead of queueing. One probe at a
//! time stays under way ([`probe`]), run by the shim's supervisor, so the first answer lets everybody in again. A
//! shim that nobody doubts has no timer.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use shimkeeper_proto::containerd::task::v3::ConnectRequest;
use shimkeeper_shim::{Call, CallError, Cause};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::deadlines::Timing;
use crate::error::Refused;
use crate::shim::Shim;
use crate::sync::lock;

/// How long one probe is waited for before another one is sent: it may have got lost in the shim.
const PROBE: Duration = Duration::from_secs(30);

/// Wait between two probes of a shim that answers late, or has no room for one.
const PAUSE: Duration = Duration::from_secs(1);

/// How a shim is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// In one word.
    pub state: HealthState,
    /// What was seen of it; empty if it is healthy.
    pub reason: String,
    /// Since when it has been in this state.
    pub since: SystemTime,
}

/// How a shim is doing, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HealthState {
    /// It answers, as far as anybody has asked.
    Healthy,
    /// It missed a deadline, or answers late. It is probed.
    Slow,
    /// It does not answer, or its connection is lost. Calls are refused until it is heard of again.
    Stuck,
    /// Its process is dead, or it was told to go.
    Gone,
}

impl HealthState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Slow => "slow",
            Self::Stuck => "stuck",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The health of one shim, and the doubt about it.
pub(crate) struct Vitals {
    now: Mutex<Pulse>,
    /// Tells of every new state, and of every doubt.
    changed: Arc<Notify>,
    /// Whether somebody doubts that it answers, since that was last taken note of.
    doubt: AtomicBool,
    timing: Timing,
}

struct Pulse {
    health: Health,
    /// Whether it is only silent, so that the next answer is all it takes.
    by_silence: bool,
}

/// A call under way. One that its caller gives up after a while is as telling as one that missed its deadline.
pub(crate) struct Waiting<'a> {
    vitals: &'a Vitals,
    method: &'static str,
    began: Instant,
    is_over: bool,
}

impl Vitals {
    pub(crate) fn new(timing: Timing, changed: Arc<Notify>) -> Self {
        let health = Health { state: HealthState::Healthy, reason: String::new(), since: SystemTime::now() };
        let now = Mutex::new(Pulse { health, by_silence: false });
        Self { now, changed, doubt: AtomicBool::new(false), timing }
    }

    /// An answer that takes longer is late: half of what a question for the state may take.
    fn late(&self) -> Duration {
        self.timing.now().state / 2
    }

    pub(crate) fn get(&self) -> Health {
        lock(&self.now).health.clone()
    }

    pub(crate) fn state(&self) -> HealthState {
        lock(&self.now).health.state
    }

    /// Changes something, and tells those who wait if that is news.
    fn change(&self, f: impl FnOnce(&mut Pulse) -> bool) {
        let is_news = f(&mut lock(&self.now));
        if is_news {
            self.changed.notify_waiters();
        }
    }

    /// The refusal of whoever would have to wait for a stuck shim.
    pub(crate) fn refusal(&self) -> Option<Refused> {
        let pulse = lock(&self.now);
        let Health { state: HealthState::Stuck, reason, since } = &pulse.health else { return None };
        let seconds = since.elapsed().unwrap_or_default().as_secs();
        Some(Refused::Stuck { reason: reason.clone(), seconds })
    }

    /// A call is sent.
    pub(crate) fn waiting(&self, method: &'static str) -> Waiting<'_> {
        Waiting { vitals: self, method, began: Instant::now(), is_over: false }
    }

    /// Something is wrong that only a new connection puts right, or, once the shim is gone, nothing.
    pub(crate) fn trouble(&self, reason: String) {
        self.change(|pulse| {
            let state = pulse.health.state.max(HealthState::Stuck);
            pulse.by_silence = false;
            pulse.enter(state, reason)
        });
    }

    /// Its process is dead, or it has been told to go. A reason for why it does not go is kept.
    pub(crate) fn gone(&self, reason: &str) {
        self.change(|pulse| {
            let is_news = pulse.health.state != HealthState::Gone;
            is_news && pulse.enter(HealthState::Gone, reason.to_owned())
        });
    }

    /// It has been dialed, and has answered.
    pub(crate) fn connected(&self) {
        self.change(|pulse| {
            pulse.health.state != HealthState::Gone && pulse.enter(HealthState::Healthy, String::new())
        });
    }

    /// Whether there has been doubt that the shim answers, since this was last asked.
    pub(crate) fn take_doubt(&self) -> bool {
        self.doubt.swap(false, Ordering::AcqRel)
    }

    /// It answered, and in time.
    fn heard(&self) {
        // The usual case, without the lock that wakes others.
        if self.state() == HealthState::Healthy {
            return;
        }
        self.change(|pulse| pulse.by_silence && pulse.enter(HealthState::Healthy, String::new()));
    }

    /// It did not answer, or late.
    fn unheard(&self, state: HealthState, reason: String) {
        self.change(|pulse| {
            let is_known_worse = !pulse.by_silence && pulse.health.state != HealthState::Healthy;
            pulse.by_silence |= !is_known_worse;
            !is_known_worse && pulse.enter(state, reason)
        });
    }

    fn missed(&self, method: &str, waited: Duration) {
        if waited >= self.late() && self.state() == HealthState::Healthy {
            self.unheard(HealthState::Slow, format!("{method} was given no answer for {waited:.1?}"));
        }
        self.doubt.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }
}

impl Pulse {
    /// Whether anything changed.
    fn enter(&mut self, state: HealthState, reason: String) -> bool {
        let is_news = self.health.state != state;
        if !is_news && self.health.reason == reason {
            return false;
        }
        let since = if is_news { SystemTime::now() } else { self.health.since };
        self.health = Health { state, reason, since };
        is_news
    }
}

impl Waiting<'_> {
    /// The call is over.
    pub(crate) fn ended<T>(mut self, answer: Result<&T, &CallError>) {
        self.is_over = true;
        match answer.map_err(CallError::cause) {
            Ok(_) | Err(Cause::Shim { .. }) if self.began.elapsed() <= self.vitals.late() => {
                self.vitals.heard();
            }
            Err(Cause::Deadline(waited)) => self.vitals.missed(self.method, *waited),
            // Late is better than never, and calls differ in how long they may take. The rest says nothing.
            _ => {}
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waited = self.began.elapsed();
        if !self.is_over && waited >= self.vitals.late() {
            self.vitals.missed(self.method, waited);
        }
    }
}

/// Asks a doubted shim until it answers in time, or its connection ends. `Connect` is the cheapest question: it is
/// about no task, and takes no look at any process.
///
/// # Cancel safety
/// Yes.
pub(crate) async fn probe(shim: Arc<Shim>) {
    let vitals = &shim.vitals;
    while let Some(connection) = shim.connection() {
        let patience = shim.deadlines().state;
        let began = Instant::now();
        let call = Call::within(PROBE.max(patience));
        let request = ConnectRequest { id: shim.key.id.to_string() };
        let asking = connection.connect(&call, &request);
        let mut asked = std::pin::pin!(shim.env.observed(shim.binary.path(), "Connect", asking));
        let answer = match timeout(patience, &mut asked).await {
            Ok(answer) => answer,
            Err(_elapsed) => {
                vitals.unheard(HealthState::Stuck, format!("it gave no sign of life for {patience:.1?}"));
                asked.await
            }
        };
        let took = began.elapsed();
        match answer.as_ref().map_err(CallError::cause) {
            Err(Cause::Closed(_)) => return,
            Err(Cause::Deadline(_)) => continue,
            // Full of calls that are not answered either.
            Err(Cause::Busy { .. }) => {
                vitals.unheard(HealthState::Stuck, "too many calls wait for its answer".to_owned());
            }
            // Even an answer that cannot be read is one.
            Ok(_) | Err(_) if took <= vitals.late() => return vitals.heard(),
            Ok(_) | Err(_) => vitals.unheard(HealthState::Slow, format!("it took {took:.1?} to answer")),
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadlines::Deadlines;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn vitals() -> Vitals {
        Vitals::new(Timing::new(Deadlines { state: PATIENCE, ..Deadlines::default() }), Arc::default())
    }

    fn shown(vitals: &Vitals) -> (HealthState, bool) {
        (vitals.state(), vitals.refusal().is_some())
    }

    #[test]
    fn a_missed_deadline_is_doubt_and_an_answer_ends_it() {
        let vitals = vitals();
        let quick = Duration::from_millis(10);
        vitals.missed("State", quick);
        assert_eq!(shown(&vitals), (HealthState::Healthy, false), "that one was in a hurry");
        vitals.missed("State", PATIENCE);
        assert_eq!(shown(&vitals), (HealthState::Slow, false));
        assert!(vitals.get().reason.contains("State"), "{:?}", vitals.get());
        vitals.unheard(HealthState::Stuck, "silence".into());
        assert_eq!(shown(&vitals), (HealthState::Stuck, true));
        vitals.waiting("State").ended(Ok(&()));
        assert_eq!(shown(&vitals), (HealthState::Healthy, false));
        assert_eq!(vitals.get().reason, "");
    }

    #[test]
    fn a_lost_connection_is_not_mended_by_an_answer_that_was_on_its_way() {
        let vitals = vitals();
        vitals.trouble("its connection was lost".into());
        vitals.waiting("State").ended(Ok(&()));
        vitals.unheard(HealthState::Slow, "late".into());
        assert_eq!(shown(&vitals), (HealthState::Stuck, true));
        vitals.connected();
        assert_eq!(shown(&vitals), (HealthState::Healthy, false));
    }

    #[test]
    fn what_is_gone_stays_gone_and_keeps_its_last_reason() {
        let vitals = vitals();
        vitals.gone("dead");
        vitals.trouble("it does not go".into());
        vitals.gone("dead");
        vitals.connected();
        vitals.unheard(HealthState::Slow, "late".into());
        assert_eq!(shown(&vitals), (HealthState::Gone, false));
        assert_eq!(vitals.get().reason, "it does not go");
    }

    #[test]
    fn since_is_when_the_state_began() {
        let vitals = vitals();
        vitals.trouble("one".into());
        let began = vitals.get().since;
        vitals.trouble("two".into());
        assert_eq!((vitals.get().since, vitals.get().reason.as_str()), (began, "two"));
    }

    #[test]
    fn doubt_is_not_missed_by_who_looks_later() {
        let vitals = vitals();
        drop(vitals.waiting("Kill"));
        assert!(!vitals.take_doubt(), "given up at once");
        vitals.missed("Kill", PATIENCE);
        assert!(vitals.take_doubt() && !vitals.take_doubt());
    }
}
