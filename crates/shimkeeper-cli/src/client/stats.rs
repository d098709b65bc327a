// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper stats`: what containers use, one interval after the other.

mod sample;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::SystemTime;

use serde::Serialize;
use shimkeeper_core::time;
use shimkeeper_proto::containerd::services::tasks::v1::MetricsRequest;

use super::args::watch::StatsArgs;
use super::find::Found;
use super::print;
use super::server::{Server, ask};
use crate::failure::Failure;
use crate::output::Output;
use sample::{Sample, Used};

/// Clears a terminal, and goes on at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// ```json
/// {"schema":"shimkeeper.stats/1","namespace":"default","at":"…","containers":[{"id":"web","cpu_percent":1.5,
///  "cpu_ns":170000000,"memory_bytes":4096000,"memory_limit_bytes":null,"pids":2,"read_bytes":0,"written_bytes":4096}]}
/// ```
#[derive(Debug, Serialize)]
struct Interval<'a> {
    namespace: &'a str,
    at: String,
    containers: Vec<Used>,
}

pub(super) async fn stats(args: &StatsArgs) -> Result<u8, Failure> {
    let namespace = &args.within.namespace;
    let server = Server::connect(&args.server, Some(namespace)).await?;
    let ids = named(args, &server).await?;
    let live = args.server.output == Output::Text && !args.no_stream && std::io::stdout().is_terminal();
    let mut before = samples(&server, &ids).await?;
    let mut ticks = tokio::time::interval(args.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first is over at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = samples(&server, &ids).await?;
        let containers = used(&before, &now, &ids);
        before = now;
        let at = time::to_rfc3339(SystemTime::now());
        let interval = Interval { namespace: namespace.as_str(), at, containers };
        let text = match args.server.output {
            Output::Json => print::json("shimkeeper.stats/1", &interval),
            Output::Text if live => format!("{CLEAR}{}", interval.text()),
            Output::Text => interval.text(),
        };
        if !print::write(&text)? || args.no_stream {
            return Ok(0);
        }
    }
}

/// The ids that are meant; none for all.
async fn named(args: &StatsArgs, server: &Server) -> Result<Vec<String>, Failure> {
    if args.ids.is_empty() {
        return Ok(Vec::new());
    }
    let found = Found::look(server).await?;
    args.ids.iter().map(|word| found.resolve(word).map(str::to_owned)).collect()
}

async fn samples(server: &Server, ids: &[String]) -> Result<BTreeMap<String, Sample>, Failure> {
    let filters = ids.iter().map(|id| format!("id==\"{id}\"")).collect();
    let answer = ask("ask what containers use", server.tasks().metrics(MetricsRequest { filters })).await?;
    Ok(answer.metrics.into_iter().map(|metric| (metric.id.clone(), Sample::new(metric))).collect())
}

/// Those that were asked for by name are told of even if nothing is known.
fn used(before: &BTreeMap<String, Sample>, now: &BTreeMap<String, Sample>, ids: &[String]) -> Vec<Used> {
    let ids: Vec<&String> = if ids.is_empty() { now.keys().collect() } else { ids.iter().collect() };
    ids.into_iter().map(|id| Used::new(id, before.get(id), now.get(id))).collect()
}

impl Interval<'_> {
    fn text(&self) -> String {
        let mut rows = vec![["ID", "CPU", "MEMORY", "LIMIT", "PIDS", "READ", "WRITTEN"].map(str::to_owned)];
        rows.extend(self.containers.iter().map(Used::row));
        print::table(&rows)
    }
}
