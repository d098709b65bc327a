// SPDX-License-Identifier: Apache-2.0
//! A root file system for containers, made of one static busybox: no image, no registry, no network.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::deps::packages;
use crate::deps::staging::Staging;
use crate::shell;

/// Raised when what is made changes, so that an older one is made again.
const LAYOUT: &str = "1";

const DIRECTORIES: [(&str, u32); 8] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
];

const LINKS: [(&str, &str); 3] = [("bin", "sbin"), ("../bin", "usr/bin"), ("../bin", "usr/sbin")];

const FILES: [(&str, &str); 3] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
];

/// Makes `deps/rootfs` from the busybox of this machine, unless it is there and made from the same one.
pub(crate) fn ensure(deps: &Path) -> Result<()> {
    let busybox = packages::static_busybox().context("no static busybox was found")?;
    let rootfs = deps.join("rootfs");
    let stamp = deps.join("rootfs.stamp");
    let made_from = format!("{LAYOUT} {} {}\n", busybox.display(), fs::metadata(&busybox)?.len());
    if rootfs.join("bin/sh").exists() && fs::read_to_string(&stamp).is_ok_and(|text| text == made_from) {
        return Ok(());
    }
    let staging = Staging::new(deps, "rootfs")?;
    populate(staging.path(), &busybox)?;
    staging.publish(&rootfs)?;
    fs::write(&stamp, made_from).with_context(|| format!("cannot write {}", stamp.display()))?;
    println!("deps: made {}", rootfs.display());
    Ok(())
}

fn populate(root: &Path, busybox: &Path) -> Result<()> {
    let wrong = |path: &str| format!("cannot make {path} in the new root file system");
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).with_context(|| wrong("/"))?;
    for (path, mode) in DIRECTORIES {
        let directory = root.join(path);
        fs::create_dir(&directory).with_context(|| wrong(path))?;
        // Separately from creating: the umask has no say.
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).with_context(|| wrong(path))?;
    }
    for (target, path) in LINKS {
        symlink(target, root.join(path)).with_context(|| wrong(path))?;
    }
    for (path, text) in FILES {
        fs::write(root.join(path), text).with_context(|| wrong(path))?;
    }
    let copy = root.join("bin/busybox");
    fs::copy(busybox, &copy).with_context(|| wrong("bin/busybox"))?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).with_context(|| wrong("bin/busybox"))?;
    let applets = shell::output(Command::new(&copy).arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox" && !applet.contains('/')) {
        symlink("busybox", root.join("bin").join(applet)).with_context(|| wrong(applet))?;
    }
    Ok(())
}
