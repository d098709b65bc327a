// SPDX-License-Identifier: Apache-2.0
//! A caller's trace goes with every call that is made to a shim for it, and with no other.

use shimkeeper::{TraceContext, traced};
use shimkeeper_testkit::{Answer, Method, Received, Script};

use crate::bench::{Bench, exec_request};

const TRACE: [(&str, &str); 3] = [
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", "vendor=1"),
    ("baggage", "user=alice"),
];

/// The trace that came with a call.
fn trace(call: &Received) -> Vec<(&str, &str)> {
    let pairs = call.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    pairs.filter(|(key, _)| TRACE.iter().any(|(ours, _)| ours == key)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_traces_arrives_at_the_shim() {
    for protocol in ["ttrpc", "grpc"] {
        let bench = Bench::new().await;
        let file = bench.dirs.path().join("calls");
        let answer = Answer { protocol: protocol.into(), ..Answer::default() };
        let script = Script::new().answer(answer).calls(&file);
        let context = TraceContext::from_pairs(TRACE);
        let task = traced(context.clone(), bench.create("one", &["sleep"], &script)).await.unwrap();
        task.start().await.unwrap();
        let exec = traced(context.clone(), task.exec(exec_request("x", &["sleep"]))).await.unwrap();
        exec.start().await.unwrap();
        traced(context.clone(), task.state()).await.unwrap();
        task.kill(9, true).await.unwrap();
        exec.wait().await.unwrap();
        task.wait().await.unwrap();
        exec.delete().await.unwrap();
        traced(context, task.delete()).await.unwrap();

        let calls = Received::read_all(&file).unwrap();
        for method in [Method::Connect, Method::Create, Method::Exec, Method::State] {
            let call = calls.iter().find(|call| call.method == method).unwrap();
            assert_eq!(trace(call), TRACE, "{protocol}: {call:?}");
        }
        for method in [Method::Start, Method::Kill, Method::Wait] {
            for call in calls.iter().filter(|call| call.method == method) {
                assert_eq!(trace(call), [], "{protocol}: nobody's trace: {call:?}");
            }
        }
        let deletes: Vec<_> = calls.iter().filter(|call| call.method == Method::Delete).collect();
        assert_eq!(deletes.iter().map(|call| call.exec_id.as_str()).collect::<Vec<_>>(), ["x", ""]);
        assert_eq!((trace(deletes[0]), trace(deletes[1])), (vec![], TRACE.to_vec()), "{protocol}");
    }
}
