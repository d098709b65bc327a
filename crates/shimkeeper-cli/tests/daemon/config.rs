// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper config`: what it prints, what it refuses.

use std::process::Command;

use shimkeeper_testkit::TestDirs;

use crate::support::{BINARY, output};

fn config(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("config").args(args);
    command
}

#[test]
fn the_default_one_is_fine_and_dumped_as_it_is() {
    let dirs = TestDirs::new();
    let file = dirs.path().join("c.toml");
    let (code, text, _) = output(&mut config(&["default"]));
    assert_eq!(code, Some(0));
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let (code, text, _) = output(&mut config(&["check", "-c", file]));
    assert_eq!((code, text.as_str()), (Some(0), "the configuration is fine\n"));

    let (code, dumped, _) = output(&mut config(&["dump", "-c", file]));
    assert_eq!(code, Some(0));
    assert!(dumped.contains("address = \"/run/shimkeeper/shimkeeper.sock\""), "{dumped}");
}

#[test]
fn flags_count_more_than_the_environment_and_that_more_than_the_file() {
    let dirs = TestDirs::new();
    let file = dirs.path().join("c.toml");
    std::fs::write(&file, "root = \"/file\"\nstate = \"/file-state\"\n[grpc]\naddress = \"/file.sock\"\n")
        .unwrap();
    let mut command = config(&["dump", "--root", "/flag"]);
    command
        .env("SHIMKEEPER_CONFIG", &file)
        .env("SHIMKEEPER_ROOT", "/env")
        .env("SHIMKEEPER_STATE", "/env-state");
    let (code, dumped, _) = output(&mut command);
    assert_eq!(code, Some(0));
    for line in ["root = \"/flag\"", "state = \"/env-state\"", "address = \"/file.sock\""] {
        assert!(dumped.contains(line), "{line} is not in {dumped}");
    }
}

#[test]
fn a_mistake_is_told_with_its_line_and_the_way_out() {
    let dirs = TestDirs::new();
    let file = dirs.path().join("c.toml");
    std::fs::write(&file, "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\"]\nx = 1\n").unwrap();
    let (code, _, told) = output(&mut config(&["check", "-c", file.to_str().unwrap()]));
    assert_eq!(code, Some(125));
    assert!(told.contains("c.toml:3: key `io.containerd.grpc.v1.cri` is containerd's"), "{told}");
    assert!(told.contains("hint: correct the file"), "{told}");
}
