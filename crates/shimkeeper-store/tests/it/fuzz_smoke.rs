// SPDX-License-Identifier: Apache-2.0
//! The bodies of the fuzz targets over input that gets further than noise does. Files of real containerds, damaged,
//! go through the first of them in the tests that start these.

use proptest::prelude::*;

#[expect(unreachable_pub, reason = "the file is a public module of the fuzz crate")]
#[path = "../../../../fuzz/src/store.rs"]
mod bodies;

/// Texts that are mostly exports, with moments and payloads of all kinds.
fn nearly_exports() -> impl Strategy<Value = String> {
    let moment = prop_oneof![
        "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-9]{2}:00:00(\\.[0-9]{1,10})?(Z|[+-][0-9]{2}:00)",
        ".{0,4}"
    ];
    let payload = prop_oneof![
        "[A-Za-z0-9+/]{0,8}={0,2}".prop_map(|text| serde_json::json!({ "type_url": "t", "base64": text })),
        ".{0,4}".prop_map(|text| serde_json::json!({ "type_url": text.clone(), "text": text })),
        Just(serde_json::json!({ "type_url": "t" })),
    ];
    let container = (".{0,4}", moment, payload).prop_map(|(text, moment, payload)| {
        serde_json::json!({
            "namespace": text, "id": text, "runtime": { "name": text, "options": payload }, "spec": payload,
            "labels": { text.clone(): text }, "created_at": moment, "extensions": { "e": payload }
        })
    });
    let containers = prop::collection::vec(container, 0..3);
    containers.prop_map(|containers| {
        serde_json::json!({ "format": "shimkeeper-store", "version": 1, "containers": containers })
            .to_string()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exports(text in prop_oneof![any::<String>(), nearly_exports()]) {
        bodies::export(text.as_bytes());
    }

    #[test]
    fn noise(noise in prop::collection::vec(any::<u8>(), 0..256)) {
        bodies::containerd(&noise);
    }
}
