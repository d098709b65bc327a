// SPDX-License-Identifier: Apache-2.0
//! A storm: tasks and execs come and go on real shims of every generation, something is broken every second, and the
//! manager's process is killed again and again. One container, the canary, is nobody's to end: it lives through all of
//! it. In the end everything else is gone, and what was published makes lives.
//!
//! `SHIMKEEPER_STORM` is its length in seconds (60), `SHIMKEEPER_SEED` has the same weather again.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use shimkeeper::events::Filters;
use shimkeeper::{Error, Kind, Manager, Status, Task};
use shimkeeper_testkit::deps::Generation;
use shimkeeper_testkit::oracle::{Inits, Living};
use shimkeeper_testkit::{FoundProcess, TestDirs};
use tokio_util::task::TaskTracker;

use crate::belief::Belief;
use crate::dice::Dice;
use crate::inquest;
use crate::life::{say, tell};
use crate::site::{Command, NAMESPACE, Shims, Site, key};
use crate::victim::{Swept, Victim};

const CANARY: &str = "canary";
const WORKERS: usize = 4;
/// Between two faults.
const GUST: Duration = Duration::from_secs(1);
/// The longest life of a manager.
const MANAGER: Duration = Duration::from_secs(8);
/// A call that takes longer than any deadline hangs.
const HANG: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_weather() {
    let seconds = std::env::var("SHIMKEEPER_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let ends = Instant::now() + Duration::from_secs(seconds);
    let mut dice = Dice::seeded();
    let dirs = Swept(TestDirs::new());
    let mut belief = Belief::default();
    let mut canary: Option<Living> = None;
    let (mut faults, mut managers) = (0, 0);
    while Instant::now() < ends {
        let shims = match dice.below(3) {
            0 => Generation::V1_6,
            1 => Generation::V1_7,
            _ => Generation::V2_1,
        };
        let site = Site::of(&dirs.0, Shims::Real(shims));
        managers += 1;
        let mut victim = Victim::start("real_storm::the_process_in_the_storm", &site, &[]);
        let death = Instant::now() + Duration::from_secs(1) + dice.up_to(MANAGER);
        let mut gust = Instant::now() + GUST;
        while Instant::now() < death {
            let next = tokio::time::timeout_at(gust.min(death).into(), victim.next()).await;
            match next {
                Ok(Some(said)) => {
                    if let Some(pid) = said.strip_prefix("canary ") {
                        canary = canary.or_else(|| Living::of(pid.parse().unwrap()));
                    }
                    assert!(!said.starts_with("violation"), "{said}; {:#?}", last(&belief));
                    belief.hear(&said).unwrap_or_else(|e| panic!("{e}; {:#?}", last(&belief)));
                }
                Ok(None) => panic!("the manager's process ended by itself: {:#?}", last(&belief)),
                Err(_) => {
                    gust += GUST;
                    faults += u32::from(blow(&dirs.0, &mut dice, &mut belief));
                    assert!(canary.is_none_or(Living::lives), "the canary is dead: {:#?}", last(&belief));
                }
            }
        }
        belief.said.push("the manager is killed".into());
        victim.kill(&mut belief).await;
        belief.lives.interrupted();
        let long_ago = belief.said.len().saturating_sub(400);
        belief.said.drain(..long_ago);
    }
    for shim in shims_of(&dirs.0) {
        send(shim.pid, Signal::CONT);
    }
    println!("{managers} managers, {faults} faults");
    assert!(canary.is_some_and(Living::lives), "the canary is dead: {:#?}", last(&belief));
    let site = Site::of(&dirs.0, Shims::Real(Generation::V2_1));
    inquest::after_the_storm(&dirs.0, &site, &mut belief, CANARY).await;
}

/// The end of what was said.
fn last(belief: &Belief) -> &[String] {
    &belief.said[belief.said.len().saturating_sub(80)..]
}

fn shims_of(dirs: &TestDirs) -> Vec<FoundProcess> {
    let mut processes = dirs.leftovers().processes;
    processes.retain(|process| process.command.contains("containerd-shim-runc-v2 -namespace"));
    processes
}

/// One fault. Whether there was anything to break.
fn blow(dirs: &TestDirs, dice: &mut Dice, belief: &mut Belief) -> bool {
    let shims = shims_of(dirs);
    let Some(shim) = shims.get(usize::try_from(dice.below(shims.len().max(1) as u64)).unwrap()) else {
        return false;
    };
    let is_canary = shim.command.contains(CANARY);
    let what = match dice.below(6) {
        0 | 1 => {
            send(shim.pid, Signal::STOP);
            "stopped"
        }
        2 => {
            for shim in &shims {
                send(shim.pid, Signal::CONT);
            }
            "all go on, and"
        }
        3 if !is_canary => {
            send(shim.pid, Signal::KILL);
            "killed"
        }
        4 => {
            let mut inits = Inits::of(dirs).0;
            inits.remove(&format!("{NAMESPACE}.{CANARY}"));
            if let Some(init) = inits.values().next() {
                send(init.pid(), Signal::KILL);
            }
            "an init is killed, not of"
        }
        _ => {
            let tasks = dirs.state().join("io.containerd.runtime.v2.task").join(NAMESPACE);
            for bundle in std::fs::read_dir(tasks).into_iter().flatten().filter_map(Result::ok) {
                // It may be gone by now.
                let file = bundle.path().join("bootstrap.json");
                let _ = std::fs::OpenOptions::new().write(true).truncate(true).open(file);
            }
            "every address is damaged, not only of"
        }
    };
    belief
        .said
        .push(format!("{what} {}", shim.command.split_whitespace().take(5).collect::<Vec<_>>().join(" ")));
    true
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    // It may have gone by now.
    let _ = kill_process(pid, signal);
}

/// What the process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_in_the_storm() {
    let Some(site) = Site::inherited() else { return };
    let (manager, events) = Manager::open_with_events(site.config(), Filters::everything()).await.unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(tell(events));
    manager.adopted().await;
    say("open");
    if manager.get(&key(CANARY)).is_err_and(|error| error.kind() == Kind::NotFound) {
        let canary = manager.create(site.request(CANARY, Command::Sleep)).await.unwrap();
        say(&format!("canary {}", canary.start().await.unwrap()));
    }
    for worker in 0..WORKERS {
        let (manager, site) = (manager.clone(), site.clone());
        tasks.spawn(async move {
            for round in 0_u32.. {
                let id = format!("w{worker}");
                let life = life(&manager, &site, &id, round);
                match tokio::time::timeout(HANG * 4, life).await {
                    // Anything may be refused in a storm.
                    Ok(Ok(()) | Err(_)) => {}
                    Err(_) => say(&format!("violation: a life of {id} hangs")),
                }
            }
        });
    }
    std::future::pending::<()>().await;
}

/// A life in which anything may fail, and nothing may hang.
async fn life(manager: &Manager, site: &Site, id: &str, round: u32) -> Result<(), Error> {
    let task = match manager.get(&key(id)) {
        Ok(found) => found,
        Err(error) if error.kind() == Kind::NotFound => {
            say(&format!("creating {id}"));
            let task = manager.create(site.request(id, Command::Sleep)).await?;
            say(&format!("made {id} {}", task.pid().unwrap_or_default()));
            task
        }
        Err(error) => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            return Err(error);
        }
    };
    let run = run(&task, site, round).await;
    // Whatever came of it, it goes.
    let _ = task.kill(9, true).await;
    task.delete().await?;
    say(&format!("deleted {id}"));
    run
}

async fn run(task: &Task, site: &Site, round: u32) -> Result<(), Error> {
    if task.state().await?.status == Status::Created {
        task.start().await?;
    }
    let exec = task.exec(site.exec_request(&format!("x{round}"), Command::Exit(4))).await?;
    exec.start().await?;
    let _ = tokio::time::timeout(Duration::from_secs(2), exec.wait()).await;
    task.kill(9, false).await?;
    let _ = tokio::time::timeout(Duration::from_secs(5), task.wait()).await;
    Ok(())
}
