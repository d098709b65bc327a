// SPDX-License-Identifier: Apache-2.0
//! The right to publish what a ledger decides: one at a time, so that the order of events is the ledger's. And how far
//! the journal has to be to have every end that was published.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::env::Env;
use crate::sync::lock;

/// What no journal comes to: somebody is about to publish.
const SPEAKING: u64 = u64::MAX;

#[derive(Debug, Default)]
pub(crate) struct Voice {
    turn: Mutex<()>,
    /// How many events there were for the journal when the last end was published.
    last_end: AtomicU64,
}

/// The right, for as long as this is kept; never across a wait.
pub(crate) struct Speaking<'a> {
    voice: &'a Voice,
    _turn: MutexGuard<'a, ()>,
    last_end: u64,
}

impl Voice {
    /// Waits for its turn. Before the ledger decides: what it says to be told may not be published yet.
    pub(crate) fn speak(&self) -> Speaking<'_> {
        let turn = lock(&self.turn);
        let last_end = self.last_end.swap(SPEAKING, Ordering::SeqCst);
        Speaking { voice: self, _turn: turn, last_end }
    }

    /// Whether the journal has every end that was published, or has lost it for good. To be asked after the ledger.
    pub(super) fn is_kept(&self, env: &Env) -> bool {
        env.is_journaled(self.last_end.load(Ordering::SeqCst))
    }
}

impl Speaking<'_> {
    /// An end was published.
    pub(crate) fn told_an_end(&mut self, env: &Env) {
        self.last_end = env.published();
    }
}

impl Drop for Speaking<'_> {
    fn drop(&mut self) {
        self.voice.last_end.store(self.last_end, Ordering::SeqCst);
    }
}
