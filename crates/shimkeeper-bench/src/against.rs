// SPDX-License-Identifier: Apache-2.0
//! The comparison: our daemon and a containerd, each in directories of its own, do the same things in turns.
//!
//! ```text
//! Pairing ── two programs on one shim ──► Side (daemon, session, plane) × 2 ──► scenario ──► Tally ──► Figure ──► table
//! ```
//! Every scenario starts both daemons anew, and ends what it started.

mod client;
mod daemon;
mod error;
mod figure;
mod flood;
mod floor;
mod goals;
mod hybrid;
mod plane;
mod process;
mod program;
mod scenario;
mod side;
mod sockets;
mod subscriber;
mod table;

use clap::ValueEnum as _;

use crate::args::{Comparison, Scenario};
use crate::by_library::runtime;
use crate::error::BenchError;
use crate::report::say;
use error::AgainstError;
use program::Pairing;
use table::Outcome;

pub(crate) fn run(options: &Comparison) -> Result<(), AgainstError> {
    hybrid::leave_if_in_the_way(&options.runtime_binary)?;
    let runtime = runtime()?;
    let mut values = Vec::new();
    for pairing in Pairing::all(options)? {
        say(&table::title(&pairing, &options.runtime_binary))?;
        let mut outcomes = Vec::new();
        let all = Scenario::value_variants();
        let wanted =
            |scenario: &&Scenario| options.scenarios.is_empty() || options.scenarios.contains(scenario);
        for scenario in all.iter().filter(wanted) {
            let figures = runtime.block_on(scenario::run(*scenario, &pairing, options))?;
            let name = scenario.to_possible_value().map(|value| value.get_name().to_owned());
            let outcome = Outcome { scenario: name.unwrap_or_default(), figures };
            say(&table::text(&outcome, &pairing))?;
            outcomes.push(outcome);
        }
        if options.scenarios.is_empty() {
            complete(&outcomes, &pairing)?;
        }
        values.push(table::json(&outcomes, &pairing, &options.runtime_binary));
    }
    if let Some(file) = &options.json {
        let text = serde_json::Value::from(values).to_string();
        std::fs::write(file, text).map_err(|e| BenchError::io("write the figures", e))?;
    }
    Ok(())
}

/// Whether every goal has its figure: a name that was changed in one place only would be a goal that is never missed.
fn complete(outcomes: &[Outcome], pairing: &Pairing) -> Result<(), AgainstError> {
    let has =
        |name: &&str| outcomes.iter().flat_map(|outcome| &outcome.figures).any(|figure| figure.name == *name);
    match goals::figures(&pairing.theirs.version).find(|name| !has(name)) {
        None => Ok(()),
        Some(name) => Err(AgainstError::Unexpected(format!("nothing was measured that is called {name:?}"))),
    }
}
