// SPDX-License-Identifier: Apache-2.0
//! One container without anybody's help, in a process of its own: the system calls that a runtime cannot do without, and
//! nothing else. It prints how long they took, in nanoseconds, from its first line to the end of `/bin/true`.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::pivot_root;
use rustix::thread::UnshareFlags;

use crate::args;
use crate::error::BenchError;

/// What every container sees besides its own files: type, where, options.
const MOUNTS: [(&str, &str, &str); 6] = [
    ("proc", "/proc", ""),
    ("tmpfs", "/dev", "mode=755,size=65536k"),
    ("devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=0620"),
    ("tmpfs", "/dev/shm", "mode=1777,size=65536k"),
    ("mqueue", "/dev/mqueue", ""),
    ("sysfs", "/sys", ""),
];

/// The devices of every container: name, major, minor.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Files that nobody in a container may read, and directories that nobody may write to.
const MASKED: [&str; 3] = ["/proc/kcore", "/proc/keys", "/proc/timer_list"];
const READ_ONLY: [&str; 3] = ["/proc/sys", "/proc/irq", "/proc/bus"];

pub(crate) fn run(options: &args::BareOnce) -> Result<(), BenchError> {
    let began = Instant::now();
    for group in &options.cgroup {
        doing("join a control group", fs::write(group.join("cgroup.procs"), "0"))?;
    }
    doing("make namespaces", new_namespaces())?;
    doing("lay out the container's files", lay_out(&options.rootfs))?;
    let status = doing("run the program", Command::new("/bin/true").status())?;
    let took = began.elapsed();
    if !status.success() {
        return Err(BenchError::Status(status.code().unwrap_or_default().cast_unsigned()));
    }
    doing("print the figure", writeln!(io::stdout(), "{}", took.as_nanos()))
}

fn doing<T>(verb: &'static str, result: io::Result<T>) -> Result<T, BenchError> {
    result.map_err(|error| BenchError::io(verb, error))
}

#[expect(unsafe_code, reason = "what new namespaces do to other threads is nobody's concern: there are none")]
fn new_namespaces() -> io::Result<()> {
    let flags = UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWNET;
    // SAFETY: this process has one thread, and no file descriptors are unshared.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

fn lay_out(rootfs: &Path) -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount_bind_recursive(rootfs, rootfs)?;
    std::env::set_current_dir(rootfs)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    for (kind, place, options) in MOUNTS {
        fs::create_dir_all(place)?;
        let options = CString::new(options)?;
        mount(kind, place, kind, flags, Some(options.as_c_str()))?;
    }
    for (name, major, minor) in DEVICES {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, Path::new("/dev").join(name), FileType::CharacterDevice, mode, makedev(major, minor))?;
    }
    for path in MASKED.into_iter().filter(|path| Path::new(path).exists()) {
        mount_bind_recursive("/dev/null", path)?;
    }
    for path in READ_ONLY.into_iter().filter(|path| Path::new(path).exists()) {
        mount_bind_recursive(path, path)?;
        mount_remount(path, MountFlags::BIND | MountFlags::RDONLY, "")?;
    }
    Ok(())
}
