// SPDX-License-Identifier: Apache-2.0
//! Real processes: children that exit, are killed, and wait to be waited for.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use rustix::process::Signal;
use shimkeeper_core::{Incarnation, TaskKey};

use super::*;

/// A child that does this in a shell; its standard input is a pipe that ends with the handle.
fn shell(script: &str) -> Child {
    Command::new("/bin/sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("happens within ten seconds")
}

#[tokio::test]
async fn the_exit_code_is_known_through_the_pidfd() {
    let mut child = shell("read _; exit 7");
    let identity = ProcessIdentity::of(child.id()).unwrap().unwrap();
    let pidfd = Pidfd::open(&identity).unwrap().unwrap();
    assert!(identity.is_alive().unwrap());
    assert_eq!(pidfd.exit_status().unwrap(), None);

    drop(child.stdin.take());
    soon(async { tokio::try_join!(pidfd.exited(), pidfd.exited()) }).await.unwrap();
    assert!(!identity.is_alive().unwrap(), "a zombie is dead");
    assert_eq!(
        pidfd.exit_status().unwrap(),
        Some(ProcessExit::Code(7)),
        "nobody has waited for it, on any kernel"
    );
    assert!(Pidfd::open(&identity).unwrap().is_some(), "and has its pid still");
    child.wait().unwrap();

    assert!(!identity.is_alive().unwrap());
    assert!(Pidfd::open(&identity).unwrap().is_none());
    assert!(!pidfd.signal(Signal::KILL).unwrap());
    soon(pidfd.exited()).await.unwrap();
    match pidfd.exit_status().unwrap() {
        Some(exit) => assert_eq!((exit, exit.status()), (ProcessExit::Code(7), 7)),
        None => assert!(!kernel_keeps_exit_codes(), "this kernel keeps exit codes"),
    }
}

#[tokio::test]
async fn a_zombie_that_went_well_is_told_from_one_that_may_not_be_seen() {
    let mut child = shell("read _; exit 0");
    let identity = ProcessIdentity::of(child.id()).unwrap().unwrap();
    let pidfd = Pidfd::open(&identity).unwrap().unwrap();
    drop(child.stdin.take());
    soon(pidfd.exited()).await.unwrap();
    assert_eq!(pidfd.exit_status().unwrap(), Some(ProcessExit::Code(0)));
    child.wait().unwrap();
}

#[tokio::test]
async fn a_deadly_signal_is_known_through_the_pidfd() {
    let mut child = shell("read _");
    let identity = ProcessIdentity::of(child.id()).unwrap().unwrap();
    let pidfd = Pidfd::open(&identity).unwrap().unwrap();
    assert!(pidfd.signal(Signal::KILL).unwrap());
    soon(pidfd.exited()).await.unwrap();
    child.wait().unwrap();
    match pidfd.exit_status().unwrap() {
        Some(exit) => assert_eq!((exit, exit.status()), (ProcessExit::Signal(9), 137)),
        None => assert!(!kernel_keeps_exit_codes(), "this kernel keeps exit codes"),
    }
}

#[test]
fn a_child_descends_from_its_parent_and_carries_its_own_mark_only() {
    let mark = Incarnation::fresh();
    let mut child = Command::new("/bin/sh")
        .args(["-c", "echo; read _"])
        .env(MARK, mark.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Before it has its program it has no environment to be seen.
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let parent = ProcessIdentity::of(std::process::id()).unwrap().unwrap();
    let identity = ProcessIdentity::of(child.id()).unwrap().unwrap();
    assert!(identity.descends_from(&parent).unwrap() && identity.descends_from(&identity).unwrap());
    assert!(!parent.descends_from(&identity).unwrap());
    assert_eq!((mark_of(&identity), mark_of(&parent)), (Some(mark), None));
    let held = Pidfd::open_living(&identity).unwrap();
    let held = held.map(|(pidfd, its_parent)| (*pidfd.identity(), its_parent));
    assert_eq!(held, Some((identity, parent.pid)));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(Pidfd::open_living(&identity).unwrap().is_none());
}

#[tokio::test]
async fn whoever_has_a_pid_is_held_with_one_look_dead_or_alive() {
    let mut child = shell("read _; exit 7");
    let identity = ProcessIdentity::of(child.id()).unwrap().unwrap();
    let known = || Pidfd::of(identity.pid).unwrap().map(|(held, parent)| (*held.identity(), parent));
    let (held, _) = Pidfd::of(identity.pid).unwrap().unwrap();
    assert!(!held.has_ended().unwrap());
    assert_eq!(known(), Some((identity, std::process::id())));
    drop(child.stdin.take());
    soon(held.exited()).await.unwrap();
    assert!(held.has_ended().unwrap(), "a zombie is dead");
    assert_eq!(known(), Some((identity, std::process::id())), "and has its pid still");
    child.wait().unwrap();
    assert!(held.has_ended().unwrap());
    assert_eq!(known(), None);
    assert!(Pidfd::of(0).unwrap().is_none() && Pidfd::of(u32::MAX).unwrap().is_none());
}

#[test]
fn only_who_was_there_before_is_above() {
    let mut child = shell("read _");
    let me = ProcessIdentity::of(std::process::id()).unwrap().unwrap();
    let identity = ProcessIdentity::of(child.id()).unwrap().unwrap();
    assert!(me.is_at_or_above(identity.pid).unwrap() && me.is_at_or_above(me.pid).unwrap());
    assert!(!identity.is_at_or_above(me.pid).unwrap());
    let another_life = ProcessIdentity { start_time: me.start_time + 1, ..me };
    assert!(!another_life.is_at_or_above(identity.pid).unwrap());
    let first = ProcessIdentity::of(1).unwrap().unwrap();
    assert!(!first.is_at_or_above(identity.pid).unwrap(), "every orphan becomes its child");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!me.is_at_or_above(identity.pid).unwrap());
}

fn kernel_keeps_exit_codes() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

#[test]
fn another_life_of_a_pid_is_another_process() {
    let me = ProcessIdentity::of(std::process::id()).unwrap().unwrap();
    assert!(me.is_alive().unwrap());
    let earlier = ProcessIdentity { start_time: me.start_time - 1, ..me };
    let other_boot =
        ProcessIdentity { boot_id: "0123abcd-0000-4000-8000-00000000000f".parse().unwrap(), ..me };
    for stranger in [earlier, other_boot] {
        assert!(!stranger.is_alive().unwrap());
        assert!(Pidfd::open(&stranger).unwrap().is_none());
        assert!(Pidfd::open_living(&stranger).unwrap().is_none());
    }
    for nobody in [0, u32::MAX, i32::MAX as u32] {
        assert_eq!(ProcessIdentity::of(nobody).unwrap(), None);
        assert!(Pidfd::open(&ProcessIdentity { pid: nobody, ..me }).unwrap().is_none());
    }
}

#[test]
fn identities_are_kept_as_json() {
    let me = ProcessIdentity::of(std::process::id()).unwrap().unwrap();
    let json = serde_json::to_string(&me).unwrap();
    assert_eq!(serde_json::from_str::<ProcessIdentity>(&json).unwrap(), me);
}

#[test]
fn marked_processes_are_found_with_their_children() {
    let (ours, other) = (Launch::now(Incarnation::fresh()), Incarnation::fresh());
    let find = || find_by_mark(&ours, &[]).unwrap().found;
    let spawn = |mark: Incarnation| {
        let mut command = Command::new("/bin/sh");
        // Two processes each: the shell, and `cat`, which it waits for.
        command
            .args(["-c", "cat; :"])
            .env(MARK, mark.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let (mut one, mut two) = (spawn(ours.mark), spawn(other));
    // `cat` carries the mark only once it is executed.
    let started = std::time::Instant::now();
    while find().len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(10), "both are found");
        std::thread::yield_now();
    }
    assert!(find().iter().any(|found| found.pid == one.id()));
    assert!(!find().iter().any(|found| found.pid == two.id()));
    let later = Launch { since: ticks() + TICKS, ..ours };
    assert_eq!(find_by_mark(&later, &[]).unwrap().found, [], "who was there before is not of a launch");
    assert_eq!(find_by_mark(&Launch { since: 0, ..ours }, &[]).unwrap().found.len(), 2);
    for child in [&mut one, &mut two] {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    assert_eq!(find(), []);
}

#[test]
fn a_programs_name_cannot_shift_the_fields() {
    let before = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242";
    let after = " 0".repeat(29);
    for name in ["sh", "a b", ") R 1 (", "))((", ""] {
        let text = format!("12 ({name}) {before}{after} 1792\n");
        assert_eq!(
            parse_stat(text.as_bytes()),
            Some(Stat { state: b'S', parent: 1, threads: 17, start_time: 4242, exit_code: 7 << 8 }),
            "{name}"
        );
    }
    assert_eq!(parse_stat(b"12 (sh) S 1 2"), None);
    assert_eq!(parse_stat(b""), None);
}

proptest! {
    #[test]
    fn no_stat_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_stat(&text);
    }
}

#[test]
fn the_time_of_a_start_is_between_two_looks_at_the_clock() {
    let slack = Duration::from_secs(1);
    let before = SystemTime::now() - slack;
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let started = ProcessIdentity::of(child.id()).unwrap().unwrap().started_at();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(before < started && started < SystemTime::now() + slack, "{started:?}");
}

#[test]
fn who_works_in_a_bundle_that_was_removed_is_a_stray() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = crate::StateDirs::new(dir.path().join("state"), dir.path().join("root")).unwrap();
    dirs.prepare().unwrap();
    let mark = Incarnation::fresh();
    let (one, two) = (TaskKey::parse("ns", "one").unwrap(), TaskKey::parse("ns", "two").unwrap());
    // Each has a child, which is not one by itself.
    let spawn = |key: &TaskKey, mark: Option<Incarnation>| {
        std::fs::create_dir_all(dirs.bundle_dir(key)).unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 60 & echo; read _; kill $!; wait"]).current_dir(dirs.bundle_dir(key));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).env_remove(MARK);
        command.envs(mark.map(|mark| (MARK, mark.to_string())));
        let mut child = command.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        child
    };
    let mut children = [spawn(&one, Some(mark)), spawn(&two, Some(mark)), spawn(&one, None)];
    assert_eq!(strays(&dirs).unwrap(), [], "their bundles are there");
    std::fs::remove_dir(dirs.bundle_dir(&one)).unwrap();
    let process = ProcessIdentity::of(children[0].id()).unwrap().unwrap();
    assert_eq!(strays(&dirs).unwrap(), [Stray { process, key: one, mark }]);
    assert_eq!(strays(&dirs.sandboxes()).unwrap(), [], "they were no sandboxes");
    let others = crate::StateDirs::new(dir.path().join("state2"), dir.path().join("root2")).unwrap();
    others.prepare().unwrap();
    assert_eq!(strays(&others).unwrap(), [], "they are another manager's");
    for child in &mut children {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    assert_eq!(strays(&dirs).unwrap(), []);
}
