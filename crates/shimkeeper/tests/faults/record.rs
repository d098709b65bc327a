// SPDX-License-Identifier: Apache-2.0
//! The record that makes a restart safe: on disk before anything is launched, true while the task lives, gone with it.

use serde_json::Value;
use shimkeeper::ProcessKey;
use shimkeeper_testkit::{Script, StartStep};

use crate::bench::{Bench, end, until};

const NAME: &str = "shimkeeper.json";

/// The last of its lines.
fn read(bundle: &std::path::Path) -> Value {
    let text = std::fs::read_to_string(bundle.join(NAME)).unwrap();
    assert!(text.ends_with('\n'), "{text}");
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn is_written_before_the_launch() {
    let bench = Bench::new().await;
    let bundle = bench.dirs.state().join("io.containerd.runtime.v2.task/ns/one");
    let script = Script::new().start([StartStep::Hang]);
    // The helper's first act is to write this file.
    let launched = bundle.join("fake-shim.json");
    let mut creating = Box::pin(bench.create("one", &["sleep"], &script));
    tokio::select! {
        _ = &mut creating => panic!("a helper that hangs does not answer"),
        () = until(|| launched.exists()) => {}
    }
    let record = read(&bundle);
    assert_eq!((&record["stage"], &record["shim"]), (&"creating".into(), &Value::Null), "{record}");
    let mark = format!("SHIMKEEPER_LAUNCH={}", record["incarnation"].as_str().unwrap());
    let helper = bench.dirs.leftovers().processes.remove(0);
    let environ = std::fs::read_to_string(format!("/proc/{}/environ", helper.pid)).unwrap();
    assert!(environ.split('\0').any(|entry| entry == mark), "{mark} is not in {environ:?}");
    drop(creating);
    bench.id_becomes_free().await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn knows_who_lives_and_how_it_ended() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    let record = read(&task.bundle());
    assert_eq!(record["stage"], "live");
    assert_eq!(record["shim"]["pid"], task.shim_pid().unwrap());
    assert_eq!(record["init"]["pid"], task.pid().unwrap());
    task.start().await.unwrap();
    task.kill(9, false).await.unwrap();
    bench.event(|seen| seen.is_exit_of(&ProcessKey::Init)).await;
    let record = read(&task.bundle());
    assert_eq!(
        record["processes"][0]["exit"]["status"], 137,
        "an exit is on disk before it is public: {record}"
    );
    let bundle = task.bundle();
    task.delete().await.unwrap();
    assert!(!bundle.exists());
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn is_only_a_help_to_the_task_it_is_about() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    task.start().await.unwrap();
    // Somebody tidies up.
    std::fs::remove_dir_all(task.bundle()).unwrap();
    end(&task).await;
    bench.is_clean();
    bench.id_is_free().await;
}
