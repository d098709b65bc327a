// SPDX-License-Identifier: Apache-2.0
//! Threads for what blocks, where there may be no more of them: a limit on processes counts threads, too. Tokio panics
//! then if it has none at the moment, in the middle of whatever was under way.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{JoinHandle, spawn, spawn_blocking};

/// Runs the work on a thread for what blocks, or gives it back where none can be had.
///
/// # Errors
/// The work, which nobody has begun.
///
/// # Panics
/// Outside of a runtime of Tokio's.
pub fn elsewhere<T, W>(work: W) -> Result<JoinHandle<T>, W>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    // Tokio has put it into its queue by the time it finds that there is nobody to take it from there. Whoever does so
    // later finds nothing.
    let here = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<W>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let there = here.clone();
    let job =
        move || take(&there).map_or_else(|| resume_unwind(Box::new("it was given back")), |work| work());
    catch_unwind(AssertUnwindSafe(|| spawn_blocking(job))).or_else(|panic| match take(&here) {
        Some(work) => Err(work),
        None => resume_unwind(panic),
    })
}

/// Runs the work on a thread for what blocks; where none can be had on this one, because what clears up must go on.
///
/// # Panics
/// Outside of a runtime of Tokio's.
#[expect(clippy::disallowed_methods, reason = "one turn long; whoever has the handle waits for it")]
pub fn elsewhere_or_here<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    elsewhere(work).unwrap_or_else(|work| {
        tracing::warn!("no more threads can be had: files are waited for where calls are served");
        spawn(async move { work() })
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn another_thread_does_it_once() {
        let here = thread::current().id();
        let (there, answer) = elsewhere_or_here(|| (thread::current().id(), 7)).await.unwrap();
        assert!(there != here && answer == 7);
        let panicked = elsewhere(|| panic!("its own")).ok().unwrap().await;
        assert!(panicked.unwrap_err().is_panic());
    }
}
