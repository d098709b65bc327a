// SPDX-License-Identifier: Apache-2.0
//! The time a caller has, where that is less than the manager would give the shim.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::error::Refused;

/// What each call of a handle may take, from its beginning to its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limit(Option<Duration>);

/// When one call has to be over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until {
    limit: Option<Duration>,
    began: Instant,
}

impl Limit {
    pub(crate) fn of(limit: Duration) -> Self {
        Self(Some(limit))
    }

    /// The call begins.
    pub(crate) fn begin(self) -> Until {
        Until { limit: self.0, began: Instant::now() }
    }
}

impl Until {
    /// What is left for one thing that may take `allowed` by itself.
    pub(crate) fn cap(self, allowed: Duration) -> Duration {
        self.limit.map_or(allowed, |limit| allowed.min(limit.saturating_sub(self.began.elapsed())))
    }

    /// Waits for something that has no deadline of its own.
    ///
    /// # Cancel safety
    /// That of `work`, which is dropped when the time is over.
    pub(crate) async fn wait_for<T>(self, work: impl Future<Output = T>) -> Result<T, Refused> {
        match self.limit {
            None => Ok(work.await),
            Some(within) => {
                let left = within.saturating_sub(self.began.elapsed());
                tokio::time::timeout(left, work).await.map_err(|_elapsed| Refused::Late { within })
            }
        }
    }
}
