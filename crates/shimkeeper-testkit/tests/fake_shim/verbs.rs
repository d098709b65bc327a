// SPDX-License-Identifier: Apache-2.0
//! Every verb of a rule, as a client sees it, over ttrpc and over gRPC.

use std::time::Duration;

use shimkeeper_testkit::{
    Act, Emission, Events, FakeShim, LogText, Method, Script, TestDirs, TestSpec, When,
};
use tokio::io::AsyncReadExt;

use crate::client::{Client, DEADLINE, Failed, Protocol};
use crate::launch::{Bench, ID, answer_for};

const BOTH: [Protocol; 2] = [Protocol::TtrpcV3, Protocol::GrpcV3];

/// What a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Answer,
    Refusal,
    /// The call fails because of the wire.
    Broken,
    /// There is no answer.
    Silence,
}

async fn connect_within(client: &Client, limit: Duration) -> Seen {
    let request = shimkeeper_proto::containerd::task::v3::ConnectRequest { id: ID.into() };
    let answer = client
        .call_within::<_, shimkeeper_proto::containerd::task::v3::ConnectResponse>(
            limit,
            Method::Connect,
            request,
        )
        .await;
    match answer {
        Ok(_) => Seen::Answer,
        Err(Failed::Status(..)) => Seen::Refusal,
        Err(Failed::Wire(text)) if text == "no answer" => Seen::Silence,
        Err(Failed::Wire(_)) => Seen::Broken,
    }
}

#[tokio::test(start_paused = true)]
async fn each_verb_does_what_it_says() {
    use Seen::{Answer, Broken, Refusal, Silence};
    // What a client sees over ttrpc and over gRPC. They differ where HTTP/2 takes offence at an unknown stream.
    let table = [
        (Act::Ok, [Answer, Answer]),
        (Act::err(5, "no"), [Refusal, Refusal]),
        (Act::Hang, [Silence, Silence]),
        (Act::Die, [Broken, Broken]),
        (Act::Delay(50), [Answer, Answer]),
        (Act::Raw(b"\xff\xff\xff\xff\0\0\0\x01\x02\0"[..].into()), [Broken, Broken]),
        (Act::Oversize, [Broken, Broken]),
        (Act::WrongStream, [Silence, Broken]),
        (Act::GarbagePb, [Broken, Broken]),
        (Act::Close, [Broken, Broken]),
        (Act::CloseThenAcceptNew, [Broken, Broken]),
        (Act::StopReading, [Silence, Silence]),
    ];
    for (act, expected) in table {
        for (protocol, expected) in BOTH.into_iter().zip(expected) {
            for when in [When::Before, When::After] {
                let script =
                    Script::new().answer(answer_for(protocol)).on_nth(Method::Connect, 2, when, act.clone());
                let shim = FakeShim::new(script);
                let client = Client::over(shim.connect(), protocol).await;
                let limit = Duration::from_secs(5);
                assert_eq!(
                    connect_within(&client, limit).await,
                    Answer,
                    "{protocol:?} {act:?}: only the second"
                );
                assert_eq!(connect_within(&client, limit).await, expected, "{protocol:?} {act:?} {when:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_may_come_twice() {
    let script = Script::new().on_nth(Method::Connect, 1, When::After, Act::AnswerTwice);
    let shim = FakeShim::new(script);
    let client = Client::over(shim.connect(), Protocol::TtrpcV3).await;
    assert_eq!(connect_within(&client, Duration::from_secs(5)).await, Seen::Answer);
}

#[tokio::test]
async fn before_keeps_the_shim_from_doing_it_and_after_does_not() {
    for (when, created) in [(When::Before, false), (When::After, true)] {
        let shim = FakeShim::new(Script::new().on(Method::Create, when, Act::err(13, "no")));
        let client = Client::over(shim.connect(), Protocol::TtrpcV3).await;
        let refused = client.create(ID, "/nowhere".as_ref()).await;
        assert_eq!(refused, Err(Failed::Status(13, "no".into())));
        assert_eq!(client.state(ID, "").await.is_ok(), created);
        assert_eq!(shim.received()[0].method, Method::Create);
    }
}

#[tokio::test]
async fn after_closing_new_connections_are_accepted_or_not() {
    for (act, accepted) in [(Act::CloseThenAcceptNew, true), (Act::Close, false)] {
        let dirs = TestDirs::new();
        let shim = FakeShim::new(Script::new().on_nth(Method::Connect, 1, When::Before, act));
        let socket = shim.bind(&dirs.sockets()).unwrap();
        let client = Client::dial(&socket, Protocol::TtrpcV3).await;
        assert_eq!(connect_within(&client, Duration::from_secs(5)).await, Seen::Broken);
        if accepted {
            let client = Client::dial(&socket, Protocol::TtrpcV3).await;
            assert_eq!(connect_within(&client, Duration::from_secs(5)).await, Seen::Answer);
        } else {
            // A test beside this one may just be forking, and its child holds the listener until it runs another program.
            let refused = async {
                while tokio::net::UnixStream::connect(&socket).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(DEADLINE, refused).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_be_spoilt_as_soon_as_it_is_accepted() {
    let table = [
        (Act::Close, Seen::Broken),
        (Act::StopReading, Seen::Silence),
        (Act::Raw(vec![0xff; 64].into()), Seen::Broken),
    ];
    for protocol in BOTH {
        for (act, expected) in &table {
            let shim = FakeShim::new(Script::new().answer(answer_for(protocol)).on_accept(act.clone()));
            let client = Client::over(shim.connect(), protocol).await;
            assert_eq!(
                connect_within(&client, Duration::from_secs(5)).await,
                *expected,
                "{protocol:?} {act:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_test_decides_when_by_making_a_file() {
    let dirs = TestDirs::new();
    let go = dirs.path().join("go");
    let shim = FakeShim::new(Script::new().on(Method::Connect, When::Before, Act::AwaitFile(go.clone())));
    let client = Client::over(shim.connect(), Protocol::TtrpcV3).await;
    let (seen, ()) = tokio::join!(connect_within(&client, Duration::from_secs(5)), async {
        assert_eq!(shim.events(), []);
        std::fs::write(&go, "").unwrap();
    });
    assert_eq!(seen, Seen::Answer);
}

#[tokio::test]
async fn dying_is_the_death_of_the_process() {
    let bench = Bench::new(&Script::new().on(Method::Connect, When::Before, Act::Die), &["sleep"]);
    let client = bench.client().await;
    assert!(matches!(client.connect(ID).await, Err(Failed::Wire(_))));
    bench.dirs.idle(DEADLINE).await.unwrap();
    assert_eq!(
        bench.dirs.leftovers().sockets.len(),
        2,
        "a killed shim leaves its socket, beside the recorder's"
    );
}

/// The topics a twin sends for one short life.
async fn topics(events: Events) -> Vec<String> {
    let emission = Emission {
        namespace: "else".into(),
        topic: "/x".into(),
        type_url: "t".into(),
        value: Vec::new().into(),
    };
    let script = Script::new().events(events).on(Method::Shutdown, When::Before, Act::Emit(emission));
    let shim = FakeShim::new(script);
    let client = Client::over(shim.connect(), Protocol::TtrpcV3).await;
    let dirs = TestDirs::new();
    let bundle = dirs.bundle(ID, &TestSpec::fake(["exit", "3"]).to_bytes());
    client.create(ID, &bundle).await.unwrap();
    client.start(ID, "").await.unwrap();
    assert_eq!(client.wait(ID, "").await, Ok(3));
    client.delete(ID, "").await.unwrap();
    client.shutdown(ID).await;
    let last = |seen: &[shimkeeper_testkit::Recorded]| seen.last().is_some_and(|event| event.topic == "/x");
    let seen = shim.wait_for_events(Duration::from_secs(5), last).await.unwrap();
    seen.into_iter().map(|event| event.topic).collect()
}

#[tokio::test]
async fn events_come_as_the_script_says() {
    let (create, start, exit, delete) = ("/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete");
    assert_eq!(topics(Events::Normal).await, [create, start, exit, delete, "/x"]);
    assert_eq!(topics(Events::None).await, ["/x"]);
    assert_eq!(topics(Events::DuplicateExit).await, [create, start, exit, exit, delete, "/x"]);
    assert_eq!(topics(Events::Reorder).await, [create, exit, start, delete, "/x"]);
}

#[tokio::test]
async fn the_log_takes_what_it_is_told() {
    let bench = Bench::new(&Script::new().log(LogText::new("\u{1b}[31mred\n", 3)), &["sleep"]);
    let fifo = bench.bundle.join("log");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, rustix::fs::Mode::RWXU, 0).unwrap();
    let mut log = tokio::net::unix::pipe::OpenOptions::new().read_write(true).open_receiver(&fifo).unwrap();
    let client = bench.client().await;
    let mut text = [0; 27];
    log.read_exact(&mut text).await.unwrap();
    assert_eq!(text, *b"\x1b[31mred\n\x1b[31mred\n\x1b[31mred\n");
    bench.end(&client).await;
}
