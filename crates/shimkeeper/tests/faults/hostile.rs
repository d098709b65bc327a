// SPDX-License-Identifier: Apache-2.0
//! A shim that answers nonsense, and one that lies: about who it is, about whose process its container is, about
//! other tasks. It hurts itself at most.

use std::process::{Child, Command};

use prost::Message as _;
use shimkeeper::events::{Envelope, TaskEvent};
use shimkeeper::{HealthState, Kind, ProcessKey, Status};
use shimkeeper_proto::containerd::events::{TaskDelete, TaskExit};
use shimkeeper_proto::containerd::services::events::ttrpc::v1::{EVENTS_SERVICE, ForwardRequest};
use shimkeeper_proto::containerd::task::v3::{ConnectResponse, CreateTaskResponse, StartResponse};
use shimkeeper_proto::containerd::types as wire;
use shimkeeper_proto::google::protobuf::Empty;
use shimkeeper_proto::pack;
use shimkeeper_testkit::{Act, Emission, LogText, Method, Script, StartStep, When, stop_process};
use shimkeeper_ttrpc::{CallOptions, Client, ClientLimits};
use tokio::net::UnixStream;

use crate::bench::{Bench, PATIENCE, SHORT, chain, end, exec_request, kill_shim, lives, until};
use crate::oracle;

/// A process that is nobody's business.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn lives(&self) -> bool {
        lives(self.0.id())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A ttrpc answer on this stream: `Response { payload = 2 }` in a frame.
pub(crate) fn answer(stream: u32, message: &impl prost::Message) -> Act {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Response {
        #[prost(bytes = "vec", tag = "2")]
        payload: Vec<u8>,
    }
    let payload = Response { payload: message.encode_to_vec() }.encode_to_vec();
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(stream.to_be_bytes());
    frame.extend([2, 0]);
    frame.extend(payload);
    Act::Raw(frame.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_on_the_wire_costs_one_connection() {
    let bench = Bench::with(|d| d.state = SHORT).await;
    let endless = [0xff_u8; 10];
    for act in [
        Act::Raw(endless[..].into()),
        Act::Raw(vec![0x5a; 4096].into()),
        Act::Oversize,
        Act::WrongStream,
        Act::GarbagePb,
        Act::CloseThenAcceptNew,
        Act::StopReading,
    ] {
        let script = Script::new().on_nth(Method::State, 1, When::Before, act.clone());
        let task = bench.create("one", &["sleep"], &script).await.unwrap();
        let pid = task.start().await.unwrap();
        let error = task.state().await.unwrap_err();
        let expected = [Kind::Unavailable, Kind::DataLoss, Kind::DeadlineExceeded, Kind::ResourceExhausted];
        assert!(expected.contains(&error.kind()), "{act:?}: {:?} {}", error.kind(), chain(&error));
        oracle::refusal(&error);
        assert!(lives(pid), "{act:?}");
        // Connected again by itself, except where the shim only became deaf on a connection that is open still.
        if act == Act::StopReading {
            kill_shim(&task);
            bench.gone(&task).await;
        } else {
            let again = async {
                while task.state().await.is_err() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, again).await.unwrap_or_else(|_| panic!("{act:?}"));
            end(&task).await;
        }
        bench.is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_twice_is_taken_once() {
    let bench = Bench::new().await;
    let script = Script::new().on(Method::State, When::Before, Act::AnswerTwice);
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    task.start().await.unwrap();
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    // The second may close the connection; the task stays.
    let killed = async {
        while task.kill(9, true).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, killed).await.unwrap();
    task.wait().await.unwrap();
    let deleted = async {
        while task.delete().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, deleted).await.unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_hangs_up_for_good_is_kept_until_it_is_dead() {
    let bench = Bench::new().await;
    let script = Script::new().on_nth(Method::State, 1, When::Before, Act::Close);
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    let pid = task.start().await.unwrap();
    assert_eq!(task.state().await.unwrap_err().kind(), Kind::Unavailable);
    let error = task.kill(15, true).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{}", chain(&error));
    assert!(error.hint().is_some());
    assert_eq!(task.delete().await.unwrap_err().kind(), Kind::Unavailable);
    assert!(lives(pid), "nothing is destroyed on doubt");
    assert_eq!(bench.manager.list().len(), 1);
    kill_shim(&task);
    assert_eq!(task.wait().await.unwrap().pid, pid);
    bench.gone(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_at_once_is_no_shim() {
    let bench = Bench::with(|d| d.dial = SHORT * 2).await;
    for (act, kinds) in [
        (Act::Raw(vec![0xff; 64].into()), &[Kind::Unavailable, Kind::DataLoss][..]),
        (Act::CloseThenAcceptNew, &[Kind::Unavailable]),
        (Act::StopReading, &[Kind::DeadlineExceeded]),
    ] {
        let error = bench.create("one", &["sleep"], &Script::new().on_accept(act.clone())).await.unwrap_err();
        assert!(kinds.contains(&error.kind()), "{act:?}: {}", chain(&error));
        oracle::refusal(&error);
        assert!(error.hint().is_some(), "{act:?}");
        bench.is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_says_it_is_somebody_else_hurts_nobody() {
    let bench = Bench::with(|d| d.shutdown = SHORT).await;
    let bystander = Bystander::new();
    let claim = ConnectResponse { shim_pid: bystander.0.id(), ..ConnectResponse::default() };
    // The first call of a connection has stream 1.
    let script = Script::new().on_nth(Method::Connect, 1, When::Before, answer(1, &claim)).on(
        Method::Shutdown,
        When::Before,
        Act::Hang,
    );
    let task = bench.create("one", &["exit", "3"], &script).await.unwrap();
    assert_ne!(task.shim_pid(), Some(bystander.0.id()));
    task.start().await.unwrap();
    task.wait().await.unwrap();
    // It does not go by itself, so it is sent signals.
    assert_eq!(task.delete().await.unwrap().status, 3);
    assert!(bystander.lives());
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_says_somebody_else_is_its_init_hurts_nobody() {
    let bench = Bench::new().await;
    let bystander = Bystander::new();
    let claim = CreateTaskResponse { pid: bystander.0.id() };
    let script = Script::new().on(Method::Create, When::After, answer(3, &claim));
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    assert_eq!(task.pid(), Some(bystander.0.id()), "it is what the shim says");
    kill_shim(&task);
    task.wait().await.unwrap();
    bench.gone_or_unheard(&task).await;
    assert!(bystander.lives());
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_says_somebody_else_is_an_exec_hurts_nobody() {
    let bench = Bench::with(|d| (d.state, d.kill) = (SHORT, SHORT)).await;
    let bystander = Bystander::new();
    let claim = StartResponse { pid: bystander.0.id() };
    // After Connect, Create, Wait, Start and Exec.
    let script = Script::new().on_nth(Method::Start, 2, When::After, answer(11, &claim));
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    task.start().await.unwrap();
    let process = task.exec(exec_request("x", &["sleep"])).await.unwrap();
    assert_eq!(process.start().await.unwrap(), bystander.0.id(), "it is what the shim says");
    stop_process(task.shim_pid().unwrap());
    process.kill(9).await.unwrap_err();
    assert!(bystander.lives());
    // Nor is its end the exec's.
    drop(bystander);
    until(|| task.health().state == HealthState::Stuck).await;
    let error = process.within(SHORT).wait().await.unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded, "{}", chain(&error));
    kill_shim(&task);
    task.wait().await.unwrap();
    bench.gone(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_speaks_for_its_own_tasks_only() {
    let bench = Bench::new().await;
    let victim = bench.honest("victim", &["sleep"]).await;
    let pid = victim.start().await.unwrap();
    let lie = |namespace: &str| {
        let exit = TaskExit {
            container_id: "victim".into(),
            id: "victim".into(),
            pid,
            exit_status: 1,
            exited_at: None,
        };
        Act::Emit(Emission {
            namespace: namespace.into(),
            topic: "/tasks/exit".into(),
            type_url: "containerd.events.TaskExit".into(),
            value: exit.encode_to_vec().into(),
        })
    };
    let script = Script::new()
        .on(Method::Kill, When::Before, lie("ns"))
        .on(Method::Kill, When::Before, lie("../ns"))
        .on(Method::Kill, When::Before, lie("other"));
    let liar = bench.create("liar", &["sleep"], &script).await.unwrap();
    liar.start().await.unwrap();
    // Its events come in order, so when its own exit is here, what it said before has been looked at.
    end(&liar).await;
    let told = bench.events();
    let lie = told.iter().find(|seen| seen.key == *victim.key() && seen.is_exit_of(&ProcessKey::Init));
    assert_eq!(lie, None);
    assert_eq!(victim.state().await.unwrap().status, Status::Running);
    end(&victim).await;
    bench.is_clean();
}

/// Tells of an event as shims do, as a process that is none.
async fn tell_as_a_stranger(bench: &Bench, event: &ForwardRequest) {
    let socket = UnixStream::connect(bench.dirs.state().join("shimkeeper.sock.ttrpc")).await.unwrap();
    let (stranger, driver) = Client::new(socket, ClientLimits::default());
    let options = CallOptions::default();
    tokio::select! {
        answer = stranger.unary::<_, Empty>(EVENTS_SERVICE, "Forward", event, &options) => drop(answer.unwrap()),
        end = driver.run() => panic!("{end:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_told_by_nobody_but_its_shim() {
    let bench = Bench::new().await;
    let victim = bench.honest("victim", &["sleep"]).await;
    let pid = victim.start().await.unwrap();
    let id = || "victim".to_owned();
    let exit = TaskExit { container_id: id(), id: id(), pid, exit_status: 1, exited_at: None };
    let delete = TaskDelete { container_id: id(), pid, exit_status: 1, ..TaskDelete::default() };
    for (topic, event) in [("/tasks/exit", pack(&exit)), ("/tasks/delete", pack(&delete))] {
        let namespace = victim.key().namespace.to_string();
        let envelope = wire::Envelope { timestamp: None, namespace, topic: topic.into(), event: Some(event) };
        let lie = ForwardRequest { envelope: Some(envelope) };
        tell_as_a_stranger(&bench, &lie).await;
        bench.manager.publish(Envelope::try_from(lie).unwrap()).await;
    }
    let told = bench.events();
    assert!(!told.iter().any(|seen| seen.is_exit_of(&ProcessKey::Init)), "{told:#?}");
    assert_eq!(victim.exit(), None);
    end(&victim).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_a_shim_are_cut_and_escaped() {
    let bench = Bench::new().await;
    let text = "\u{1b}[2Jä\n".repeat(20_000);
    let script = Script::new().on(Method::Create, When::Before, Act::err(13, text.clone()));
    let error = bench.create("one", &["sleep"], &script).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
    oracle::refusal(&error);
    let script = Script::new().start([StartStep::Stderr(text), StartStep::Exit(1)]);
    bench.refused(&script, Kind::FailedPrecondition, "exit status 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_end_stops_nobody() {
    let bench = Bench::new().await;
    let script = Script::new()
        .log(LogText::new("\u{1b}[31mnoise ", 100_000))
        .log(LogText::new("\nlast words\n", 1))
        .on(Method::Kill, When::Before, Act::err(13, "no"));
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    task.start().await.unwrap();
    until(|| task.shim_log().iter().any(|line| line == "last words")).await;
    let error = task.kill(9, false).await.unwrap_err();
    assert!(error.shim_log().iter().all(|line| !line.chars().any(char::is_control)));
    assert!(error.shim_log().iter().map(String::len).sum::<usize>() <= 64 << 10);
    kill_shim(&task);
    bench.gone(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_none_is_dropped() {
    let bench = Bench::new().await;
    let nonsense = |topic: &str, type_url: &str| {
        let value = vec![0xff; 16].into();
        Act::Emit(Emission { namespace: "ns".into(), topic: topic.into(), type_url: type_url.into(), value })
    };
    let script = Script::new()
        .on(Method::Start, When::Before, nonsense("/tasks/exit", "containerd.events.TaskExit"))
        .on(Method::Start, When::Before, nonsense("/tasks/exit", "something.Else"))
        .on(Method::Start, When::Before, nonsense("not a topic", "x"))
        .on(Method::Start, When::Before, nonsense("", ""));
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    task.start().await.unwrap();
    bench.event(|seen| matches!(seen.event, TaskEvent::Start { .. })).await;
    end(&task).await;
    bench.is_clean();
}
