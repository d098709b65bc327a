// SPDX-License-Identifier: Apache-2.0
//! The command `adoption`: many running tasks, and managers that are started on them one after the other, each in a
//! process of its own; beside one that finds nothing, to know what a task takes.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use shimkeeper::{Config, CreateTask, Manager, RuncOptions, Task, TaskKey};
use shimkeeper_testkit::{SOCKET_DIR_ENV, TestDirs, fake_shim_binary};
use tokio::task::JoinSet;

use crate::args;
use crate::by_library::runtime;
use crate::error::BenchError;
use crate::measure::monotonic;
use crate::orphans;
use crate::report::say;
use crate::site::{NAMESPACE, Site};
use crate::stats::Row;

/// Tasks that are made, or ended, at once.
const LANES: usize = 8;

/// What is told of restarts, and what it is called.
const TIMES: [(&str, &str); 5] = [
    ("opened", "open returns"),
    ("first", "first answer"),
    ("concluded", "last verdict"),
    ("listed", "all seen running"),
    ("cpu", "CPU of the manager"),
];

pub(crate) fn run(options: &args::Adoption) -> Result<(), BenchError> {
    orphans::adopt()?;
    let mut target = options.target.clone();
    if options.fake {
        target.shim = fake_shim_binary().to_string_lossy().into_owned();
    }
    let site = Arc::new(Site::new(&target)?);
    let result = on_site(&site, options);
    if result.is_err() {
        let _ = site.dirs.sweep();
    }
    result
}

fn on_site(site: &Arc<Site>, options: &args::Adoption) -> Result<(), BenchError> {
    let runtime = runtime()?;
    runtime.block_on(fill(site, options))?;
    let empty = TestDirs::below(&options.target.dir);
    let (mut full, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=options.restarts {
        let (with, without) = (restart(&site.dirs)?, restart(&empty)?);
        if with["running"] != options.n || with["adopted"] != options.n {
            return Err(BenchError::Restart(format!("has not all of {} tasks: {with}", options.n)));
        }
        if round > 0 {
            full.push(with);
            bare.push(without);
        }
    }
    say(&report(options, &full, &bare))?;
    runtime.block_on(clear(site))
}

fn config(site: &Site) -> Config {
    Config::new(site.dirs.state(), site.dirs.root()).env(SOCKET_DIR_ENV, site.dirs.sockets())
}

/// Makes the tasks, starts them and leaves them.
async fn fill(site: &Arc<Site>, options: &args::Adoption) -> Result<(), BenchError> {
    let manager = Manager::open(config(site)).await?;
    let is_fake = options.fake;
    let jobs = (0..options.n).map(|_| {
        let (manager, site) = (manager.clone(), site.clone());
        async move { start_one(&manager, &site, is_fake).await }
    });
    in_lanes(jobs).await?;
    manager.detach().await;
    Ok(())
}

async fn start_one(manager: &Manager, site: &Site, is_fake: bool) -> Result<(), BenchError> {
    let (id, spec) = site.sleeper(is_fake);
    let key = TaskKey::parse(NAMESPACE, &id).expect("a letter and a number are an id");
    let mut request = CreateTask::new(key, spec).runtime(site.shim.to_string_lossy());
    if !is_fake {
        request = request.runc(RuncOptions::binary(&site.runtime_binary));
    }
    manager.create(request).await?.start().await?;
    Ok(())
}

/// Ends every task.
async fn clear(site: &Site) -> Result<(), BenchError> {
    let manager = Manager::open(config(site)).await?;
    manager.adopted().await;
    in_lanes(manager.list().into_iter().map(end)).await?;
    manager.detach().await;
    Ok(())
}

async fn end(task: Task) -> Result<(), BenchError> {
    let shim = task.shim_pid();
    task.kill(9, true).await?;
    task.wait().await?;
    task.delete().await?;
    orphans::collect(shim);
    Ok(())
}

async fn in_lanes<F>(jobs: impl Iterator<Item = F>) -> Result<(), BenchError>
where
    F: Future<Output = Result<(), BenchError>> + Send + 'static,
{
    let mut lanes = JoinSet::new();
    for job in jobs {
        if lanes.len() == LANES
            && let Some(done) = lanes.join_next().await
        {
            done.map_err(|_| BenchError::Panicked)??;
        }
        lanes.spawn(job);
    }
    while let Some(done) = lanes.join_next().await {
        done.map_err(|_| BenchError::Panicked)??;
    }
    Ok(())
}

/// Runs one restarted manager; answers its figures.
fn restart(dirs: &TestDirs) -> Result<Value, BenchError> {
    let myself = std::env::current_exe().map_err(|e| BenchError::io("find this program", e))?;
    let mut command = Command::new(myself);
    command.arg("adopt-once").args([dirs.state(), dirs.root()]);
    let began = monotonic().as_nanos().to_string();
    let output = command.arg(began).stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| BenchError::io("start a manager", e))?;
    if !output.status.success() {
        return Err(BenchError::Restart(format!("ended with {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| BenchError::Restart(format!("told no figures: {e}")))
}

fn report(options: &args::Adoption, full: &[Value], bare: &[Value]) -> String {
    let mut lines = vec![
        format!("{} running tasks, {} restarts; ms from the start of the process", options.n, full.len()),
        format!("{:<20} {:>8} {:>8} {:>8}   {:>8}", "", "min", "median", "max", "empty"),
    ];
    for (name, title) in TIMES {
        let (row, empty) = (times(full, name), times(bare, name));
        lines.push(format!(
            "{title:<20} {:>8.1} {:>8.1} {:>8.1}   {:>8.1}",
            row.min(),
            row.median(),
            row.max(),
            empty.median()
        ));
    }
    for (name, title, unit) in [
        ("rss", "resident memory", "KiB"),
        ("anonymous", "of it anonymous", "KiB"),
        ("fds", "descriptors", ""),
    ] {
        let (with, without) = (middle(full, name), middle(bare, name));
        let each = (with - without) / f64::from(options.n);
        lines.push(format!("{title:<20} {with:>8} {unit}, empty {without}: {each:.1} a task"));
    }
    lines.join("\n")
}

fn times(rounds: &[Value], name: &str) -> Row {
    let of = |round: &Value| Duration::from_secs_f64(round[name].as_f64().unwrap_or(0.0) / 1000.0);
    Row::new(rounds.iter().map(of))
}

fn middle(rounds: &[Value], name: &str) -> f64 {
    let mut values: Vec<_> = rounds.iter().filter_map(|round| round[name].as_f64()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_takes_what_an_empty_manager_does_not() {
        use clap::Parser as _;
        let args = args::Args::parse_from(["b", "adoption", "-n", "10"]);
        let Some(args::Alone::Adoption(options)) = args.alone else { panic!("another command") };
        let round = |rss: u64| json!({ "rss": rss, "first": 2.0 });
        let text = report(&options, &[round(300), round(200), round(900)], &[round(100)]);
        assert!(text.contains("300 KiB, empty 100: 20.0 a task"), "{text}");
        assert!(text.contains("first answer"), "{text}");
    }
}
