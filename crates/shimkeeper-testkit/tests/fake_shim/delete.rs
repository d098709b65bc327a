// SPDX-License-Identifier: Apache-2.0
//! The `delete` action, in its turns.

use std::time::Duration;

use prost::Message;
use shimkeeper_proto::containerd::task::v3::DeleteResponse;
use shimkeeper_testkit::{DeleteAct, Script};

use crate::launch::{Bench, ID};

#[tokio::test]
async fn every_run_has_its_turn_and_only_the_honest_one_kills() {
    let script = Script::new().delete([DeleteAct::Exit(4), DeleteAct::Garbage, DeleteAct::Ok]);
    let bench = Bench::new(&script, &["sleep"]);
    let client = bench.client().await;
    let pid = client.create(ID, &bench.bundle).await.unwrap().pid;
    client.start(ID, "").await.unwrap();
    let lives = || std::fs::exists(format!("/proc/{pid}/exe")).unwrap();

    assert_eq!(bench.run("delete").await.status.code(), Some(4));
    let garbage = bench.run("delete").await;
    assert!(garbage.status.success() && DeleteResponse::decode(&garbage.stdout[..]).is_err());
    assert!(lives());
    let answer = DeleteResponse::decode(&bench.run("delete").await.stdout[..]).unwrap();
    assert_eq!((answer.pid, answer.exit_status), (pid, 137));
    assert_eq!(client.wait(ID, "").await, Ok(137), "the server saw its child die");
    let again = bench.run("delete").await;
    assert!(again.status.success(), "the last turn repeats");
    client.delete(ID, "").await.unwrap();
    bench.end(&client).await;
}

#[tokio::test]
async fn without_a_pid_file_the_pid_is_that_of_minus_one() {
    let bench = Bench::new(&Script::new(), &["sleep"]);
    let answer = DeleteResponse::decode(&bench.run("delete").await.stdout[..]).unwrap();
    assert_eq!(answer.pid, u32::MAX);
}

#[tokio::test]
async fn it_may_hang_or_leave_a_child_on_its_pipes() {
    let bench =
        Bench::new(&Script::new().delete([DeleteAct::Hang, DeleteAct::Grandchild(60_000)]), &["sleep"]);
    assert!(bench.hangs("delete", Duration::from_millis(100)).await);
    bench.dirs.sweep().unwrap();
    let mut helper = bench.command("delete").spawn().unwrap();
    assert!(helper.wait().await.unwrap().success());
    let holder = bench.dirs.leftovers().processes;
    assert!(holder[0].command.contains("hold 60000"), "{holder:?}");
    bench.dirs.sweep().unwrap();
}
