// SPDX-License-Identifier: Apache-2.0
//! No message brings the server down: every method of every service gets nothing, parts of what it expects, noise, and
//! as much as fits. Each call must be answered with a status, and none of them may panic.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use shimkeeper_api::{Api, Observer};
use tonic::Code;
use tonic::codegen::Service as _;

use crate::bench::{Bench, PATIENCE};

/// Random messages per method.
const ROUNDS: u64 = 24;

/// What a call that panicked says.
const BUG: &str = "bug%20in%20shimkeeper";

/// Counts calls that came to an end.
#[derive(Default)]
struct Count(AtomicUsize);

impl Observer for Count {
    fn called(&self, method: &str, _code: Code, _took: Duration) {
        assert!(method.starts_with('/'), "{method}");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A small generator of numbers that are the same at every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn protos() -> FileDescriptorSet {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let root = shimkeeper_protogen::proto_dir(workspace);
    let files = shimkeeper_protogen::proto_files(&root).unwrap();
    shimkeeper_protogen::descriptors(&[root], files).unwrap()
}

/// The message of this full name (with a leading dot).
fn message<'a>(set: &'a FileDescriptorSet, name: &str) -> &'a DescriptorProto {
    fn within<'a>(scope: &str, messages: &'a [DescriptorProto], name: &str) -> Option<&'a DescriptorProto> {
        messages.iter().find_map(|message| {
            let full = format!("{scope}.{}", message.name());
            if full == name { Some(message) } else { within(&full, &message.nested_type, name) }
        })
    }
    let found =
        set.file.iter().find_map(|file| within(&format!(".{}", file.package()), &file.message_type, name));
    found.unwrap_or_else(|| panic!("no message {name}"))
}

/// Some of the fields of a message, with values that may or may not make sense.
fn partial(set: &FileDescriptorSet, of: &DescriptorProto, dice: &mut Dice, depth: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in &of.field {
        if dice.roll(3) != 0 {
            value(set, field, dice, depth, &mut bytes);
        }
    }
    bytes
}

fn value(
    set: &FileDescriptorSet,
    field: &FieldDescriptorProto,
    dice: &mut Dice,
    depth: u32,
    to: &mut Vec<u8>,
) {
    let number = u64::try_from(field.number()).unwrap() << 3;
    let chunk = |payload: &[u8], to: &mut Vec<u8>| {
        prost::encoding::encode_varint(number | 2, to);
        prost::encoding::encode_varint(payload.len() as u64, to);
        to.extend_from_slice(payload);
    };
    match field.r#type() {
        Type::Message if depth > 3 => {}
        Type::Message => {
            let inner = partial(set, message(set, field.type_name()), dice, depth + 1);
            chunk(&inner, to);
        }
        Type::String | Type::Bytes => {
            const TEXTS: [&str; 10] = [
                "",
                "c1",
                "c2",
                "../../etc",
                "/tasks/exit",
                "ns",
                "id==c1",
                "labels.x",
                "\u{0}\u{1b}[2J",
                "types.containerd.io/opencontainers/runtime-spec/1/Spec",
            ];
            chunk(TEXTS[usize::try_from(dice.roll(10)).unwrap()].as_bytes(), to);
        }
        _ => {
            const NUMBERS: [u64; 6] = [0, 1, 9, 64, 1 << 31, u64::MAX];
            prost::encoding::encode_varint(number, to);
            prost::encoding::encode_varint(NUMBERS[usize::try_from(dice.roll(6)).unwrap()], to);
        }
    }
}

fn noise(dice: &mut Dice) -> Vec<u8> {
    (0..dice.roll(200)).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect()
}

/// A message as gRPC sends it.
fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// Calls a method with this frame. Answers the code; `None` if it goes on, as a stream may.
async fn call(api: &Api, path: &str, frame: Bytes, streams: bool) -> Option<Code> {
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("containerd-namespace", "ns")
        // A wait for something that lives is right to wait.
        .header("grpc-timeout", "20S")
        .body(Full::<Bytes>::new(frame))
        .unwrap();
    let response = tokio::time::timeout(PATIENCE, api.clone().call(request)).await;
    let response = response.unwrap_or_else(|_| panic!("{path} does not answer")).unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let code = |headers: &http::HeaderMap| {
        let code = Code::from_bytes(headers.get("grpc-status")?.as_bytes());
        let text = headers.get("grpc-message").map_or("", |text| text.to_str().unwrap());
        assert!(!text.contains(BUG), "{path}: {text}");
        Some(code)
    };
    if let Some(code) = code(response.headers()) {
        return Some(code);
    }
    if streams {
        return None;
    }
    let body = response.into_body().collect().await.unwrap();
    Some(body.trailers().and_then(code).unwrap_or_else(|| panic!("{path} has no status")))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_brings_the_server_down() {
    let count = Arc::new(Count::default());
    let bench = Bench::observed(count.clone()).await;
    bench.running("c1", &["sleep"]).await;
    let set = protos();
    let services: Vec<_> = bench.api.names().collect();
    assert!(services.len() > 8, "{services:?}");
    let mut dice = Dice(1);
    let mut calls = 0;
    for file in &set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            if !services.contains(&name.as_str()) {
                continue;
            }
            for method in &service.method {
                let path = format!("/{name}/{}", method.name());
                let streams = method.server_streaming();
                let input = message(&set, method.input_type());
                call(&bench.api, &path, framed(b""), streams).await;
                for _ in 0..ROUNDS {
                    call(&bench.api, &path, framed(&partial(&set, input, &mut dice, 0)), streams).await;
                    call(&bench.api, &path, framed(&noise(&mut dice)), streams).await;
                    calls += 2;
                }
            }
        }
    }
    assert!(calls > 500, "{calls}");
    assert!(count.0.load(Ordering::Relaxed) >= calls, "every call is told to an observer");
    bench.sweep().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_have_16_mib_and_no_more() {
    let bench = Bench::new().await;
    let set = protos();
    let services: Vec<_> = bench.api.names().collect();
    // One long text in the first field, whatever that is meant for.
    let len = shimkeeper_api::MAX_MESSAGE_BYTES - 5;
    let mut message = vec![0x0a];
    prost::encoding::encode_varint(len as u64, &mut message);
    message.resize(message.len() + len, b'a');
    assert_eq!(message.len(), shimkeeper_api::MAX_MESSAGE_BYTES);
    let largest = framed(&message);
    message.push(0);
    let too_large = framed(&message);
    for file in &set.file {
        for service in file
            .service
            .iter()
            .filter(|service| services.contains(&format!("{}.{}", file.package(), service.name()).as_str()))
        {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let streams = method.server_streaming();
                call(&bench.api, &path, largest.clone(), streams).await;
                let code = call(&bench.api, &path, too_large.clone(), streams).await;
                assert_eq!(code, Some(Code::OutOfRange), "{path}");
            }
        }
    }
}
