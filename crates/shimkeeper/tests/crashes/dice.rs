// SPDX-License-Identifier: Apache-2.0
//! Random numbers that come again with their seed.

use std::time::{Duration, SystemTime};

/// Names the seed to be used again.
const SEED: &str = "SHIMKEEPER_SEED";

/// A sequence that looks random (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// From the environment's seed, or else a new one; says which, so that a failure can be had again.
    pub(crate) fn seeded() -> Self {
        let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos());
        let seed = given.unwrap_or_else(|| u64::from(now()));
        println!("{SEED}={seed} has the same again");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn up_to(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(limit.as_micros()).unwrap()))
    }
}

/// How often to repeat a case.
pub(crate) fn rounds(usual: u32) -> u32 {
    std::env::var("SHIMKEEPER_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}
