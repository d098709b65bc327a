// SPDX-License-Identifier: Apache-2.0
//! Control groups of the machine this runs on, of whichever version. Takes root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shimkeeper_shim::{Cgroup, Pidfd, ProcessIdentity};

/// A group, removed when dropped.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchy = if is_unified() { root.to_owned() } else { root.join("freezer") };
        let dir = hierarchy.join(format!("shimkeeper-test-{name}-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn below(&self, name: &str) -> Self {
        let dir = self.0.join(name);
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn put(&self, process: &Child) {
        fs::write(self.0.join("cgroup.procs"), process.id().to_string()).unwrap();
    }

    fn freeze(&self) {
        let (file, word) = if is_unified() { ("cgroup.freeze", "1") } else { ("freezer.state", "FROZEN") };
        fs::write(self.0.join(file), word).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let ends = Instant::now() + Duration::from_secs(10);
        // Whoever died in it leaves it a moment later.
        while fs::remove_dir(&self.0).is_err() && Instant::now() < ends {
            std::thread::yield_now();
        }
    }
}

fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

fn sleeper() -> Child {
    Command::new("/bin/sleep").arg("600").spawn().unwrap()
}

fn identity(process: &Child) -> ProcessIdentity {
    ProcessIdentity::of(process.id()).unwrap().unwrap()
}

fn held(process: &Child) -> Pidfd {
    Pidfd::of(process.id()).unwrap().unwrap().0
}

fn killed(mut process: Child) {
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(process.wait().unwrap().signal(), Some(9));
}

/// Kills until nobody is left.
fn kill(cgroup: &Cgroup) {
    let ends = Instant::now() + Duration::from_secs(10);
    while cgroup.kill().unwrap() > 0 {
        assert!(Instant::now() < ends, "{:?} do not end", cgroup.processes());
    }
}

#[test]
fn real_everything_in_a_group_and_below_it_is_killed() {
    let group = Group::new("kill");
    let below = group.below("below");
    let (one, two, outside) = (sleeper(), sleeper(), sleeper());
    group.put(&one);
    below.put(&two);
    let cgroup = Cgroup::of(&held(&one), &[std::process::id()]).unwrap();
    assert_eq!(cgroup.path(), group.0);
    assert!(cgroup.contains(&identity(&one)) && cgroup.contains(&identity(&two)));
    assert!(!cgroup.contains(&identity(&outside)));
    kill(&cgroup);
    killed(one);
    killed(two);
    let mut outside = outside;
    assert_eq!(outside.try_wait().unwrap(), None, "nobody else");
    outside.kill().unwrap();
    outside.wait().unwrap();
    drop((below, group));
}

#[test]
fn real_what_is_frozen_dies_too() {
    let group = Group::new("frozen");
    let process = sleeper();
    group.put(&process);
    let cgroup = Cgroup::of(&held(&process), &[]).unwrap();
    group.freeze();
    kill(&cgroup);
    killed(process);
    drop(group);
}

#[test]
fn real_a_group_with_a_stranger_in_it_is_nobodys() {
    let group = Group::new("shared");
    let (process, stranger) = (sleeper(), sleeper());
    for process in [&process, &stranger] {
        group.put(process);
    }
    assert_eq!(Cgroup::of(&held(&process), &[stranger.id()]), None);
    let alone = Cgroup::of(&held(&process), &[std::process::id()]).unwrap();
    assert!(!alone.is_private(&[stranger.id()]));
    kill(&alone);
    killed(process);
    killed(stranger);
    drop(group);
}

#[test]
fn real_what_forks_does_not_escape() {
    let group = Group::new("forks");
    let mut parent = Command::new("/bin/sh")
        .args(["-c", "read _; echo; while :; do sleep 600 & done"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    group.put(&parent);
    let cgroup = Cgroup::of(&held(&parent), &[std::process::id()]).unwrap();
    drop(parent.stdin.take());
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    kill(&cgroup);
    killed(parent);
    assert!(cgroup.processes().unwrap().is_empty());
    drop(group);
}
