// SPDX-License-Identifier: Apache-2.0
//! The documents and the dashboard name what is exported, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shimkeeper::{Asked, Dropped, Kind, Manager, Observer as _, Provenance};
use shimkeeper_api::Observer as _;
use shimkeeper_store::Store;
use tonic::Code;

use super::*;
use crate::accept::Gate;
use crate::calls::Calls;

/// A metric as it is exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Exported {
    kind: String,
    help: String,
    labels: Vec<String>,
}

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Everything of a daemon that has seen one of each.
async fn text() -> String {
    let dirs = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
    let (state, root) = (dirs.path().join("s"), dirs.path().join("r"));
    let manager = Manager::open(shimkeeper::Config::new(&state, &root)).await.unwrap();
    let store = Store::open(&Store::dir_below(&root), &state).unwrap();
    let counted = Counted::new(true);
    let asked = |method, outcome| {
        let binary = Path::new("/usr/bin/containerd-shim-runc-v2");
        counted.asked(&Asked::new(binary, method, outcome, Duration::from_millis(3)));
    };
    asked("State", Ok(()));
    asked("Kill", Err(Kind::DeadlineExceeded));
    counted.exited(Provenance::Recovered);
    counted.dropped(Dropped::Stale);
    counted.called("/containerd.services.tasks.v1.Tasks/Kill", Code::NotFound, Duration::from_secs(1));
    counted.called("/containerd.services.tasks.v1.Tasks/Wait", Code::Ok, Duration::from_hours(1));
    let parts = Parts {
        manager: manager.clone(),
        store,
        gate: Gate::new(1, 1),
        calls: Calls::new(1),
        started: Instant::now(),
        adopted: Arc::default(),
    };
    let text = Metrics::new(&counted, parts).text();
    manager.detach().await;
    text
}

fn parse(text: &str) -> BTreeMap<String, Exported> {
    let mut found = BTreeMap::<String, Exported>::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            current = name.to_owned();
            found.entry(current.clone()).or_default().help = help.trim_end_matches('.').to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            found.get_mut(name).expect("HELP comes first").kind = kind.to_owned();
        } else if let Some((_, labels)) = line.split_once('{') {
            let names = labels.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name);
            let labels = &mut found.get_mut(&current).expect("TYPE comes first").labels;
            for name in names.filter(|name| *name != "le") {
                if !labels.iter().any(|known| known == name) {
                    labels.push(name.to_owned());
                }
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_is_documented() {
    let exported = parse(&text().await);
    let rows = exported.iter().map(|(name, metric)| {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let labels = if labels.is_empty() { "–".to_owned() } else { labels };
        format!("| `{name}` | {} | {labels} | {} |\n", metric.kind, metric.help)
    });
    let table =
        format!("| name | type | labels | meaning |\n|---|---|---|---|\n{}", rows.collect::<String>());
    let document = fs::read_to_string(file("docs/metrics.md")).unwrap();
    assert!(document.contains(&table), "docs/metrics.md is to have this table:\n\n{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_asks_for_what_there_is() {
    let exported = parse(&text().await);
    let dashboard = fs::read_to_string(file("dist/grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 10, "{asked:?}");
    for expression in &asked {
        let mut labels = vec!["le".to_owned(), "instance".to_owned()];
        let metrics: Vec<_> = words(expression).filter(|word| is_metric(word)).collect();
        assert!(!metrics.is_empty(), "nothing is asked for: {expression}");
        for name in metrics {
            let known = exported.get(name).or_else(|| {
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end))?;
                exported.get(family).filter(|metric| metric.kind == "histogram")
            });
            let known = known.unwrap_or_else(|| panic!("{name} is not exported: {expression}"));
            labels.extend(known.labels.iter().cloned());
        }
        for label in labels_in(expression) {
            assert!(labels.contains(&label), "there is no label {label}: {expression}");
        }
    }
}

fn is_metric(word: &str) -> bool {
    word.starts_with("shimkeeper_") || word.starts_with("process_")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Every query of a dashboard.
fn expressions(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if key == "expr" => found.push(text.to_owned()),
                    _ => expressions(value, found),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// The labels that a query names: in braces, and after `by`.
fn labels_in(expression: &str) -> Vec<String> {
    let mut labels = Vec::new();
    for part in expression.split('{').skip(1) {
        let selectors = part.split('}').next().unwrap_or_default();
        labels.extend(selectors.split(',').filter_map(|pair| {
            let name = pair.split(['=', '!']).next()?.trim();
            (!name.is_empty()).then(|| name.to_owned())
        }));
    }
    for part in expression.split("by (").skip(1) {
        labels.extend(words(part.split(')').next().unwrap_or_default()).map(str::to_owned));
    }
    labels
}
