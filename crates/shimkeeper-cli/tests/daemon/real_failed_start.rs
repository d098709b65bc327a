// SPDX-License-Identifier: Apache-2.0
//! A start that fails when tasks are being taken over already: they are left as they are, and the log says why it failed
//! and nothing else.

use std::fs;

use shimkeeper_testkit::deps::Generation;

use crate::real::Host;

#[test]
fn says_once_why_and_loses_no_task() {
    let mut host = Host::start(Generation::V2_1);
    let ids: Vec<_> = (0..5).map(|number| format!("failed-start-{number}")).collect();
    for id in &ids {
        host.sleeper(id);
    }
    assert!(host.daemon.stop().success());
    // What is read after the manager has taken over the directories.
    let number = host.daemon.dirs.root().join("io.shimkeeper.store");
    let aside = number.with_extension("aside");
    fs::rename(&number, &aside).unwrap();
    fs::write(&number, "").unwrap();
    let before = host.daemon.log().len();
    host.daemon.launch();
    assert!(!host.daemon.ended().success());
    let log = host.daemon.log().split_off(before);
    assert!(!log.contains("ERROR") && log.contains("io.shimkeeper.store"), "{log}");
    fs::remove_file(&number).unwrap();
    fs::rename(&aside, &number).unwrap();
    host.daemon.start_again();
    for id in &ids {
        host.becomes(id, "RUNNING");
        host.remove(id);
    }
    host.close();
}
