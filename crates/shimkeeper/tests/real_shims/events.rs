// SPDX-License-Identifier: Apache-2.0
//! What is published of a life, word for word. That every life is in order is checked after every case.

use shimkeeper::{ProcessKey, Stdio, events::TaskEvent};

use crate::host::{Host, KILL, SOON, exec, finish, within};

matrix! { real_events_tell_a_life }

async fn real_events_tell_a_life(host: &Host) {
    let task = host.sleeper("told").await;
    let process = exec(&task, "e", ["/bin/sh", "-c", "exit 5"], Stdio::Null).await;
    let exec_exit = within(SOON, process.wait()).await.unwrap();
    process.delete().await.unwrap();
    task.pause().await.unwrap();
    task.resume().await.unwrap();
    task.kill(KILL, false).await.unwrap();
    let exit = finish(&task).await;

    host.story.wait_for(task.key(), "delete").await;
    let words = host.story.of(task.key());
    let life = ["create", "start", "exec-added e", "exec-started e", "exit e 5", "paused", "resumed"];
    assert_eq!(words, [life.as_slice(), &["exit 137", "delete"]].concat());

    let told = host.story.events_of(task.key());
    for (key, exit) in [(ProcessKey::Exec("e".parse().unwrap()), exec_exit), (ProcessKey::Init, exit)] {
        let expected = TaskEvent::Exit { process: key, pid: exit.pid, status: exit.status, at: exit.at };
        assert!(told.contains(&expected), "wait said {expected:?}, the events are {told:?}");
    }
}
