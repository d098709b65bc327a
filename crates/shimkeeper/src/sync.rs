// SPDX-License-Identifier: Apache-2.0
//! Locks that are held for a moment.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock. One that was held when its holder panicked guards values that are whole at every moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
