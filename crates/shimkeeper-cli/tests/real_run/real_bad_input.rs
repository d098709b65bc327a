// SPDX-License-Identifier: Apache-2.0
//! Every bad input, through the command and through the library: the right kind and exit code, one line that says
//! what is wrong and one that says what to do, and nothing left behind.

mod cases;
mod full_disk;
mod input;
mod told;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use shimkeeper::{Config, Kind, Manager};
use shimkeeper_testkit::deps;

use cases::{CASES, Case};
use input::{Input, Place};
use told::Told;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn assert_told(case: &Case, through: &str, told: &Told) {
    let name = format!("{} through {through}", case.name);
    told.assert_readable(&name);
    assert_eq!(told.kind, case.kind.as_str(), "{name}: {told:?}");
    assert!(told.what.contains(case.says), "{name}: {told:?}");
}

#[test]
fn each_case_through_the_command() {
    for case in CASES {
        let place = Place::new();
        let mut input = Input::good(&place);
        (case.spoil)(&mut input);
        let (code, told) = input.through_the_command(&place);
        assert_told(case, "the command", &told.unwrap_or_else(|| panic!("{} is no failure", case.name)));
        assert_eq!(code, Some(case.code), "{}", case.name);
        place.assert_nothing_left(case.name);
    }
}

#[test]
fn each_case_through_the_library() {
    for case in CASES {
        let place = Place::new();
        let mut input = Input::good(&place);
        (case.spoil)(&mut input);
        let told = runtime().block_on(input.through_the_library());
        assert_told(case, "the library", &told.unwrap_or_else(|| panic!("{} is no failure", case.name)));
        place.assert_nothing_left(case.name);
    }
}

#[test]
fn what_is_good_is_no_failure() {
    let place = Place::new();
    let input = Input::good(&place);
    assert_eq!(input.through_the_command(&place).0, Some(0));
    assert_eq!(runtime().block_on(input.through_the_library()).map(|told| told.what), None);
    place.assert_nothing_left("good");
}

#[test]
fn directories_in_use_are_refused_with_the_managers_pid() {
    let place = Place::new();
    let input = Input { own_dirs: true, ..Input::good(&place) };
    runtime().block_on(async {
        let config = Config::new(&input.state, &input.root);
        let manager = Manager::open(config.clone()).await.unwrap();
        let (code, told) = input.through_the_command(&place);
        let through_the_library = input.through_the_library().await;
        for told in [told.unwrap(), through_the_library.unwrap()] {
            told.assert_readable("in use");
            assert_eq!((code, told.kind.as_str()), (Some(125), Kind::FailedPrecondition.as_str()));
            assert!(told.what.contains(&std::process::id().to_string()), "{told:?}");
        }
        manager.detach().await;
    });
    place.assert_nothing_left("in use");
}

/// Runs a copy of the command, because others may not look into where it was built.
#[test]
fn others_than_root_are_told_what_to_do() {
    const NOBODY: u32 = 65534;
    let place = Place::new();
    let binary = place.dirs.path().join("shimkeeper");
    std::fs::copy(env!("CARGO_BIN_EXE_shimkeeper"), &binary).unwrap();
    std::fs::set_permissions(place.dirs.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let shim = deps::shim(deps::Generation::V1_6);
    let (state, root) = (place.dirs.state(), place.dirs.root());
    let chosen =
        [shim.as_os_str(), "--state".as_ref(), state.as_os_str(), "--root".as_ref(), root.as_os_str()];
    for flags in [&[][..], &[&["--runtime".as_ref()][..], &chosen].concat()] {
        let mut command = Command::new(&binary);
        command.args(["run", "-o", "json", "--rootfs", "/"]).args(flags).arg("true").uid(NOBODY).gid(NOBODY);
        let outcome = command.output().unwrap();
        let text = String::from_utf8(outcome.stderr).unwrap();
        let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        let told = Told::in_report(&report).unwrap();
        told.assert_readable("not root");
        assert_eq!(
            (outcome.status.code(), told.kind.as_str()),
            (Some(125), Kind::PermissionDenied.as_str()),
            "{told:?}"
        );
        assert!(told.hint.contains("root") || told.hint.contains("sudo"), "{told:?}");
    }
    place.assert_nothing_left("not root");
}
