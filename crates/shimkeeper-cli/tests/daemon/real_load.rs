// SPDX-License-Identifier: Apache-2.0
//! Restarts under load: the daemon is killed and told to stop, in turns, while containers come and go and processes are
//! added to those that stay. Whoever was not asked to end goes on, every exit is told once to a subscriber that resumes
//! where it was, and nothing is left that nobody owns.

mod adding;
mod listener;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shimkeeper_testkit::deps::Generation;
use tokio::task::JoinSet;

use crate::real::{Client, Host, words};
use crate::support::until;
use adding::Adding;
use listener::Listener;

/// How much of it; the environment asks for more.
struct Load {
    /// Containers that live through all of it.
    containers: usize,
    /// How long it goes on.
    lasts: Duration,
    /// How long one daemon lives.
    life: Duration,
    /// From one added process to the next.
    pace: Duration,
}

impl Load {
    /// Short, as every run of the tests has it, or as long as `SHIMKEEPER_LOAD_SECONDS` says and with all that belongs
    /// to it.
    fn wanted() -> Self {
        let seconds = std::env::var("SHIMKEEPER_LOAD_SECONDS").ok().and_then(|text| text.parse().ok());
        let [short, long] = [(16, 12, 3, 100), (50, 120, 5, 50)];
        let (containers, lasts, life, pace) = if seconds.is_some() { long } else { short };
        Self {
            containers,
            lasts: Duration::from_secs(seconds.unwrap_or(lasts)),
            life: Duration::from_secs(life),
            pace: Duration::from_millis(pace),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_under_load_lose_nothing() {
    let load = Load::wanted();
    let mut host = Host::start(Generation::V2_1);
    let adding = Arc::new(Adding::new(&host.daemon));
    let names: Vec<_> = (0..load.containers).map(|number| format!("s{number}")).collect();
    for name in &names {
        adding.container(name).await;
    }
    let listener = Listener::begin(&host.daemon);
    let restarts = load_and_restart(&mut host, &load, &adding, &names).await;

    // What a client was in the middle of is its own to clear up.
    until("a clean slate", || {
        let listed = host.good(["containers", "ls", "-q"]);
        let rest: Vec<_> = listed.lines().filter(|id| id.starts_with('r')).collect();
        for id in &rest {
            host.ctr(["tasks", "rm", "--force", id]);
            host.ctr(["containers", "rm", id]);
        }
        rest.is_empty().then_some(())
    });
    let (running, processes) = (adding.running().await, adding.started());
    assert_eq!(running.len(), names.len(), "{running:?}");
    let heard = listener.until_all(&processes).await;
    heard.each_once(&processes, &names);
    let asked = adding.asked();
    assert!(
        processes.len() * 3 > asked && asked > 30,
        "hardly anything happened: of {asked} processes {} ran, over {restarts} restarts",
        processes.len()
    );
    for name in &names {
        adding.remove(name).await;
    }
    assert_eq!(host.good(["tasks", "ls", "-q"]), "");
    host.close();
}

/// Answers how often the daemon was started anew.
async fn load_and_restart(host: &mut Host, load: &Load, adding: &Arc<Adding>, names: &[String]) -> usize {
    let end = Instant::now() + load.lasts;
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    clients.spawn(adding.clone().add_until(over.clone(), load.pace, names.to_vec()));
    let runs = Arc::new(AtomicUsize::new(0));
    let prepared: Vec<_> =
        (0..2000).map(|number| host.run(&["--rm"], &format!("r{number}"), &["/bin/true"])).collect();
    let (client, stop, count) = (host.client(), over.clone(), runs.clone());
    clients.spawn_blocking(move || run_until(&stop, &count, &client, &prepared));
    let mut restarts = 0;
    while Instant::now() < end {
        tokio::time::sleep(load.life).await;
        if restarts % 2 == 0 {
            host.daemon.kill();
        } else {
            assert!(host.daemon.stop().success());
        }
        host.daemon.start_again();
        restarts += 1;
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert!(runs.load(Ordering::Relaxed) > 1, "hardly any container came and went in {restarts} restarts");
    restarts
}

/// One container after the other. In the middle of a restart it fails, and may.
fn run_until(over: &AtomicBool, runs: &AtomicUsize, client: &Client, prepared: &[Vec<String>]) {
    for args in prepared.iter().take_while(|_| !over.load(Ordering::Relaxed)) {
        runs.fetch_add(usize::from(client.ctr(words(args)).code == Some(0)), Ordering::Relaxed);
    }
}
