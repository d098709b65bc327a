// SPDX-License-Identifier: Apache-2.0
//! The log: on standard error, in words or in objects, at a level that can be changed while the daemon runs.

mod output;

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt, reload};

use crate::config::{Debug, Format, Level};
use output::Output;

/// Libraries below that say much about themselves and nothing about tasks.
const CHATTY: [&str; 5] = ["h2", "hyper", "hyper_util", "tonic", "tower"];

/// The log, to change its level.
#[derive(Clone)]
pub(crate) struct Log {
    filter: reload::Handle<Targets, Registry>,
}

impl Log {
    /// Starts logging. If somebody in this process does already, that stays as it is.
    pub(crate) fn start(debug: &Debug) -> Self {
        let (filter, handle) = reload::Layer::new(targets(debug.level));
        let output = Output::new(std::io::stderr(), debug.format);
        let lines = fmt::layer().with_writer(output).log_internal_errors(false);
        let lines = match debug.format {
            Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
            Format::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        };
        // Refused only when there is a log already.
        let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
        Self { filter: handle }
    }

    /// From now on this level.
    pub(crate) fn set_level(&self, level: Level) {
        // Fails only when nothing is logged here at all.
        let _ = self.filter.reload(targets(level));
    }
}

fn targets(level: Level) -> Targets {
    let level = match level {
        Level::Trace => LevelFilter::TRACE,
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    let chatty = CHATTY.into_iter().map(|target| (target, level.min(LevelFilter::WARN)));
    Targets::new().with_default(level).with_targets(chatty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_counts_for_us_and_less_for_what_is_below() {
        use tracing::Level as L;
        let targets = targets(Level::Debug);
        assert!(targets.would_enable("shimkeeper::shim", &L::DEBUG));
        assert!(!targets.would_enable("shimkeeper::shim", &L::TRACE));
        assert!(targets.would_enable("h2::codec", &L::WARN) && !targets.would_enable("h2::codec", &L::INFO));
        assert!(!super::targets(Level::Error).would_enable("h2", &L::WARN));
    }
}
