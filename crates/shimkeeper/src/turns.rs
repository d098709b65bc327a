// SPDX-License-Identifier: Apache-2.0
//! Turns at what keeps the processors busy with other people's programs: launching shims, making containers, reaping. Of
//! more at once than the processors can do, all become slower, and the first is done when the last is.
//!
//! A turn counts only for so long. Whoever takes longer stands still, or waits for something other than a processor, and
//! holds nobody up.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// The turns there are.
#[derive(Debug)]
pub(crate) struct Turns {
    free: Semaphore,
    counts_for: Duration,
}

/// A turn, to be used at once.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    counts: SemaphorePermit<'a>,
    counts_for: Duration,
}

impl Turns {
    /// So many at a time, each of which counts for so long.
    pub(crate) fn new(at_once: usize, counts_for: Duration) -> Self {
        Self { free: Semaphore::new(at_once), counts_for }
    }

    /// Waits for a turn; whoever asks first has it first.
    ///
    /// # Cancel safety
    /// Dropped, it loses its place.
    pub(crate) async fn take(&self) -> Turn<'_> {
        let counts = self.free.acquire().await.expect("it is never closed");
        Turn { counts, counts_for: self.counts_for }
    }
}

impl Turn<'_> {
    /// Does it.
    ///
    /// # Cancel safety
    /// That of `work`, which is dropped with it.
    pub(crate) async fn use_for<T>(self, mut work: impl Future<Output = T> + Unpin) -> T {
        match timeout(self.counts_for, &mut work).await {
            Ok(done) => done,
            Err(_elapsed) => {
                drop(self.counts);
                work.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use tokio::time::{Instant, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When each of these is done, in seconds, if all come at the same moment.
    async fn done(turns: &Turns, take: [u64; 4]) -> [u64; 4] {
        let began = Instant::now();
        let work = |seconds| async move {
            turns.take().await.use_for(pin!(sleep(seconds * SECOND))).await;
            began.elapsed().as_secs()
        };
        let [a, b, c, d] = take.map(|seconds| work(u32::try_from(seconds).expect("few")));
        tokio::join!(a, b, c, d).into()
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_at_a_time_and_the_first_come_first() {
        assert_eq!(done(&Turns::new(1, 10 * SECOND), [1, 2, 1, 1]).await, [1, 3, 4, 5]);
        assert_eq!(done(&Turns::new(2, 10 * SECOND), [3, 1, 1, 1]).await, [3, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_long_holds_nobody_up() {
        assert_eq!(done(&Turns::new(1, 2 * SECOND), [100, 100, 1, 1]).await, [100, 102, 5, 6]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_gives_the_turn_to_the_next() {
        let turns = Turns::new(1, 10 * SECOND);
        assert!(
            timeout(SECOND, async { turns.take().await.use_for(pin!(pending::<()>())).await }).await.is_err()
        );
        let first = turns.take().await;
        assert!(timeout(SECOND, turns.take()).await.is_err());
        drop(first);
        assert_eq!(done(&turns, [0, 0, 0, 0]).await, [0, 0, 0, 0]);
    }
}
