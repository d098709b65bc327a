// SPDX-License-Identifier: Apache-2.0
//! Every way of a binary to behave, and what becomes of it.

use prost::Message as _;
use shimkeeper_core::{Exit, time};
use shimkeeper_proto::containerd::task::v3::DeleteResponse;
use shimkeeper_proto::containerd::types;
use shimkeeper_proto::google::protobuf;

use super::*;
use crate::bootstrap::BootstrapError;
use crate::logs::Logs;

/// Enough for a child to be spawned and to say a word, on a machine that is busy.
const SHORT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn arguments_environment_and_directory_are_containerds() {
    let script =
        format!("printf '%s\\n' \"$@\" > $T/args; env > $T/env; pwd > $T/cwd; cat > $T/in; echo '{ANSWER}'");
    let mut scene = Scene::new(&script);
    scene.cx.env = vec![
        ("TEST_EXTRA".into(), "1".into()),
        ("NAMESPACE".into(), "mine".into()),
        ("SHIMKEEPER_LAUNCH".into(), "no".into()),
    ];
    let started = scene.start(LONG).await.unwrap();
    assert_eq!(started.params, BootstrapParams::parse(ANSWER.as_bytes()).unwrap());
    assert_eq!(started.stderr, "");
    let args = "-namespace\nns\n-address\n/run/test/grpc.sock\n-publish-binary\n/usr/bin/publisher\n-id\nid\nstart\n";
    assert_eq!(scene.read("args"), args);
    assert_eq!(scene.read("in"), "");
    assert_eq!(scene.read("cwd").trim_end(), scene.bundle.dir().canonicalize().unwrap().to_str().unwrap());
    let env = scene.read("env");
    let mark = format!("SHIMKEEPER_LAUNCH={}", scene.cx.mark);
    for line in [
        "GOMAXPROCS=2",
        "MAX_SHIM_VERSION=2",
        "TTRPC_ADDRESS=/run/test/ttrpc.sock",
        "GRPC_ADDRESS=/run/test/grpc.sock",
        "TEST_EXTRA=1",
        "NAMESPACE=mine",
        &mark,
    ] {
        assert!(env.lines().any(|found| found == line), "{line} in {env}");
    }
    assert!(env.lines().any(|line| line.starts_with("PATH=")), "our own environment is passed on");

    scene.cx.debug = true;
    scene.binary.delete(&scene.cx, &scene.bundle, LONG).await.unwrap_err();
    let args =
        args.replace("start\n", &format!("-bundle\n{}\n-debug\ndelete\n", scene.bundle.dir().display()));
    assert_eq!(scene.read("args"), args);
    let env = scene.read("env");
    assert!(env.contains("NAMESPACE=ns\n") && env.contains(&mark) && !env.contains("TEST_EXTRA"), "{env}");
}

#[tokio::test]
async fn a_reported_failure_keeps_its_text() {
    let scene = Scene::new("echo cannot do it >&2; exit 1");
    let error = scene.fails(LONG).await;
    assert_eq!(error.to_string(), "shim start failed: cannot do it: exit status 1");
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    let scene = Scene::new("printf 'on stdout'; kill -9 $$");
    assert_eq!(scene.fails(LONG).await.to_string(), "shim start failed: on stdout: killed by signal 9");
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_and_its_processes_die() {
    use BootstrapError as E;
    type Check = fn(&BootstrapError) -> bool;
    let rows: [(&str, Check, Kind); 7] = [
        ("head -c 40 /dev/zero", |e| matches!(e, E::Garbage { len: 40, .. }), Kind::InvalidArgument),
        ("", |e| matches!(e, E::Empty), Kind::InvalidArgument),
        ("echo one word", |e| matches!(e, E::Garbage { .. }), Kind::InvalidArgument),
        (
            r#"echo '{"version":4,"address":"unix:///a","protocol":"ttrpc"}'"#,
            |e| matches!(e, E::Api { .. }),
            Kind::NotImplemented,
        ),
        (
            r"printf '\010\004\022\011unix:///a\032\005ttrpc'",
            |e| matches!(e, E::Api { .. }),
            Kind::NotImplemented,
        ),
        (
            r#"echo '{"version":3,"address":"unix:///a"}'"#,
            |e| matches!(e, E::Api { .. }),
            Kind::InvalidArgument,
        ),
        (
            r#"echo '{"version":3,"address":"unix:///a","protocol":"http"}'"#,
            |e| matches!(e, E::Api { .. }),
            Kind::InvalidArgument,
        ),
    ];
    for (script, expected, kind) in rows {
        // The shim behind it is in the same group and holds no pipe.
        let scene = Scene::new(&format!("echo $$ > $T/pid; sleep 1000 <&- >&- 2>&- & {script}"));
        let error = scene.fails(LONG).await;
        let LaunchError::Answer { source, .. } = &error else { panic!("{script}: {error:?}") };
        assert!(expected(source), "{script}: {source:?}");
        assert_eq!(error.kind(), kind, "{script}");
        scene.all_gone().await;
    }
}

#[tokio::test]
async fn a_warning_beside_a_good_answer_is_a_warning() {
    let scene = Scene::new(&format!("echo careful >&2; echo '{ANSWER}'"));
    assert_eq!(scene.start(LONG).await.unwrap().stderr, "careful");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let scene = Scene::new("echo $$ > $T/pid; cat /dev/zero & exec cat /dev/zero");
    let error = scene.fails(LONG).await;
    assert!(matches!(error, LaunchError::TooMuchOutput { .. }), "{error:?}");
    scene.all_gone().await;
}

#[tokio::test]
async fn much_or_endless_text_neither_fails_nor_blocks() {
    let scene =
        Scene::new(&format!("echo first >&2; head -c 4000000 /dev/zero >&2; echo last >&2; echo '{ANSWER}'"));
    let started = scene.start(LONG).await.unwrap();
    assert!(started.stderr.starts_with("first") && started.stderr.ends_with("last"), "{}", started.stderr);
    assert!(started.stderr.len() <= 1024);
    let scene = Scene::new("echo $$ > $T/pid; exec cat /dev/zero >&2");
    assert_eq!(scene.fails(SHORT).await.kind(), Kind::DeadlineExceeded);
    scene.all_gone().await;
}

#[tokio::test]
async fn what_never_exits_is_killed_with_its_group() {
    let scene = Scene::new("echo $$ > $T/pid; trap '' TERM; echo stuck >&2; sleep 1000 & sleep 1000");
    let error = scene.fails(SHORT).await;
    assert!(matches!(&error, LaunchError::Deadline { output, .. } if output == "stuck"), "{error:?}");
    assert!(error.announced().is_none());
    scene.all_gone().await;
}

#[tokio::test]
async fn who_holds_the_pipes_after_the_exit_is_not_waited_for() {
    let scene = Scene::new(&format!("sleep 1000 & echo $! > $T/sleeper; echo '{ANSWER}'"));
    tokio::time::timeout(LONG, scene.start(LONG * 2)).await.expect("does not wait for the sleeper").unwrap();
    let sleeper: u32 = scene.read("sleeper").trim().parse().unwrap();
    assert_eq!(scene.launched()[0].pid, sleeper, "it may be the shim, so it stays");
    // And one that floods the pipes it holds.
    let scene = Scene::new(&format!("(while :; do echo x >&2; done) & echo '{ANSWER}'"));
    tokio::time::timeout(LONG, scene.start(LONG * 2)).await.expect("does not wait for the writer").unwrap();
}

#[tokio::test]
async fn what_was_announced_before_a_failure_is_told() {
    let announced = BootstrapParams::parse(ANSWER.as_bytes()).unwrap();
    let scene = Scene::new(&format!("echo '{ANSWER}'; echo but >&2; exit 1"));
    let error = scene.fails(LONG).await;
    assert_eq!(error.to_string(), "shim start failed: but: exit status 1");
    assert_eq!(error.announced(), Some(&announced));
    let scene = Scene::new(&format!("echo $$ > $T/pid; echo '{ANSWER}'; sleep 1000"));
    let error = scene.fails(SHORT).await;
    assert_eq!((error.kind(), error.announced()), (Kind::DeadlineExceeded, Some(&announced)));
    scene.all_gone().await;
}

#[tokio::test]
async fn a_bundle_that_goes_meanwhile_is_no_reason_to_fail_here() {
    let scene = Scene::new(&format!("rm -rf \"$PWD\"; echo '{ANSWER}'"));
    scene.start(LONG).await.unwrap();
    let error = scene.fails(LONG).await;
    assert!(matches!(error, LaunchError::Spawn { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_binary_that_cannot_run_says_so() {
    let scene = Scene::new("");
    write_script(scene.binary.path(), "\u{1}no script");
    let error = scene.fails(LONG).await;
    assert!(matches!(error, LaunchError::Spawn { .. }), "{error:?}");
    fs::remove_file(scene.binary.path()).unwrap();
    assert_eq!(scene.fails(LONG).await.kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_dropped_call_leaves_no_process() {
    let scene = Scene::new("echo $$ > $T/pid; sleep 1000 & sleep 1000");
    {
        let mut call = Box::pin(scene.start(LONG));
        let pid = scene.file("pid");
        let written = eventually("it runs", || fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')));
        tokio::select! {
            result = &mut call => panic!("{result:?}"),
            () = written => {}
        }
    }
    scene.all_gone().await;
}

#[tokio::test]
async fn input_that_nobody_reads_does_no_harm() {
    let scene = Scene::new(&format!("echo '{ANSWER}'"));
    let options = Any::new("test.Options", vec![b'x'; 1 << 20]);
    let memory = DialectMemory::new();
    scene.binary.start(&scene.cx, &scene.bundle, Some(&options), &memory, LONG).await.unwrap();
}

#[tokio::test]
async fn no_descriptor_of_ours_is_inherited() {
    let scene = Scene::new(&format!("ls -l /proc/self/fd > $T/fds; echo '{ANSWER}'"));
    let logs = Logs::new().unwrap();
    let _held = (
        logs.open(&scene.bundle).unwrap(),
        scene.bundle.handle().unwrap(),
        Pidfd::open(&crate::ProcessIdentity::of(std::process::id()).unwrap().unwrap()).unwrap(),
    );
    scene.start(LONG).await.unwrap();
    let fds = scene.read("fds");
    for ours in ["/log", "pidfd", "/state/", "eventpoll", "socket"] {
        assert!(!fds.contains(ours), "{ours} in {fds}");
    }
}

#[tokio::test]
async fn delete_answers_are_read_with_care() {
    let scene = Scene::new("cat $T/answer");
    let at = Some(protobuf::Timestamp { seconds: 1_700_000_000, nanos: 5 });
    let never = Some(protobuf::Timestamp { seconds: time::GO_ZERO_SECONDS, nanos: 0 });
    let some_time = time::from_parts(1_700_000_000, 5);
    for (pid, exited_at, expected_pid, expected_at) in
        [(42, at, Some(42), some_time), (u32::MAX, at, None, some_time), (0, never, None, None)]
    {
        let answer = DeleteResponse { pid, exit_status: 137, exited_at };
        fs::write(scene.file("answer"), answer.encode_to_vec()).unwrap();
        let reaped = scene.binary.delete(&scene.cx, &scene.bundle, LONG).await.unwrap();
        assert_eq!(reaped, ReapAnswer { pid: expected_pid, status: 137, at: expected_at });
    }
    fs::write(scene.file("answer"), "").unwrap();
    let reaped = scene.binary.delete(&scene.cx, &scene.bundle, LONG).await.unwrap();
    assert_eq!(reaped, ReapAnswer { pid: None, status: Exit::UNKNOWN_STATUS, at: None });
    fs::write(scene.file("answer"), "garbage").unwrap();
    let error = scene.binary.delete(&scene.cx, &scene.bundle, LONG).await.unwrap_err();
    assert!(matches!(error, LaunchError::Garbage { len: 7, .. }), "{error:?}");
}

#[tokio::test]
async fn delete_is_held_to_its_deadline() {
    let scene = Scene::new("echo $$ > $T/pid; sleep 1000 & sleep 1000");
    let error = scene.binary.delete(&scene.cx, &scene.bundle, SHORT).await.unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded);
    scene.all_gone().await;
}

#[tokio::test]
async fn info_is_read_and_its_absence_understood() {
    let scene = Scene::new("[ \"$*\" = -info ] || exit 1; cat > $T/in; cat $T/answer");
    let version = Some(types::RuntimeVersion { version: "1.0".into(), revision: "abc".into() });
    let info = types::RuntimeInfo { name: "test".into(), version, ..types::RuntimeInfo::default() };
    fs::write(scene.file("answer"), info.encode_to_vec()).unwrap();
    let options = Any::new("test.Options", "x");
    let told = scene.binary.info(Some(&options), LONG).await.unwrap();
    let expected = RuntimeInfo {
        name: "test".into(),
        version: "1.0".into(),
        revision: "abc".into(),
        ..RuntimeInfo::default()
    };
    assert_eq!(told, expected);
    let given = protobuf::Any::decode(fs::read(scene.file("in")).unwrap().as_slice()).unwrap();
    assert_eq!((given.type_url.as_str(), given.value.as_ref()), ("test.Options", b"x".as_slice()));

    let scene = Scene::new("echo 'flag provided but not defined: -info' >&2; exit 2");
    let error = scene.binary.info(None, LONG).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotImplemented, "{error:?}");
    let scene = Scene::new("exec sleep 1000");
    assert_eq!(scene.binary.info(None, SHORT).await.unwrap_err().kind(), Kind::DeadlineExceeded);
}
