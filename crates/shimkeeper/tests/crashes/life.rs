// SPDX-License-Identifier: Apache-2.0
//! What the process to be killed does, and how it says so: a word before what it may be killed in, a word after.

use std::fmt::Write as _;

use rustix::process::{Pid, Signal, kill_process};
use shimkeeper::events::{Filters, Subscription};
use shimkeeper::{Manager, ProcessKey, Task};
use tokio_util::task::TaskTracker;

use crate::site::{Command, Site};

/// How a line begins that is meant for whoever listens.
pub(crate) const SAYS: &str = "says: ";

/// The status of the exec in every life.
pub(crate) const EXEC_STATUS: u32 = 4;

pub(crate) fn say(what: &str) {
    println!("{SAYS}{what}");
}

/// Opens the directories and lives one life in them.
pub(crate) async fn live(site: &Site) {
    let (manager, events) = Manager::open_with_events(site.config(), Filters::everything()).await.unwrap();
    let told = TaskTracker::new();
    told.spawn(tell(events));
    manager.adopted().await;
    say("open");
    one(&manager, site, "a").await;
    if died_at().is_some_and(|place| place.contains('+')) {
        // Death is on its way.
        std::future::pending::<()>().await;
    }
    manager.detach().await;
    told.close();
    told.wait().await;
    say("survived");
}

/// A task with an exec in it, from its making to its deletion.
async fn one(manager: &Manager, site: &Site, id: &str) {
    say(&format!("creating {id}"));
    let task = manager.create(site.request(id, Command::Sleep)).await.unwrap();
    say(&format!("made {id} {}", task.pid().unwrap()));
    site.scratch(id);
    say(&format!("starting {id}"));
    let pid = task.start().await.unwrap();
    say(&format!("started {id} {pid}"));
    exec(&task, site, "x").await;
    say(&format!("killing {id}"));
    if died_at().is_some_and(|place| place.starts_with("D4-killed")) {
        // What comes to this place is the end of what a dead shim leaves.
        kill_shim(&task);
    } else {
        task.kill(9, false).await.unwrap();
    }
    let exit = task.wait().await.unwrap();
    say(&format!("exit {id} {}", exit.status));
    say(&format!("deleting {id}"));
    task.delete().await.unwrap();
    say(&format!("deleted {id}"));
}

/// Where this process is to die.
fn died_at() -> Option<String> {
    std::env::var("SHIMKEEPER_FAILPOINT").ok()
}

fn kill_shim(task: &Task) {
    let pid = Pid::from_raw(task.shim_pid().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

async fn exec(task: &Task, site: &Site, id: &str) {
    let exec = task.exec(site.exec_request(id, Command::Exit(EXEC_STATUS))).await.unwrap();
    exec.start().await.unwrap();
    assert_eq!(exec.wait().await.unwrap().status, EXEC_STATUS, "{:?}", ProcessKey::Exec(exec.id().clone()));
    exec.delete().await.unwrap();
}

/// Passes on what is published, byte for byte.
pub(crate) async fn tell(mut events: Subscription) {
    while let Some(envelope) = events.next().await.unwrap() {
        let mut hex = String::from("event ");
        for byte in envelope.wire() {
            write!(hex, "{byte:02x}").unwrap();
        }
        say(&hex);
    }
}
