// SPDX-License-Identifier: Apache-2.0
//! Packs the relative relocations of the binary where the C library understands them, which is worth a quarter of a
//! megabyte in the file and a little more in memory. What is built here needs the C library of here anyway; a binary
//! for older hosts is built on one of those, and has them unpacked.

use std::env;
use std::process::Command;

/// The first glibc that reads `DT_RELR`.
const UNDERSTANDS: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let native = env::var("HOST") == env::var("TARGET");
    if native && glibc().is_some_and(|version| version >= UNDERSTANDS) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's, or nothing where there is another C library.
fn glibc() -> Option<(u32, u32)> {
    let out = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let (major, minor) = str::from_utf8(&out.stdout).ok()?.strip_prefix("glibc ")?.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
