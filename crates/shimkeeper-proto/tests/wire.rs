// SPDX-License-Identifier: Apache-2.0
//! Our `.proto` files say the same on the wire as containerd's own, which published packages carry.
//!
//! Field by field: name, number, type, label, oneof, explicit presence, packing; method by method: name, input,
//! output, streaming. A package may be older than ours and lack a field; that every field is in *some* package is
//! checked as well.

#[path = "wire/published.rs"]
mod published;
#[path = "wire/shape.rs"]
mod shape;

use std::collections::BTreeSet;
use std::path::Path;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    FieldDescriptorProto, FieldOptions, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
};
use shimkeeper_protogen::{descriptors, proto_dir, proto_files};

use shape::Shapes;

/// Ours, but in no published package. Checked by hand when added.
const UNPUBLISHED: &[&str] = &[
    // gRPC's own.
    "grpc.health.v1.Health",
    "grpc.health.v1.HealthCheckRequest",
    "grpc.health.v1.HealthCheckResponse",
    "grpc.health.v1.HealthCheckResponse.ServingStatus",
];

/// Published in a package we have files for, but left out, with what is nested in it, until somebody needs it.
const OMITTED: &[&str] = &[];

/// Packages of which we only want a part: their events, and what the language-neutral files of protobuf hold.
const PARTIAL: &[&str] = &["containerd.services.images.v1", "google.protobuf"];

fn ours() -> FileDescriptorSet {
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is in the workspace");
    let root = proto_dir(workspace);
    let files = proto_files(&root).expect("/proto is there");
    descriptors(&[root], files).expect("/proto compiles")
}

fn published() -> Vec<FileDescriptorSet> {
    [published::SHIM_PROTOS, published::CLIENT].into_iter().flat_map(published::files).collect()
}

/// What `theirs` has differently from `ours`, looking only at what both name.
fn contradictions(ours: &Shapes, theirs: &Shapes) -> Vec<String> {
    let mut found = Vec::new();
    for (name, theirs) in &theirs.0 {
        let Some(ours) = ours.0.get(name) else { continue };
        for (member, line) in theirs {
            if ours.get(member) != Some(line) {
                found.push(format!("{name}: {member} is {:?} here, {line:?} there", ours.get(member)));
            }
        }
    }
    found
}

/// What `ours` has and none of `theirs` has just so.
fn unconfirmed(ours: &Shapes, theirs: &[Shapes]) -> BTreeSet<String> {
    let confirmed = |name: &str, member: &str, line: &String| {
        theirs.iter().any(|theirs| theirs.0.get(name).and_then(|shape| shape.get(member)) == Some(line))
    };
    ours.0
        .iter()
        .filter(|(name, shape)| {
            !theirs.iter().any(|theirs| theirs.0.contains_key(*name))
                || !shape.iter().all(|(member, line)| confirmed(name, member, line))
        })
        .map(|(name, _)| name.clone())
        .collect()
}

#[test]
fn every_published_field_is_ours() {
    let ours = Shapes::of(&ours());
    let found: Vec<_> = published().iter().flat_map(|set| contradictions(&ours, &Shapes::of(set))).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_field_of_ours_is_published() {
    let published: Vec<_> = published().iter().map(Shapes::of).collect();
    let mut unconfirmed = unconfirmed(&Shapes::of(&ours()), &published);
    // Nobody else's.
    unconfirmed.retain(|name| !name.starts_with("shimkeeper."));
    let expected: BTreeSet<_> = UNPUBLISHED.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(unconfirmed, expected, "left: in no published package; right: the list in this test");
}

#[test]
fn packages_are_whole_but_for_what_is_listed() {
    let ours = ours();
    let names = Shapes::of(&ours);
    let packages: BTreeSet<_> = ours.file.iter().map(FileDescriptorProto::package).collect();
    let mut missing = BTreeSet::new();
    for mut set in published() {
        set.file.retain(|file| packages.contains(file.package()) && !PARTIAL.contains(&file.package()));
        missing.extend(Shapes::of(&set).0.into_keys().filter(|name| !names.0.contains_key(name)));
    }
    // Nested types follow the type they are in.
    let nested = |name: &str| missing.iter().any(|outer| name.starts_with(&format!("{outer}.")));
    let missing: BTreeSet<_> = missing.iter().map(String::as_str).filter(|name| !nested(name)).collect();
    let expected: BTreeSet<_> = OMITTED.iter().copied().collect();
    assert_eq!(missing, expected, "left: published but not here; right: the list in this test");
    assert!(PARTIAL.iter().all(|package| packages.contains(package)), "a package in the list is gone");
}

#[test]
fn task_v2_is_task_v3_under_another_name() {
    let ours = ours();
    let v3 = Shapes::of(&ours).in_package("containerd.task.v3", &ours);
    let set = published::file(published::SHIM_PROTOS_V2, "runtime/task/v2/shim.proto");
    let v2 = Shapes::of(&set).in_package("containerd.task.v2", &set);

    assert!(v2.0.contains_key(shimkeeper_proto::TASK_SERVICE_V2));
    assert!(v3.0.contains_key(shimkeeper_proto::TASK_SERVICE_V3));
    assert_eq!(v2.renamed("containerd.task.v2", "containerd.task.v3"), v3);
}

/// Each change to a descriptor that a peer could see is noticed, in both directions.
#[test]
fn the_comparison_notices_every_kind_of_change() {
    type Change = fn(&mut FileDescriptorSet);
    let changes: [(&str, Change); 9] = [
        ("number", |set| field(set, "WaitRequest", "exec_id").number = Some(3)),
        ("name", |set| field(set, "WaitRequest", "exec_id").name = Some("execution".into())),
        ("type", |set| field(set, "WaitRequest", "exec_id").set_type(Type::Bytes)),
        ("type name", |set| field(set, "WaitResponse", "exited_at").type_name = Some(".x.Y".into())),
        ("label", |set| field(set, "WaitRequest", "exec_id").set_label(Label::Repeated)),
        ("presence", |set| field(set, "BootstrapParams", "socket_dir").oneof_index = None),
        ("packing", |set| {
            let options = FieldOptions { packed: Some(false), ..FieldOptions::default() };
            field(set, "BootstrapResult", "capabilities").options = Some(options);
        }),
        ("method input", |set| method(set, "State").input_type = Some(".x.Y".into())),
        ("streaming", |set| method(set, "State").server_streaming = Some(true)),
    ];
    let set = ours();
    let original = Shapes::of(&set);
    assert!(contradictions(&original, &original).is_empty());
    for (what, change) in changes {
        let mut other = set.clone();
        change(&mut other);
        let other = Shapes::of(&other);
        assert!(!contradictions(&original, &other).is_empty(), "{what}");
        assert_eq!(unconfirmed(&other, std::slice::from_ref(&original)).len(), 1, "{what}");
    }
}

fn field<'a>(set: &'a mut FileDescriptorSet, message: &str, name: &str) -> &'a mut FieldDescriptorProto {
    let messages = set.file.iter_mut().flat_map(|file| &mut file.message_type);
    let message =
        messages.into_iter().find(|candidate| candidate.name() == message).expect("the message is there");
    message.field.iter_mut().find(|field| field.name() == name).expect("the field is there")
}

fn method<'a>(set: &'a mut FileDescriptorSet, name: &str) -> &'a mut MethodDescriptorProto {
    let services = set.file.iter_mut().flat_map(|file| &mut file.service);
    services
        .flat_map(|service| &mut service.method)
        .find(|method| method.name() == name)
        .expect("it is there")
}
