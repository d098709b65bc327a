// SPDX-License-Identifier: Apache-2.0
//! What was measured of two daemons: the same figure of both, many times.

use crate::against::goals::{self, Goal};
use crate::against::program::Pairing;
use crate::stats::Row;

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Millis,
    Micros,
    PerSecond,
    Mib,
    Kib,
    Count,
}

/// A figure of both.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) ours: Row,
    pub(crate) theirs: Row,
}

/// Takes down single measurements, and makes figures of them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    entries: Vec<(String, Unit, [Vec<f64>; 2])>,
}

impl Unit {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Millis => "ms",
            Self::Micros => "µs",
            Self::PerSecond => "/s",
            Self::Mib => "MiB",
            Self::Kib => "KiB",
            Self::Count => "",
        }
    }
}

impl Tally {
    /// Of side 0, which is ours, or 1.
    pub(crate) fn note(&mut self, side: usize, name: &str, unit: Unit, value: f64) {
        if let Some((_, _, values)) = self.entries.iter_mut().find(|(known, ..)| known == name) {
            values[side].push(value);
            return;
        }
        let mut values = [Vec::new(), Vec::new()];
        values[side].push(value);
        self.entries.push((name.to_owned(), unit, values));
    }

    /// In the order in which they were first heard of.
    pub(crate) fn figures(self) -> Vec<Figure> {
        let figure = |(name, unit, [ours, theirs]): (String, Unit, [Vec<f64>; 2])| Figure {
            name,
            unit,
            ours: Row::of(ours),
            theirs: Row::of(theirs),
        };
        self.entries.into_iter().map(figure).collect()
    }
}

impl Figure {
    /// Ours to theirs, of the medians; nothing where theirs is zero.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let theirs = self.theirs.median();
        (theirs > 0.0).then(|| self.ours.median() / theirs)
    }

    /// What it is to be, beside this rival.
    pub(crate) fn goal(&self, pairing: &Pairing) -> Option<Goal> {
        goals::of(&self.name, &pairing.theirs.version)
    }

    /// Whether it is.
    pub(crate) fn meets(&self, goal: Goal) -> bool {
        match goal {
            Goal::RatioAtMost(most) => self.ratio().is_some_and(|ratio| ratio <= most),
            Goal::RatioAtLeast(least) => self.ratio().is_some_and(|ratio| ratio >= least),
            Goal::AtMost(most) => self.ours.median() <= most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_of_both() {
        let mut tally = Tally::default();
        for (side, value) in [(1, 4.0), (0, 1.0), (0, 3.0), (1, 4.0)] {
            tally.note(side, "a", Unit::Millis, value);
        }
        let figures = tally.figures();
        assert_eq!(figures.len(), 1);
        assert!((figures[0].ratio().unwrap() - 0.5).abs() < 1e-9);
        assert!(figures[0].meets(Goal::RatioAtMost(0.5)) && !figures[0].meets(Goal::RatioAtLeast(0.6)));
        assert!(figures[0].meets(Goal::AtMost(2.0)) && !figures[0].meets(Goal::AtMost(1.9)));
    }

    #[test]
    fn nothing_is_no_ratio() {
        let mut tally = Tally::default();
        tally.note(0, "a", Unit::Mib, 0.0);
        tally.note(1, "a", Unit::Mib, 0.0);
        assert_eq!(tally.figures()[0].ratio(), None);
    }
}
