// SPDX-License-Identifier: Apache-2.0
//! `storm`: the random storm of the library's tests, for longer than a test run has time for.

use anyhow::{Context as _, Result};

use crate::deps::{self, Need};
use crate::leaks::Snapshot;
use crate::shell;
use crate::workspace::Workspace;

/// Runs it for `duration` (`90`, `30m`, `2h`), and looks for what was left behind.
pub(crate) fn run(workspace: &Workspace, duration: &str, seed: Option<u64>) -> Result<()> {
    let seconds = seconds(duration)?;
    deps::ensure(workspace, Need::Tests)?;
    let before = Snapshot::take();
    let mut command = workspace.cargo();
    command.args(["test", "--package", "shimkeeper", "--test", "crashes", "--"]);
    command.args(["--exact", "real_storm::real_weather", "--nocapture"]);
    command.env("SHIMKEEPER_STORM", seconds.to_string());
    if let Some(seed) = seed {
        command.env("SHIMKEEPER_SEED", seed.to_string());
    }
    shell::run(&mut command)?;
    before.check()
}

fn seconds(duration: &str) -> Result<u64> {
    let (number, unit) = match duration.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, duration.as_bytes()[number.len()]),
        None => (duration, b's'),
    };
    let number: u64 = number.parse().with_context(|| format!("{duration:?} is no duration"))?;
    Ok(number
        * match unit {
            b'm' => 60,
            b'h' => 3600,
            _ => 1,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_minutes_hours() {
        let read = |text| seconds(text).ok();
        assert_eq!(
            [read("90"), read("5s"), read("2m"), read("1h")],
            [Some(90), Some(5), Some(120), Some(3600)]
        );
        assert_eq!([read(""), read("h"), read("1d")], [None, None, None]);
    }
}
