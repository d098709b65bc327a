// SPDX-License-Identifier: Apache-2.0
//! The figures of a scenario as a table for people, and as JSON for machines.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::against::figure::Figure;
use crate::against::program::Pairing;
use crate::stats::Row;

/// The figures of one scenario.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) figures: Vec<Figure>,
}

pub(crate) fn title(pairing: &Pairing, runtime_binary: &str) -> String {
    format!(
        "A: {}   B: {}   shim {}, {runtime_binary}",
        pairing.ours.name(),
        pairing.theirs.name(),
        pairing.shim.display(),
    )
}

pub(crate) fn text(outcome: &Outcome, pairing: &Pairing) -> String {
    let mut text = format!(
        "\n{:<48} {:>4} {:^35}  {:^35} {:>6}  {:<14}\n{:<48} {:>4}",
        outcome.scenario, "", "A", "B", "", "", "", "n"
    );
    for _ in 0..2 {
        let _ = write!(text, " {:>8} {:>8} {:>8} {:>8} ", "min", "median", "p99", "max");
    }
    let _ = write!(text, "{:>6}  {:<14}", "A/B", "goal");
    for figure in &outcome.figures {
        let unit = figure.unit.text();
        let name = if unit.is_empty() { figure.name.clone() } else { format!("{}, {unit}", figure.name) };
        let ratio = figure.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
        let _ = write!(text, "\n{name:<48} {:>4}", figure.ours.len());
        for row in [&figure.ours, &figure.theirs] {
            let _ = write!(text, " {} ", cells(row));
        }
        let _ = write!(text, "{ratio:>6}");
        if let Some(goal) = figure.goal(pairing) {
            let met = if figure.meets(goal) { "met" } else { "NOT MET" };
            let _ = write!(text, "  {:<14}{met}", goal.to_string());
        }
    }
    text
}

fn cells(row: &Row) -> String {
    let cell = |value: f64| {
        let digits = if value.abs() >= 1000.0 { 0 } else { 2 };
        format!("{value:>8.digits$}")
    };
    [row.min(), row.median(), row.p99(), row.max()].map(cell).join(" ")
}

pub(crate) fn json(outcomes: &[Outcome], pairing: &Pairing, runtime_binary: &str) -> Value {
    let figures = outcomes.iter().flat_map(|outcome| {
        outcome.figures.iter().map(|figure| {
            let goal = figure.goal(pairing);
            json!({
                "scenario": outcome.scenario,
                "figure": figure.name,
                "unit": figure.unit.text(),
                "ours": json_of(&figure.ours),
                "theirs": json_of(&figure.theirs),
                "ratio": figure.ratio(),
                "goal": goal.map(|goal| goal.to_string()),
                "met": goal.map(|goal| figure.meets(goal)),
            })
        })
    });
    json!({
        "ours": pairing.ours.name(),
        "theirs": pairing.theirs.name(),
        "shim": pairing.shim,
        "runtime": runtime_binary,
        "figures": figures.collect::<Vec<_>>(),
    })
}

fn json_of(row: &Row) -> Value {
    json!({ "n": row.len(), "min": row.min(), "median": row.median(), "p99": row.p99(), "max": row.max() })
}
