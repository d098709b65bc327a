// SPDX-License-Identifier: Apache-2.0
//! A list of things to do, all of them tried, each timed, one table at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What has been done so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    took: Duration,
    passed: bool,
}

impl Steps {
    /// Does one thing. A failure is printed and kept; the other steps still say what they have to say.
    pub(crate) fn step(&mut self, name: &'static str, action: impl FnOnce() -> Result<()>) -> bool {
        println!("==> {name}");
        let started = Instant::now();
        let outcome = action();
        if let Err(error) = &outcome {
            println!("{name}: {error:#}");
        }
        self.rows.push(Row { name, took: started.elapsed(), passed: outcome.is_ok() });
        outcome.is_ok()
    }

    /// Prints the table; an error when a step failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n{}", self.table());
        let failed: Vec<_> = self.rows.iter().filter(|row| !row.passed).map(|row| row.name).collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }

    fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let line = |row: &Row| {
            let verdict = if row.passed { "ok" } else { "FAILED" };
            format!("  {:width$}  {:>7.1} s  {verdict}\n", row.name, row.took.as_secs_f64())
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stops_nothing_and_is_named_at_the_end() {
        let mut steps = Steps::default();
        assert!(!steps.step("first", || bail!("no")));
        assert!(steps.step("second", || Ok(())));
        let table = steps.table();
        assert!(table.contains("first ") && table.contains("FAILED") && table.contains("ok"), "{table}");
        assert_eq!(steps.finish().unwrap_err().to_string(), "failed: first");
    }

    #[test]
    fn all_good_is_good() {
        let mut steps = Steps::default();
        steps.step("only", || Ok(()));
        assert!(steps.finish().is_ok());
    }
}
