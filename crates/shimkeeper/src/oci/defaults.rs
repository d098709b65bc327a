// SPDX-License-Identifier: Apache-2.0
//! What every container gets without asking: docker's mounts, hidden paths and devices.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// Where a command without a path is looked for.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The terminal that is promised to a process that has one.
pub(crate) const TERM: &str = "xterm";

/// Open files: a soft limit that `select(2)` survives, and room to raise it.
pub(crate) const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// One period of the CPU quota, in microseconds.
pub(crate) const CPU_PERIOD_US: u64 = 100_000;

/// A mount as `(destination, type, source, options)`.
pub(crate) type MountRow = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// In this order: what lies deeper comes later.
pub(crate) const MOUNTS: [MountRow; 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        // Group 5 is `tty` everywhere; without it terminals would belong to root's group.
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
];

/// Files of the host's kernel that tell too much, or do too much.
pub(crate) const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Files of the host's kernel that may be read and not written.
pub(crate) const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The devices that may be used, as `(type, major, minor, access)`; no number means any.
const DEVICES: [(LinuxDeviceType, Option<i64>, Option<i64>, &str); 11] = [
    // A device file may be made; it still cannot be opened unless it is listed below.
    (LinuxDeviceType::C, None, None, "m"),
    (LinuxDeviceType::B, None, None, "m"),
    (LinuxDeviceType::C, Some(1), Some(3), "rwm"), // null
    (LinuxDeviceType::C, Some(1), Some(5), "rwm"), // zero
    (LinuxDeviceType::C, Some(1), Some(7), "rwm"), // full
    (LinuxDeviceType::C, Some(1), Some(8), "rwm"), // random
    (LinuxDeviceType::C, Some(1), Some(9), "rwm"), // urandom
    (LinuxDeviceType::C, Some(5), Some(0), "rwm"), // tty
    (LinuxDeviceType::C, Some(5), Some(1), "rwm"), // console
    (LinuxDeviceType::C, Some(5), Some(2), "rwm"), // ptmx
    (LinuxDeviceType::C, Some(136), None, "rwm"),  // pts/*
];

/// Deny everything, then allow what is listed.
pub(crate) fn device_rules() -> Vec<LinuxDeviceCgroup> {
    let mut deny_all = LinuxDeviceCgroup::default();
    deny_all.set_allow(false).set_access(Some("rwm".to_owned()));
    let mut rules = vec![deny_all];
    rules.extend(DEVICES.into_iter().map(|(kind, major, minor, access)| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true).set_typ(Some(kind)).set_major(major).set_minor(minor);
        rule.set_access(Some(access.to_owned()));
        rule
    }));
    rules
}
