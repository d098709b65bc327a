// SPDX-License-Identifier: Apache-2.0
//! Locks that are held for a moment, and the tables behind them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Room that a table may keep though nearly nothing is in it.
const KEPT: usize = 64;

/// Takes a lock. One that was held when its holder panicked guards values that are whole at every moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets go of most of a table's room once most of it is empty, after something was removed: what were thousands of tasks
/// for a moment is not to take their memory for ever. Each time takes as long as at least as many removals did.
pub(crate) fn shed<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > KEPT && table.len() < table.capacity() / 8 {
        table.shrink_to(2 * table.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_large_is_small_again_and_not_made_anew_by_each_removal() {
        let mut table: HashMap<_, _> = (0..10_000).map(|n| (n, n)).collect();
        let mut shrunk = 0;
        for n in 0..10_000 {
            table.remove(&n);
            let before = table.capacity();
            shed(&mut table);
            shrunk += usize::from(table.capacity() < before);
        }
        assert!(table.capacity() <= KEPT && shrunk < 10, "{} after {shrunk} times", table.capacity());
    }
}
