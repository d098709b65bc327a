// SPDX-License-Identifier: Apache-2.0
//! The table.

use shimkeeper::Kind;

use super::input::Input;

/// One thing that is wrong, and what has to be said about it.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) spoil: fn(&mut Input),
    pub(super) kind: Kind,
    pub(super) code: i32,
    /// Part of what is wrong.
    pub(super) says: &'static str,
}

const fn case(name: &'static str, spoil: fn(&mut Input), kind: Kind, code: i32, says: &'static str) -> Case {
    Case { name, spoil, kind, code, says }
}

use Kind::{InvalidArgument, NotFound, PermissionDenied};

pub(super) const CASES: &[Case] = &[
    case("an empty id", |i| i.id = String::new(), InvalidArgument, 125, "empty"),
    case("an id with a blank", |i| i.id = "a b".into(), InvalidArgument, 125, "\"a b\""),
    case("an id that climbs", |i| i.id = "../up".into(), InvalidArgument, 125, "../up"),
    case("an id that is hidden", |i| i.id = ".x".into(), InvalidArgument, 125, ".x"),
    case("an id with an escape", |i| i.id = "a\u{1b}[2Jb".into(), InvalidArgument, 125, "invalid"),
    case("an id that is too long", |i| i.id = "x".repeat(100_000), InvalidArgument, 125, "100000 bytes"),
    case("a bad namespace", |i| i.namespace = "-".into(), InvalidArgument, 125, "\"-\""),
    case("no root file system", |i| i.rootfs = "/nonexistent/r".into(), NotFound, 125, "/nonexistent/r"),
    case("a file for a root", |i| i.rootfs = "/etc/passwd".into(), InvalidArgument, 125, "Not a directory"),
    case("a spec that is no JSON", |i| i.spec(b"{\"process\": "), InvalidArgument, 125, "not valid JSON"),
    case("a spec that is binary", |i| i.spec(&[0, 255, 27, 7]), InvalidArgument, 125, "not valid JSON"),
    case("a spec that is a list", |i| i.spec(b"[]"), InvalidArgument, 125, "not a JSON object"),
    case(
        "a spec without process",
        |i| i.spec(b"{\"root\": {\"path\": \"/\"}}"),
        InvalidArgument,
        125,
        "process",
    ),
    case("no runtime's name", |i| i.runtime = Some("runc".into()), InvalidArgument, 125, "\"runc\""),
    case(
        "a name without end",
        |i| i.runtime = Some("x".repeat(5000)),
        InvalidArgument,
        125,
        "invalid runtime name",
    ),
    case(
        "an unknown runtime",
        |i| i.runtime = Some("io.containerd.nope.v9".into()),
        NotFound,
        125,
        "shim-nope-v9",
    ),
    case(
        "a missing shim",
        |i| i.runtime = Some("/nonexistent/shim-v2".into()),
        NotFound,
        125,
        "/nonexistent/shim-v2",
    ),
    case(
        "a shim that is no program",
        |i| i.runtime = Some("/etc/passwd".into()),
        PermissionDenied,
        125,
        "/etc/passwd",
    ),
    case("a missing OCI runtime", |i| i.runc = Some("no-such-runc".into()), NotFound, 125, "no-such-runc"),
    case("its path", |i| i.runc = Some("/nonexistent/runc".into()), NotFound, 125, "/nonexistent/runc"),
    case("a missing command", |i| i.command = "nope".into(), NotFound, 127, "nope"),
    case("its path", |i| i.command = "/bin/nope".into(), NotFound, 127, "/bin/nope"),
    case(
        "a command that is no program",
        |i| i.command = "/etc/passwd".into(),
        PermissionDenied,
        126,
        "/etc/passwd",
    ),
    case("a long path", Input::in_a_deep_directory, InvalidArgument, 125, "at most 107 fit"),
    case("one directory for both", Input::in_one_directory, InvalidArgument, 125, "the same directory"),
    case("a file for a directory", Input::in_a_file, Kind::FailedPrecondition, 125, "state/file"),
];
