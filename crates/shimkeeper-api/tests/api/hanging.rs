// SPDX-License-Identifier: Apache-2.0
//! A store whose disk hangs. All of it is on one thread, as in a daemon whose state is in memory: whoever waits for the
//! disk on that thread has everybody wait.

use std::pin::pin;
use std::time::Duration;

use shimkeeper_proto::containerd::services::containers::v1 as wire;
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_testkit::Script;
use tonic::{Code, Request, Status};

use crate::bench::{Bench, SPEC, ask, container};

const SHORT: Duration = Duration::from_millis(300);

/// Has a record that is in memory, and one that is too large for it.
async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.record(container("small", &["sleep"], &Script::new())).await;
    let spec = Any { type_url: SPEC.into(), value: vec![b' '; 1 << 20].into() };
    bench.record(wire::Container { id: "large".into(), spec: Some(spec), ..honest() }).await;
    bench
}

fn honest() -> wire::Container {
    container("c", &["sleep"], &Script::new())
}

async fn get(bench: &Bench, id: &str, patience: Option<Duration>) -> Result<wire::Container, Status> {
    let mut request: Request<_> = ask(wire::GetContainerRequest { id: id.into() });
    if let Some(patience) = patience {
        request.set_timeout(patience);
    }
    Ok(bench.containers().get(request).await?.into_inner().container.unwrap())
}

async fn list(bench: &Bench, patience: Duration) -> Result<Vec<wire::Container>, Status> {
    let mut request: Request<_> = ask(wire::ListContainersRequest { filters: Vec::new() });
    request.set_timeout(patience);
    Ok(bench.containers().list(request).await?.into_inner().containers)
}

#[tokio::test]
async fn a_disk_that_hangs_stops_only_those_who_need_it_and_these_not_for_ever() {
    let bench = bench().await;
    let hanging = bench.store.hang();
    let mut stuck = pin!(get(&bench, "large", None));
    assert!(tokio::time::timeout(SHORT, &mut stuck).await.is_err(), "it waits for the disk");

    // Whoever has a deadline has it, though others wait before.
    let late = get(&bench, "large", Some(SHORT)).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    let late = list(&bench, SHORT).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");

    // What is in memory is told, and what is not there is not looked for.
    assert_eq!(get(&bench, "small", Some(SHORT)).await.unwrap().id, "small");
    assert_eq!(get(&bench, "none", Some(SHORT)).await.unwrap_err().code(), Code::NotFound);
    bench.create("small").await.unwrap();
    bench.start("small", "").await.unwrap();
    bench.end("small").await;

    tokio::time::pause();
    let passing = async {
        loop {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    };
    let late = tokio::select! {
        answer = stuck => answer.unwrap_err(),
        () = passing => unreachable!("time does not end"),
    };
    tokio::time::resume();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    assert!(late.message().contains("could not be read within 10s: does its disk hang?"), "{late}");

    // And all is well when the disk is.
    drop(hanging);
    assert_eq!(get(&bench, "large", None).await.unwrap().spec.unwrap().value.len(), 1 << 20);
    assert_eq!(list(&bench, Duration::from_secs(10)).await.unwrap().len(), 1);
}
