// SPDX-License-Identifier: Apache-2.0
//! What a shim has logged, as far as it is kept, and what of it is passed on.

use std::time::Duration;

use shimkeeper_core::TaskKey;
use tokio::time::Instant;

use super::lines::Lines;
use super::tail::Tail;

/// How many lines are passed on in one second.
const LINES_PER_SECOND: u32 = 100;

/// How much came, and how much of it was not passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Bytes read.
    pub bytes: u64,
    /// Lines read.
    pub lines: u64,
    /// Lines that were cut to their longest allowed length.
    pub cut: u64,
    /// Lines that were kept from the log because there were too many in one second.
    pub withheld: u64,
}

/// What came of one log.
#[derive(Debug, Default)]
pub(super) struct Said {
    lines: Lines,
    kept: Kept,
}

#[derive(Debug, Default)]
struct Kept {
    tail: Tail,
    counters: LogCounters,
    allowance: Allowance,
}

/// What may still be passed on in this second.
#[derive(Debug, Default)]
struct Allowance {
    until: Option<Instant>,
    left: u32,
}

impl Said {
    /// Takes in what was read.
    pub(super) fn take(&mut self, key: &TaskKey, bytes: &[u8]) {
        let Self { lines, kept } = self;
        let now = Instant::now();
        kept.counters.bytes += bytes.len() as u64;
        lines.push(bytes, |line, cut| kept.note(key, now, line, cut));
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, key: &TaskKey) {
        let Self { lines, kept } = self;
        let now = Instant::now();
        lines.finish(|line, cut| kept.note(key, now, line, cut));
        let LogCounters { cut, withheld, .. } = kept.counters;
        if withheld > 0 {
            tracing::debug!(target: "shim", namespace = %key.namespace, id = %key.id, withheld, cut, "not all lines are here");
        }
    }

    pub(super) fn tail(&self) -> Vec<String> {
        self.kept.tail.lines()
    }

    pub(super) fn counters(&self) -> LogCounters {
        self.kept.counters
    }
}

impl Kept {
    fn note(&mut self, key: &TaskKey, now: Instant, line: &str, cut: bool) {
        self.counters.lines += 1;
        self.counters.cut += u64::from(cut);
        self.tail.push(line);
        if self.allowance.take(now) {
            tracing::debug!(target: "shim", namespace = %key.namespace, id = %key.id, "{line}");
        } else {
            self.counters.withheld += 1;
        }
    }
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        if self.until.is_none_or(|until| now >= until) {
            *self = Self { until: Some(now + Duration::from_secs(1)), left: LINES_PER_SECOND };
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_allowance_is_per_second() {
        let mut allowance = Allowance::default();
        for _ in 0..2 {
            let allowed = (0..250).filter(|_| allowance.take(Instant::now())).count();
            assert_eq!(allowed, 100);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}
