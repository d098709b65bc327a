// SPDX-License-Identifier: Apache-2.0
//! No more files can be opened while the machine's processes are looked at. Alone in its binary: a limit is the whole
//! process's.

use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shimkeeper_core::{HasKind as _, Incarnation, Kind};
use shimkeeper_shim::{Launch, ShimProcesses, StateDirs, find_by_mark, strays};

/// What there is to see while no file may be opened.
fn without_files<T>(look: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..before }).expect("fewer");
    let seen = look();
    setrlimit(Resource::Nofile, before).expect("as many as before");
    seen
}

#[test]
fn who_cannot_be_looked_for_is_not_taken_for_gone() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = StateDirs::new(dir.path().join("state"), dir.path().join("root")).unwrap();
    dirs.prepare().unwrap();
    let launch = Launch::now(Incarnation::fresh());
    let mut cat = Command::new("cat");
    cat.env("SHIMKEEPER_LAUNCH", launch.mark.to_string()).stdin(Stdio::piped());
    let mut cat = cat.spawn().unwrap();

    let marked = without_files(|| find_by_mark(&launch, &[]));
    assert_eq!(marked.unwrap_err().kind(), Kind::ResourceExhausted);
    let shims = without_files(|| ShimProcesses::now(&[&dirs]));
    assert_eq!(shims.unwrap_err().kind(), Kind::ResourceExhausted);
    assert!(without_files(|| strays(&dirs)).is_err());

    // It is there when there are files again, by the time it is executed at the latest.
    while find_by_mark(&launch, &[]).unwrap().found.is_empty() {
        std::thread::yield_now();
    }
    drop(cat.stdin.take());
    cat.wait().unwrap();
    assert!(find_by_mark(&launch, &[]).unwrap().found.is_empty());
}
