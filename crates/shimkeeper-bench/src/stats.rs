// SPDX-License-Identifier: Apache-2.0
//! What is said about a row of figures. Medians and minima: a mean tells more about the neighbours than about us.

use std::time::Duration;

/// A row of figures, in order of size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    sorted: Vec<f64>,
}

impl Row {
    /// Of times, in milliseconds.
    pub(crate) fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(times.into_iter().map(millis))
    }

    /// Of figures in whatever unit.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = figures.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Self { sorted }
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn min(&self) -> f64 {
        self.at(0)
    }

    pub(crate) fn max(&self) -> f64 {
        self.at(self.sorted.len().saturating_sub(1))
    }

    /// The middle one; the mean of the two middle ones of an even number.
    pub(crate) fn median(&self) -> f64 {
        let len = self.sorted.len();
        let upper = self.at(len / 2);
        if len.is_multiple_of(2) && len > 0 { f64::midpoint(self.at(len / 2 - 1), upper) } else { upper }
    }

    /// The smallest that at least 99 of 100 do not exceed.
    pub(crate) fn p99(&self) -> f64 {
        self.at((self.sorted.len() * 99).div_ceil(100).saturating_sub(1))
    }

    /// 0 if there is none.
    fn at(&self, index: usize) -> f64 {
        self.sorted.get(index).copied().unwrap_or(0.0)
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "nobody waits for 2^52 of anything")]
pub(crate) fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ms: impl IntoIterator<Item = u64>) -> Row {
        Row::new(ms.into_iter().map(Duration::from_millis))
    }

    /// Milliseconds that were given as whole ones.
    #[expect(clippy::cast_possible_truncation, reason = "small whole numbers in tenths")]
    fn tenths(ms: f64) -> i64 {
        (ms * 10.0).round() as i64
    }

    #[test]
    fn odd_and_even_rows_have_a_middle() {
        assert_eq!(tenths(row([3, 1, 2]).median()), 20);
        assert_eq!(tenths(row([4, 1, 2, 3]).median()), 25);
        assert_eq!(tenths(row([]).median()), 0);
    }

    #[test]
    fn the_99th_of_100_is_not_the_worst() {
        let row = row(1..=100);
        assert_eq!((tenths(row.min()), tenths(row.p99()), tenths(row.max())), (10, 990, 1000));
        assert_eq!(tenths(self::row([7]).p99()), 70);
    }
}
