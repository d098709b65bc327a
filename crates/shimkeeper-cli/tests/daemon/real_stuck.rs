// SPDX-License-Identifier: Apache-2.0
//! A shim that is stopped answers nothing. What the command then says, and that it gets past it.

use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use shimkeeper_testkit::stop_process;

use crate::place::Place;
use crate::support::until;

/// Stops the shim of a container; its process.
fn stop_the_shim_of(place: &Place, id: &str) -> Pid {
    let pid = place.object(&["inspect", id])["containers"][0]["shim"]["pid"].as_i64().unwrap();
    stop_process(u32::try_from(pid).unwrap());
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

#[test]
fn a_stuck_shim_is_removed_by_force_and_that_it_takes_long_is_said() {
    let place = Place::ours();
    place.detach(&[], "stuck-web", "exec sleep 3600");
    place.detach(&[], "stuck-other", "exec sleep 3600");
    let shim = stop_the_shim_of(&place, "stuck-web");

    // It is listed, and nobody is held up by it.
    assert_eq!(place.good(&["ps", "-q"]), "stuck-other\nstuck-web\n");
    assert_eq!(place.good(&["exec", "stuck-other", "/bin/echo", "on"]), "on\n");

    let begun = Instant::now();
    let removed = place.ran(&["rm", "-f", "stuck-web"]);
    assert_eq!((removed.code, removed.out.as_str()), (Some(0), "stuck-web\n"), "{removed:?}");
    assert!(
        removed.err.lines().all(|line| line.starts_with("shimkeeper: still removing stuck-web")),
        "{removed:?}"
    );
    assert!(
        begun.elapsed().as_secs() < 3 || removed.err.contains("waiting for its shim"),
        "{:?} {removed:?}",
        begun.elapsed()
    );
    assert_eq!(place.good(&["ps", "-a", "-q"]), "stuck-other\n");
    until("the end of the shim", || {
        std::fs::read_to_string(format!("/proc/{}/stat", shim.as_raw_nonzero())).is_err().then_some(())
    });
    assert_eq!(place.good(&["rm", "-f", "stuck-other"]), "stuck-other\n");
    place.close();
}

#[test]
fn a_stuck_shims_container_is_stopped_all_the_same() {
    let place = Place::ours();
    place.detach(&[], "halt-web", "exec sleep 3600");
    let shim = stop_the_shim_of(&place, "halt-web");
    let stopped = place.ran(&["stop", "--time", "1s", "halt-web"]);
    assert_eq!((stopped.code, stopped.out.as_str()), (Some(0), "halt-web\n"), "{stopped:?}");
    kill_process(shim, Signal::CONT).unwrap();
    place.becomes("halt-web", "stopped");
    assert_eq!(place.good(&["rm", "-f", "halt-web"]), "halt-web\n");
    place.close();
}
