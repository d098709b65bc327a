// SPDX-License-Identifier: Apache-2.0
//! Extra processes of a task.

use shimkeeper::{Kind, Provenance, Status, Stdio};

use crate::host::{Host, KILL, SOON, TERM, add_exec, exec, finish, kill_and_finish, within};
use crate::output::read;

matrix! {
    real_an_exec_lives_and_its_id_lives_again,
    real_an_exec_is_killed,
    real_an_exec_without_such_a_command,
    real_an_exec_that_was_never_started_is_deleted,
    real_what_an_exec_may_not,
    real_an_exec_ends_with_its_task,
}

const PIPES: Stdio = Stdio::Piped { stdin: false };

async fn real_an_exec_lives_and_its_id_lives_again(host: &Host) {
    let task = host.sleeper("execs").await;
    for status in [7, 0, 255] {
        let script = format!("echo out; echo err >&2; exit {status}");
        let process = add_exec(&task, "again", ["/bin/sh", "-c", &script], PIPES).await.unwrap();
        assert_eq!(process.state().await.unwrap().status, Status::Created);
        let pid = process.start().await.unwrap();
        assert_eq!(process.pid(), Some(pid));
        let io = process.take_io().unwrap();
        assert_eq!(read(io.stdout.unwrap()).await, b"out\n");
        assert_eq!(read(io.stderr.unwrap()).await, b"err\n");
        let exit = within(SOON, process.wait()).await.unwrap();
        assert_eq!((exit.status, exit.pid, exit.provenance), (status, pid, Provenance::Observed));
        assert_eq!(process.state().await.unwrap().status, Status::Stopped);
        assert_eq!(process.delete().await.unwrap(), exit);
        assert_eq!(process.state().await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(process.delete().await.unwrap_err().kind(), Kind::NotFound);
    }
    assert!(task.execs().is_empty());
    kill_and_finish(&task).await;
}

async fn real_an_exec_is_killed(host: &Host) {
    let task = host.sleeper("execs").await;
    for signal in [TERM, KILL] {
        let process = exec(&task, "killed", ["sleep", "3600"], Stdio::Null).await;
        process.kill(signal).await.unwrap();
        let exit = within(SOON, process.wait()).await.unwrap();
        assert_eq!(exit.status, 128 + signal);
        assert_eq!(process.kill(signal).await.unwrap_err().kind(), Kind::NotFound);
        process.delete().await.unwrap();
    }
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    kill_and_finish(&task).await;
}

async fn real_an_exec_without_such_a_command(host: &Host) {
    let task = host.sleeper("execs").await;
    let process = add_exec(&task, "nope", ["/nope"], PIPES).await.unwrap();
    let error = process.start().await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("/nope") && text.contains("OCI runtime exec failed"), "{text}");
    assert!(error.hint().unwrap().contains("root file system"), "{:?}", error.hint());
    within(SOON, process.delete()).await.unwrap();

    let process = exec(&task, "nope", ["true"], Stdio::Null).await;
    assert_eq!(within(SOON, process.wait()).await.unwrap().status, 0);
    process.delete().await.unwrap();
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    kill_and_finish(&task).await;
}

async fn real_an_exec_that_was_never_started_is_deleted(host: &Host) {
    let task = host.sleeper("execs").await;
    for _ in 0..2 {
        let process = add_exec(&task, "unborn", ["true"], PIPES).await.unwrap();
        let error = process.kill(KILL).await.unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
        within(SOON, process.delete()).await.unwrap();
    }
    kill_and_finish(&task).await;
    assert!(!host.story.of(task.key()).iter().any(|word| word.starts_with("exit unborn")));
}

async fn real_what_an_exec_may_not(host: &Host) {
    let task = host.sleeper("execs").await;
    let process = exec(&task, "one", ["sleep", "3600"], Stdio::Null).await;
    let error = process.start().await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "started twice: {error}");
    let error = process.delete().await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "deleted while it runs: {error}");
    let error = add_exec(&task, "one", ["true"], Stdio::Null).await.unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyExists, "{error}");
    assert_eq!(process.state().await.unwrap().status, Status::Running);
    process.kill(KILL).await.unwrap();
    within(SOON, process.wait()).await.unwrap();
    process.delete().await.unwrap();

    task.kill(KILL, false).await.unwrap();
    within(SOON, task.wait()).await.unwrap();
    let error = add_exec(&task, "late", ["true"], Stdio::Null).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "in a stopped task: {error}");
    finish(&task).await;
}

async fn real_an_exec_ends_with_its_task(host: &Host) {
    let task = host.sleeper("execs").await;
    let process = exec(&task, "sleeper", ["sleep", "3600"], Stdio::Null).await;
    task.kill(KILL, false).await.unwrap();
    let exit = within(SOON, process.wait()).await.unwrap();
    assert_eq!((exit.status, exit.provenance), (137, Provenance::Observed));
    // It need not be deleted for the task to go.
    finish(&task).await;
    let words = host.story.of(task.key());
    assert!(words.contains(&"exit sleeper 137".to_owned()), "{words:?}");
}
