// SPDX-License-Identifier: Apache-2.0
//! Figures as a table for people and as JSON for machines. All times in milliseconds.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::BenchError;
use crate::measure::{Cpu, Holdings};
use crate::phase::{Laps, Phase};
use crate::site::Site;
use crate::stats::{Row, count, millis};

/// What was measured of one side.
#[derive(Debug, Default)]
pub(crate) struct Side {
    pub(crate) laps: Vec<Laps>,
    pub(crate) cpu: Cpu,
}

/// Both sides, and what the process held before and after.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) library: Side,
    pub(crate) by_hand: Side,
    /// The same by system calls alone.
    pub(crate) bare: Vec<Duration>,
    pub(crate) before: Holdings,
    pub(crate) after: Holdings,
}

/// Lifecycles side by side, through the library.
#[derive(Debug)]
pub(crate) struct Throughput {
    pub(crate) in_flight: u32,
    pub(crate) times: Vec<Duration>,
    pub(crate) took: Duration,
    pub(crate) cpu: Cpu,
}

impl Side {
    fn phase(&self, phase: Phase) -> Row {
        Row::new(self.laps.iter().map(|laps| laps.get(phase)))
    }

    fn total(&self) -> Row {
        Row::new(self.laps.iter().map(Laps::total))
    }

    /// Processor time of a lifecycle, in milliseconds: of this process, and of the others.
    fn cpu_each(&self) -> (f64, f64) {
        let n = count(self.laps.len());
        (millis(self.cpu.own) / n, millis(self.cpu.others) / n)
    }
}

impl Comparison {
    /// Library to hand, of the medians of the totals.
    fn ratio(&self) -> f64 {
        self.library.total().median() / self.by_hand.total().median()
    }

    /// The median of the ratios of neighbours: what the machine does to both cancels out.
    fn ratio_of_pairs(&self) -> f64 {
        let pairs = self.library.laps.iter().zip(&self.by_hand.laps);
        let mut ratios: Vec<_> =
            pairs.map(|(a, b)| a.total().as_secs_f64() / b.total().as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Prints one block of a report as soon as it is known.
pub(crate) fn say(text: &str) -> Result<(), BenchError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|e| BenchError::io("write the report", e))
}

pub(crate) fn comparison(site: &Site, figures: &Comparison) -> String {
    let mut text = format!(
        "shim {}, {}, n = {}; ms\n\n{:8}  {:>31}  {:>31}\n{:8}  {:>7} {:>7} {:>7} {:>7}  {:>7} {:>7} {:>7} {:>7}   ratio of medians\n",
        site.shim.display(),
        site.runtime_binary,
        figures.library.laps.len(),
        "",
        "through the library",
        "by hand",
        "",
        "min",
        "median",
        "p99",
        "max",
        "min",
        "median",
        "p99",
        "max",
    );
    for phase in Phase::ALL {
        let (a, b) = (figures.library.phase(phase), figures.by_hand.phase(phase));
        row(&mut text, phase.name(), &a, &b, phase.about());
    }
    row(&mut text, "total", &figures.library.total(), &figures.by_hand.total(), "");
    let bare = Row::new(figures.bare.iter().copied());
    let _ = writeln!(
        text,
        "\nsystem calls alone, neither shim nor runtime: {:.2} min, {:.2} median, {:.2} p99, {:.2} max",
        bare.min(),
        bare.median(),
        bare.p99(),
        bare.max()
    );
    let ((own_a, others_a), (own_b, others_b)) = (figures.library.cpu_each(), figures.by_hand.cpu_each());
    let (before, after) = (figures.before, figures.after);
    let _ = write!(
        text,
        "\ntotal, median of the ratios of neighbours: {:.3}\n\
         CPU per lifecycle, this process: {own_a:.2} against {own_b:.2}; what it started: {others_a:.1} against {others_b:.1}\n\
         this process before and after: RSS {} -> {} KiB, anonymous {} -> {} KiB, descriptors {} -> {}",
        figures.ratio_of_pairs(),
        before.rss,
        after.rss,
        before.anonymous,
        after.anonymous,
        before.fds,
        after.fds,
    );
    text
}

fn row(text: &mut String, name: &str, a: &Row, b: &Row, about: &str) {
    let cells =
        |row: &Row| format!("{:7.2} {:7.2} {:7.2} {:7.2}", row.min(), row.median(), row.p99(), row.max());
    let _ = writeln!(text, "{name:8}  {}  {}   {:5.2}  {about}", cells(a), cells(b), a.median() / b.median());
}

pub(crate) fn throughput(figures: &Throughput) -> String {
    let row = Row::new(figures.times.iter().copied());
    let n = count(figures.times.len());
    format!(
        "{:3} in flight: {:.1} lifecycles/s; median {:.1}, p99 {:.1}, max {:.1}; CPU each, this process {:.2}, what it started {:.1}",
        figures.in_flight,
        n / figures.took.as_secs_f64(),
        row.median(),
        row.p99(),
        row.max(),
        millis(figures.cpu.own) / n,
        millis(figures.cpu.others) / n,
    )
}

pub(crate) fn json(site: &Site, figures: &Comparison, throughputs: &[Throughput]) -> Value {
    let holdings = |h: Holdings| json!({ "rss_kib": h.rss, "anonymous_kib": h.anonymous, "fds": h.fds });
    let throughputs: Vec<_> = throughputs.iter().map(json_of_throughput).collect();
    json!({
        "shim": site.shim,
        "runtime": site.runtime_binary,
        "always_reap": site.always_reap,
        "overlap": site.overlap,
        "n": figures.library.laps.len(),
        "library": json_of_side(&figures.library),
        "by_hand": json_of_side(&figures.by_hand),
        "system_calls_ms": json_of_row(&Row::new(figures.bare.iter().copied())),
        "ratio_of_medians": figures.ratio(),
        "median_of_ratios": figures.ratio_of_pairs(),
        "before": holdings(figures.before),
        "after": holdings(figures.after),
        "throughput": throughputs,
    })
}

fn json_of_side(side: &Side) -> Value {
    let (own, others) = side.cpu_each();
    let phases: serde_json::Map<_, _> = Phase::ALL
        .into_iter()
        .map(|phase| (phase.name().to_owned(), json_of_row(&side.phase(phase))))
        .collect();
    json!({
        "phases_ms": phases,
        "total_ms": json_of_row(&side.total()),
        "cpu_own_ms": own,
        "cpu_others_ms": others,
    })
}

fn json_of_row(row: &Row) -> Value {
    json!({ "min": row.min(), "median": row.median(), "p99": row.p99(), "max": row.max() })
}

fn json_of_throughput(figures: &Throughput) -> Value {
    let n = count(figures.times.len());
    json!({
        "in_flight": figures.in_flight,
        "per_second": n / figures.took.as_secs_f64(),
        "latency_ms": json_of_row(&Row::new(figures.times.iter().copied())),
        "cpu_own_ms": millis(figures.cpu.own) / n,
        "cpu_others_ms": millis(figures.cpu.others) / n,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(ms: &[u64]) -> Side {
        let laps = |ms: &u64| {
            let mut laps = Laps::default();
            laps.add(Phase::Create, Duration::from_millis(*ms));
            laps
        };
        Side { laps: ms.iter().map(laps).collect(), cpu: Cpu::default() }
    }

    #[test]
    fn a_slow_minute_does_not_change_the_ratio_of_neighbours() {
        let held = Holdings { rss: 0, anonymous: 0, fds: 0 };
        let figures = Comparison {
            library: side(&[11, 110, 1100]),
            by_hand: side(&[10, 100, 1000]),
            bare: Vec::new(),
            before: held,
            after: held,
        };
        assert!((figures.ratio_of_pairs() - 1.1).abs() < 1e-9);
        assert!((figures.ratio() - 1.1).abs() < 1e-9);
    }
}
