// SPDX-License-Identifier: Apache-2.0
//! The bodies of the fuzz targets over input that gets further than noise does.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use shimkeeper_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use shimkeeper_proto::containerd::types::Envelope;
use shimkeeper_proto::google::protobuf::{Any, Timestamp};

#[expect(unreachable_pub, reason = "the file is a public module of the fuzz crate")]
#[path = "../../../../fuzz/src/events.rs"]
mod bodies;

/// Texts that are mostly filters: words of the language in any order.
fn nearly_filters() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-z_0-9]{1,4}",
        Just("==".to_owned()),
        Just("!=".to_owned()),
        Just("~=".to_owned()),
        Just(",".to_owned()),
        Just(".".to_owned()),
        Just(" ".to_owned()),
        Just(r#""a \x41\n""#.to_owned()),
        Just("/[a-z]+/".to_owned()),
        Just("|x|".to_owned()),
        Just("\"".to_owned()),
        ".{0,2}",
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

/// Requests that are mostly good.
fn nearly_requests() -> impl Strategy<Value = ForwardRequest> {
    let topic = prop_oneof![Just("/tasks/exit".to_owned()), Just("/tasks/paused".to_owned()), ".{0,8}"];
    let kind = prop_oneof![
        Just("containerd.events.TaskExit".to_owned()),
        Just("type.googleapis.com/containerd.events.TaskPaused".to_owned()),
        ".{0,8}",
    ];
    let value = prop::collection::vec(any::<u8>(), 0..32);
    let event = prop::option::weighted(0.9, (kind, value));
    let timestamp = prop::option::of((any::<i64>(), any::<i32>()));
    prop::option::weighted(0.9, ("[a-z]{0,3}", topic, event, timestamp)).prop_map(|parts| ForwardRequest {
        envelope: parts.map(|(namespace, topic, event, timestamp)| Envelope {
            namespace,
            topic,
            event: event.map(|(type_url, value)| Any { type_url, value: Bytes::from(value) }),
            timestamp: timestamp.map(|(seconds, nanos)| Timestamp { seconds, nanos }),
        }),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn filters(text in prop_oneof![any::<String>(), nearly_filters()]) {
        bodies::filter(text.as_bytes());
    }

    #[test]
    fn envelopes(request in nearly_requests(), noise in prop::collection::vec(any::<u8>(), 0..64)) {
        bodies::envelope(&request.encode_to_vec());
        bodies::envelope(&noise);
    }
}
