// SPDX-License-Identifier: Apache-2.0
//! Every form of answer, and every way not to be one.

use proptest::prelude::*;

use super::*;

fn protobuf(version: i32, address: &str, protocol: &str) -> Vec<u8> {
    let (address, protocol) = (address.into(), protocol.into());
    BootstrapResult { version, address, protocol, ..BootstrapResult::default() }.encode_to_vec()
}

fn unix(api: TaskApi, path: &str) -> BootstrapParams {
    BootstrapParams { api, address: Address::unix(path) }
}

#[test]
fn the_three_forms_are_told_apart() {
    let json = br#"{"version":3,"address":"unix:///run/a","protocol":"ttrpc","capabilities":[1]}"#;
    let rows: [(&[u8], BootstrapParams); 6] = [
        (json, unix(TaskApi::TtrpcV3, "/run/a")),
        (b"unix:///run/a\n", unix(TaskApi::TtrpcV2, "/run/a")),
        (
            b"\n {\"version\":2,\"address\":\"unix:///run/a\",\"protocol\":\"TTRPC\"}\n",
            unix(TaskApi::TtrpcV2, "/run/a"),
        ),
        (&protobuf(3, "unix:///run/a", "ttrpc"), unix(TaskApi::TtrpcV3, "/run/a")),
        (&protobuf(3, "/run/a", "grpc"), unix(TaskApi::GrpcV3, "/run/a")),
        (&protobuf(3, "unix:///run/a", "GRPC"), unix(TaskApi::GrpcV3, "/run/a")),
    ];
    for (bytes, expected) in rows {
        assert_eq!(BootstrapParams::parse(bytes).unwrap(), expected, "{bytes:?}");
    }
    let named = BootstrapParams::parse(b"/containerd-shim/0123.sock").unwrap();
    assert_eq!(named.address, Address::Abstract("/containerd-shim/0123.sock".into()));
}

#[test]
fn what_is_no_answer_says_why() {
    use BootstrapError as E;
    let parse = BootstrapParams::parse;
    assert!(matches!(parse(b""), Err(E::Empty)));
    assert!(matches!(parse(b" \n\t"), Err(E::Empty)));
    assert!(matches!(parse(b"hello"), Err(E::Garbage { len: 5, .. })));
    assert!(matches!(parse(b"warning: see https://x\nunix:///run/a"), Err(E::Garbage { .. })));
    assert!(matches!(parse(&[0xff; 40]), Err(E::Garbage { len: 40, .. })));
    assert!(matches!(parse(b"{\"version\":3"), Err(E::Json { .. })));
    assert!(matches!(parse(b"{} {}"), Err(E::Json { .. })));
    assert!(matches!(parse(b"tcp://1.2.3.4:5"), Err(E::Address { source: AddressError::Scheme })));
    let no_address = br#"{"version":3,"protocol":"ttrpc"}"#;
    assert!(matches!(parse(no_address), Err(E::Address { source: AddressError::Empty })));
    let no_protocol = br#"{"version":3,"address":"unix:///a"}"#;
    assert!(matches!(parse(no_protocol), Err(E::Api { source: ApiError::Protocol { .. } })));
    let http = br#"{"version":3,"address":"unix:///a","protocol":"http"}"#;
    assert!(matches!(parse(http), Err(E::Api { source: ApiError::Protocol { .. } })));
}

#[test]
fn a_version_from_the_future_is_not_implemented_in_either_form() {
    let json = br#"{"version":4,"address":"unix:///a","protocol":"ttrpc"}"#.to_vec();
    for bytes in [json, protobuf(4, "unix:///a", "ttrpc"), protobuf(2, "/a", "grpc")] {
        assert_eq!(BootstrapParams::parse(&bytes).unwrap_err().kind(), Kind::NotImplemented);
    }
}

#[test]
fn errors_stay_short_and_printable() {
    let protocol = format!(r#"{{"version":3,"protocol":"{}"}}"#, "\\u001b".repeat(5000));
    for bytes in [protocol.into_bytes(), vec![0x1b; 60_000], vec![b'['; 60_000]] {
        let error = BootstrapParams::parse(&bytes).unwrap_err();
        let mut text = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            text += &source.to_string();
        }
        assert!(text.len() < 1024 && !text.chars().any(char::is_control), "{text:?}");
    }
}

/// What no caller may ever see.
fn assert_dialable(params: &BootstrapParams) {
    let announced = params.address.announced(params.api);
    assert!(!announced.is_empty() && !announced.chars().any(char::is_control), "{params:?}");
    assert_eq!(Address::parse(&announced, params.api).as_ref(), Ok(&params.address), "reads back");
    if let Some(path) = params.address.path() {
        assert!(path.is_absolute());
    }
}

proptest! {
    #[test]
    fn no_input_panics_or_yields_an_address_that_cannot_be(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(params) = BootstrapParams::parse(&bytes) {
            assert_dialable(&params);
        }
    }

    #[test]
    fn no_message_panics_or_yields_an_address_that_cannot_be(
        version in -1i32..6, address in "((unix|vsock|hvsock|x)://)?[/a-z0-9:\\n]{0,130}", protocol in "(ttrpc|grpc|GRPC|)",
    ) {
        if let Ok(params) = BootstrapParams::parse(&protobuf(version, &address, &protocol)) {
            assert_dialable(&params);
        }
        let json = serde_json::json!({"version": version, "address": address, "protocol": protocol}).to_string();
        if let Ok(params) = BootstrapParams::parse(json.as_bytes()) {
            assert_dialable(&params);
        }
        if let Ok(params) = BootstrapParams::parse(address.as_bytes()) {
            assert_dialable(&params);
        }
    }
}
