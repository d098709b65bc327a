// SPDX-License-Identifier: Apache-2.0
//! What each figure is to be. A goal names the figure, and which containerd it is beside: most are set beside the newest.

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// Ours to theirs.
    RatioAtMost(f64),
    /// Ours to theirs.
    RatioAtLeast(f64),
    /// Ours, whatever theirs is.
    AtMost(f64),
}

/// Beside which releases a goal is set.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Beside {
    /// containerd 2.
    Newest,
    /// containerd 1.6, which is the faster of the two.
    Oldest,
    Any,
}

use Beside::{Any, Newest, Oldest};
use Goal::{AtMost, RatioAtLeast, RatioAtMost};

pub(crate) const BY_HAND: &str = "lifecycle, beside the shim by hand";

const GOALS: [(&str, Beside, Goal); 39] = [
    ("lifecycle", Newest, RatioAtMost(0.75)),
    ("lifecycle", Oldest, RatioAtMost(0.9)),
    (BY_HAND, Any, RatioAtMost(1.05)),
    ("lifecycle: CPU, daemon", Newest, RatioAtMost(0.15)),
    ("lifecycle: CPU, all", Newest, RatioAtMost(0.75)),
    ("lifecycles, 8 in flight", Newest, RatioAtLeast(1.5)),
    ("lifecycles, 8 in flight", Oldest, RatioAtLeast(1.1)),
    ("lifecycles, 32 in flight", Newest, RatioAtLeast(1.5)),
    ("lifecycles, 32 in flight", Oldest, RatioAtLeast(1.1)),
    ("exec", Newest, RatioAtMost(0.95)),
    ("exec: CPU, daemon", Newest, RatioAtMost(0.3)),
    ("size of the binary", Any, AtMost(8.0)),
    ("empty: exec to first answer", Newest, RatioAtMost(0.15)),
    ("200 tasks: exec to first answer", Newest, RatioAtMost(0.02)),
    ("200 tasks: exec to all Running", Newest, RatioAtMost(0.08)),
    ("200 tasks: exec to all Running", Oldest, RatioAtMost(0.4)),
    ("Version x16: calls", Newest, RatioAtLeast(1.8)),
    ("Get", Newest, RatioAtMost(0.4)),
    ("Get x16: CPU, daemon", Newest, RatioAtMost(0.3)),
    ("List of 50", Newest, RatioAtMost(0.1)),
    ("Metrics of 50", Newest, RatioAtMost(0.6)),
    ("RSS, idle", Any, AtMost(8.0)),
    ("RSS, 500 tasks", Any, AtMost(14.0)),
    ("RSS, more than at the start", Any, AtMost(2.0)),
    ("heap of a task", Any, AtMost(6.0)),
    ("descriptors of a task", Any, AtMost(3.0)),
    ("threads of a task", Any, AtMost(0.0)),
    ("wake-ups, 0 tasks", Any, AtMost(2.0)),
    ("wake-ups, 500 tasks", Any, AtMost(2.0)),
    ("50 shims killed: first exit", Newest, RatioAtMost(0.15)),
    ("50 shims killed: all exits", Newest, RatioAtMost(0.8)),
    ("50 shims killed: sockets left", Any, AtMost(0.0)),
    ("killed with 8 in flight: shims left", Any, AtMost(0.0)),
    ("killed with 8 in flight: bundles left", Any, AtMost(0.0)),
    ("killed with 8 in flight: control groups left", Any, AtMost(0.0)),
    ("events, 0 subscribers: published", Newest, RatioAtLeast(2.0)),
    ("events, 1 subscriber: publish to receive", Newest, RatioAtMost(0.6)),
    ("events, 10 subscribers: CPU of a delivery", Newest, RatioAtMost(0.33)),
    ("events, 100 subscribers: CPU of a delivery", Newest, RatioAtMost(0.33)),
];

/// The figures that have a goal beside a containerd of this version.
pub(crate) fn figures(version: &str) -> impl Iterator<Item = &'static str> {
    GOALS.iter().filter(|(_, beside, _)| beside.means(version)).map(|(name, ..)| *name)
}

/// The goal of a figure beside a containerd of this version.
pub(crate) fn of(figure: &str, version: &str) -> Option<Goal> {
    GOALS.iter().find(|(name, beside, _)| *name == figure && beside.means(version)).map(|(_, _, goal)| *goal)
}

impl Beside {
    fn means(self, version: &str) -> bool {
        match self {
            Newest => version.starts_with("2."),
            Oldest => version.starts_with("1.6."),
            Any => true,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RatioAtMost(most) => write!(f, "ratio ≤ {most}"),
            Self::RatioAtLeast(least) => write!(f, "ratio ≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_goes_with_a_release() {
        assert_eq!(of("lifecycle", "2.1.9"), Some(RatioAtMost(0.75)));
        assert_eq!(of("lifecycle", "1.6.20"), Some(RatioAtMost(0.9)));
        assert_eq!(of("lifecycle", "1.7.24"), None);
        assert_eq!(of("RSS, idle", "1.7.24"), Some(AtMost(8.0)));
        assert_eq!(of("something else", "2.1.9"), None);
    }
}
