// SPDX-License-Identifier: Apache-2.0
//! No more threads and processes can be had, at any step of a call.

use std::fs;
use std::path::{Path, PathBuf};

use shimkeeper_testkit::deps::Generation;

use crate::real::{Host, words};
use crate::support::until;

/// A control group that nothing more is started in. Whoever is in it leaves it at the end.
struct Full {
    group: PathBuf,
    parent: PathBuf,
}

impl Full {
    /// The daemon in a group of its own, with the threads that it has.
    fn around(host: &Host) -> Self {
        let of_its_own = Path::new("/sys/fs/cgroup/pids");
        let root = if of_its_own.exists() { of_its_own } else { Path::new("/sys/fs/cgroup") };
        let name = host.daemon.dirs.path().file_name().unwrap().to_str().unwrap();
        let full = Self { group: root.join(format!("{name}-full")), parent: root.to_owned() };
        fs::create_dir(&full.group).unwrap();
        full.write("cgroup.procs", &host.daemon.pid().to_string());
        // Those that have nothing to do end within seconds.
        until("one thread", || (fs::read_dir(threads_of(host)).unwrap().count() <= 2).then_some(()));
        full.write("pids.max", &fs::read_to_string(full.group.join("pids.current")).unwrap());
        full
    }

    fn write(&self, file: &str, value: &str) {
        fs::write(self.group.join(file), value).unwrap();
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        for pid in fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(self.parent.join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.group);
    }
}

fn threads_of(host: &Host) -> String {
    format!("/proc/{}/task", host.daemon.pid())
}

#[test]
fn launches_are_refused_and_no_other_call_is() {
    let mut host = Host::start(Generation::V2_1);
    host.sleeper("threads-before");
    // It has read nothing yet of what it keeps for clients.
    assert!(host.daemon.stop().success());
    host.daemon.start_again();
    let full = Full::around(&host);
    assert!(host.good(["containers", "info", "threads-before"]).contains("io.containerd.runc.v2"));
    let sleep = ["/bin/sleep", "3600"];
    host.bad(words(&host.run(&["-d"], "threads-more", &sleep)), "resource exhausted");
    // Its shim was started before, and is somewhere else.
    host.good(["tasks", "exec", "--exec-id", "e", "threads-before", "/bin/true"]);
    host.remove("threads-before");
    host.good(["containers", "rm", "threads-more"]);
    drop(full);
    host.sleeper("threads-after");
    host.remove("threads-after");
    assert!(!host.daemon.log().contains("a call panicked"), "{}", host.daemon.log());
    host.close();
}
