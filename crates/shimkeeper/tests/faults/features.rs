// SPDX-License-Identifier: Apache-2.0
//! What a runtime cannot do is refused, and not left out; and a binary is asked about itself once in a while, not always.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use prost::Message as _;
use shimkeeper::{CreateTask, Error, Kind, Task};
use shimkeeper_proto::containerd::types::RuntimeInfo;
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_testkit::{TestSpec, fake_shim_binary};

use crate::bench::{Bench, end, key};
use crate::oracle;

/// A shim that notes every `-info` and answers it by `answer`, and is the fake in everything else.
fn shim(bench: &Bench, answer: &str) -> PathBuf {
    let path = bench.dirs.path().join("containerd-shim-asked-v2");
    let asked = bench.dirs.path().join("asked");
    let fake = fake_shim_binary();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = -info ] || exec {} \"$@\"\necho >> {}\n{answer}\n",
        fake.display(),
        asked.display()
    );
    // Another file each time, as an upgrade makes it.
    let new = path.with_extension("new");
    fs::write(&new, script).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, &path).unwrap();
    path
}

/// The shell for an answer with these features.
fn features(bench: &Bench, json: &str) -> String {
    let type_url = "types.containerd.io/opencontainers/runtime-spec/1/features/Features".to_owned();
    let features = Some(Any { type_url, value: json.as_bytes().to_vec().into() });
    let info = RuntimeInfo { name: "asked".into(), features, ..RuntimeInfo::default() };
    let file = bench.dirs.path().join("info");
    fs::write(&file, info.encode_to_vec()).unwrap();
    format!("exec cat {}", file.display())
}

fn times_asked(bench: &Bench) -> usize {
    fs::read_to_string(bench.dirs.path().join("asked")).unwrap_or_default().lines().count()
}

async fn create(bench: &Bench, shim: &std::path::Path, is_mapped: bool) -> Result<Task, Error> {
    let spec = TestSpec::fake(["sleep"]).with(|spec| {
        let mapping = serde_json::json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
        let mut mount = serde_json::json!({ "destination": "/data", "type": "bind", "source": "/tmp" });
        if is_mapped {
            mount["uidMappings"] = mapping;
        }
        spec["mounts"].as_array_mut().unwrap().push(mount);
    });
    let request = CreateTask::new(key("one"), spec.to_bytes()).runtime(shim.to_str().unwrap());
    bench.manager.create(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_is_not_made_without_the_mapping_it_asks_for() {
    let bench = Bench::new().await;
    let no = features(&bench, r#"{"linux":{"mountExtensions":{"idmap":{"enabled":false}}}}"#);
    let older = "echo 'flag provided but not defined: -info' >&2; exit 2".to_owned();
    for answer in [no, older, "exit 1".to_owned()] {
        let shim = shim(&bench, &answer);
        let error = create(&bench, &shim, true).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotImplemented, "{error}");
        oracle::refusal(&error);
        bench.is_clean();
        // Who asks for no mapping gets none.
        end_unstarted(&create(&bench, &shim, false).await.unwrap()).await;
    }
    let yes = features(&bench, r#"{"linux":{"mountExtensions":{"idmap":{"enabled":true}}}}"#);
    let task = create(&bench, &shim(&bench, &yes), true).await.unwrap();
    task.start().await.unwrap();
    end(&task).await;
    bench.is_clean();
}

async fn end_unstarted(task: &Task) {
    task.delete().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_is_asked_once_until_it_is_another() {
    let bench = Bench::new().await;
    let answer = features(&bench, "{}");
    let path = shim(&bench, &answer);
    let runtime = path.to_str().unwrap();
    for _ in 0..3 {
        assert_eq!(bench.manager.shim_info(runtime, None).await.unwrap().name, "asked");
    }
    assert_eq!(times_asked(&bench), 1);
    shim(&bench, "echo broken >&2; exit 1");
    for _ in 0..3 {
        let error = bench.manager.shim_info(runtime, None).await.unwrap_err();
        oracle::refusal(&error);
        assert!(crate::bench::chain(&error).contains("broken"), "{error}");
    }
    assert_eq!(times_asked(&bench), 2, "a failure is remembered, too");
    shim(&bench, &answer);
    assert_eq!(bench.manager.shim_info(runtime, None).await.unwrap().name, "asked");
}
