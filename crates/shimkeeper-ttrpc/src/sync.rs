// SPDX-License-Identifier: Apache-2.0
//! How this crate takes a lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic: every critical section here leaves its state whole at each step, and one
/// panicking caller must not take the connection of all the others with it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
