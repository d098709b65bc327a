// SPDX-License-Identifier: Apache-2.0
//! A bundle that somebody removes by hand while its container runs, under a daemon and while there is none.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Signal, kill_process};
use shimkeeper_testkit::deps::Generation;

use crate::real::{Host, shim, words};
use crate::support::until;

const BUNDLES: &str = "io.containerd.runtime.v2.task/default";

fn bundle(host: &Host, id: &str) -> PathBuf {
    host.daemon.dirs.state().join(BUNDLES).join(id)
}

fn remove_bundle(host: &Host, id: &str) {
    fs::remove_dir_all(bundle(host, id)).unwrap();
}

#[test]
fn under_a_daemon_it_is_made_again() {
    let host = Host::start(Generation::V2_1);
    for id in ["removed-kill", "removed-exec", "removed-shim"] {
        host.sleeper(id);
        remove_bundle(&host, id);
    }
    // A kill may be asked for twice, and is.
    host.remove("removed-kill");

    let exec = |exec| host.ctr(["tasks", "exec", "--exec-id", exec, "removed-exec", "/bin/true"]);
    let refused = exec("one");
    assert!(refused.err.contains("somebody removed its bundle"), "{refused:?}");
    assert_eq!(exec("two").code, Some(0));
    host.remove("removed-exec");

    // Its shim can be asked for nothing any more: what it was told of the container is made again for its `delete`.
    kill_process(shim(&host, "removed-shim"), Signal::KILL).unwrap();
    until("the end is told", || {
        host.state("removed-shim").is_none_or(|state| state == "STOPPED").then_some(())
    });
    host.ctr(["tasks", "rm", "removed-shim"]);
    host.good(["containers", "rm", "removed-shim"]);
    assert!(host.good(["tasks", "ls", "-q"]).is_empty());
    host.close();
}

#[test]
fn without_a_daemon_its_shim_is_found_by_itself() {
    let mut host = Host::start(Generation::V2_1);
    for id in ["stray-whole", "stray-ended", "stray-empty", "stray-not"] {
        host.sleeper(id);
    }
    let pids = ["stray-whole", "stray-ended"].map(|id| (id, shim(&host, id)));
    host.daemon.kill();
    remove_bundle(&host, "stray-whole");
    remove_bundle(&host, "stray-ended");
    // As it looks where something was mounted in it.
    let empty = bundle(&host, "stray-empty");
    remove_bundle(&host, "stray-empty");
    fs::create_dir_all(empty.join("rootfs")).unwrap();
    host.daemon.start_again();

    for (id, shim) in pids {
        let line = format!("task={id} shim={}", shim.as_raw_nonzero());
        let found = |log: String| log.lines().any(|it| it.contains("its bundle") && it.contains(&line));
        until(&line, || found(host.daemon.log()).then_some(()));
        host.becomes(id, "RUNNING");
    }
    host.becomes("stray-not", "RUNNING");
    // Its id is not used again before it is gone.
    host.bad(["tasks", "start", "-d", "stray-whole"], "already exists");
    host.good(["tasks", "exec", "--exec-id", "e", "stray-whole", "/bin/true"]);
    host.remove("stray-whole");
    kill_process(shim(&host, "stray-ended"), Signal::KILL).unwrap();
    until("its end", || host.state("stray-ended").is_none_or(|state| state == "STOPPED").then_some(()));
    host.ctr(["tasks", "rm", "stray-ended"]);
    host.good(["containers", "rm", "stray-ended"]);
    for id in ["stray-empty", "stray-not"] {
        host.becomes(id, "RUNNING");
        host.remove(id);
    }
    host.close();
}

#[test]
fn the_whole_state_directory_costs_a_restart() {
    let mut host = Host::start(Generation::V2_1);
    for id in ["state-kept", "state-killed"] {
        host.sleeper(id);
    }
    fs::remove_dir_all(host.daemon.dirs.state()).unwrap();
    let refused = host.run(&["-d"], "state-new", &["/bin/sleep", "3600"]);
    host.bad(words(&refused), "was removed while it is in use: failed precondition");
    host.good(["tasks", "kill", "--signal", "9", "state-killed"]);
    host.becomes("state-killed", "STOPPED");
    host.becomes("state-kept", "RUNNING");

    host.daemon.kill();
    host.daemon.start_again();
    host.becomes("state-kept", "RUNNING");
    host.remove("state-kept");
    // It says by an exit code of its own that the task did not end well.
    host.ctr(["tasks", "rm", "state-killed"]);
    for id in ["state-killed", "state-new"] {
        host.good(["containers", "rm", id]);
    }
    host.sleeper("state-new");
    host.remove("state-new");
    host.close();
}

/// Moves everybody out of the container's control groups, and removes these.
fn remove_groups(host: &Host, id: &str) {
    let path = Path::new(host.daemon.dirs.cgroup().trim_start_matches('/')).join(id);
    let roots = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
    for root in roots.chain([PathBuf::from("/sys/fs/cgroup")]) {
        let group = root.join(&path);
        let Ok(pids) = fs::read_to_string(group.join("cgroup.procs")) else { continue };
        for pid in pids.lines() {
            fs::write(root.join("cgroup.procs"), pid).unwrap();
        }
        until("nobody in it", || fs::remove_dir(&group).ok());
    }
}

#[test]
fn control_groups_too() {
    let host = Host::start(Generation::V2_1);
    host.sleeper("removed-groups");
    remove_groups(&host, "removed-groups");
    host.bad(["tasks", "pause", "removed-groups"], "cgroup");
    host.remove("removed-groups");
    host.close();
}
