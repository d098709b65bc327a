// SPDX-License-Identifier: Apache-2.0
//! A process whose arguments and environment cannot be read: whoever tries stands still. Any process can make itself one
//! with a file system of its own making, and one that hangs on a disk becomes one.
//!
//! ```text
//! a page of its program that is never delivered ◀─ reads it, and so holds its memory ─ the reader, a child of ours
//! its fork, which wants that memory for itself ─ waits for the reader ◀─ waits for the fork ─ whoever reads its environment
//! ```

mod delivery;

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use delivery::{Delivery, PAGE};

/// What it runs: a program in one file, that needs no other.
const PROGRAM: &str = "/bin/busybox";

/// Says that it runs, forks when it is told to, and does not end before that child.
const SCRIPT: &str = "echo; read _; cat & wait";

/// How long whatever must come is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who has not read the environment of a process after this time stands still.
const STANDS_STILL: Duration = Duration::from_millis(300);

/// Such a process. Dropping it lets it go, and ends it.
///
/// While it is there, everything on the machine that reads the environments or command lines of all processes waits for it,
/// other tests included: not to be kept for long, and to be had by tests that run alone.
#[derive(Debug)]
pub struct Standstill {
    process: Child,
    reader: Child,
    /// With it goes its program, and whoever waits for a page of that.
    delivery: Option<Delivery>,
    _stdin: ChildStdin,
}

impl Standstill {
    /// One with this variable in its environment, working in this directory; by way of `/dev/fuse`, for which it takes
    /// root.
    ///
    /// # Errors
    /// If there is no such process to be had here.
    ///
    /// # Panics
    /// If it does not come to stand still.
    pub fn new(variable: (&str, &str), dir: &Path) -> io::Result<Self> {
        let mut delivery = Delivery::of(PROGRAM)?;
        let mut process = Command::new(delivery.program())
            // It looks at its name for what it is to do.
            .arg0("busybox")
            .args(["sh", "-c", SCRIPT])
            .env(variable.0, variable.1)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        delivery.hide()?;
        let mut stdin = process.stdin.take().expect("it was asked for");
        let stdout = process.stdout.take().expect("it was asked for");
        BufReader::new(stdout).read_line(&mut String::new())?;
        let withheld = delivery.withhold();
        let address = address_of(process.id(), withheld)?;
        let reader = read_memory(process.id(), address)?;
        eventually("its memory is read", || delivery.is_waited_for());
        let this = Self {
            process,
            reader,
            delivery: Some(delivery),
            _stdin: {
                stdin.write_all(b"\n")?;
                stdin
            },
        };
        eventually("it stands still", || !can_be_read(this.pid()));
        Ok(this)
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        // First of all: none of them could end otherwise.
        drop(self.delivery.take());
        for child in [&mut self.process, &mut self.reader] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// Where the process has this piece of its program.
fn address_of(pid: u32, offset: u64) -> io::Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let place = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (range, mode, begin) = (words.next()?, words.next()?, words.next()?);
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let (from, to) = range.split_once('-')?;
        let (from, to, begin) = (hex(from)?, hex(to)?, hex(begin)?);
        let address = from + offset.checked_sub(begin)?;
        (!mode.contains('w') && address < to).then_some(address)
    };
    maps.lines().find_map(place).ok_or_else(|| io::Error::other("that piece of its program is nowhere"))
}

/// Has a process read a page of another one's memory.
fn read_memory(pid: u32, address: u64) -> io::Result<Child> {
    let memory = fs::File::open(format!("/proc/{pid}/mem"))?;
    let skip = format!("skip={}", address / PAGE);
    let mut command = Command::new(PROGRAM);
    command.args(["dd", "bs=4096", "count=1", &skip]);
    command.stdin(memory).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Whether another process can read its environment.
fn can_be_read(pid: u32) -> bool {
    let mut probe = Command::new(PROGRAM)
        .args(["cat", &format!("/proc/{pid}/environ")])
        .stdout(Stdio::null())
        .spawn()
        .expect("that program is there");
    let until = Instant::now() + STANDS_STILL;
    let mut has_read = false;
    while !has_read && Instant::now() < until {
        has_read = probe.try_wait().expect("it is a child of ours").is_some();
        std::thread::yield_now();
    }
    let _ = probe.kill();
    let _ = probe.wait();
    has_read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_who_reads_its_environment_waits_until_it_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let standstill = Standstill::new(("A", "b"), dir.path()).unwrap();
        let of = |name: &str| fs::read(format!("/proc/{}/{name}", standstill.pid()));
        // What needs none of its memory is seen.
        for name in ["stat", "status", "cgroup", "comm", "limits"] {
            assert!(!of(name).unwrap().is_empty(), "{name}");
        }
        for name in ["exe", "cwd", "root", "fd/0", "ns/pid"] {
            fs::read_link(format!("/proc/{}/{name}", standstill.pid())).unwrap();
        }
        assert!(!can_be_read(standstill.pid()));
        let mut waiting = Command::new(PROGRAM)
            .args(["cat", &format!("/proc/{}/environ", standstill.pid())])
            .spawn()
            .unwrap();
        drop(standstill);
        waiting.wait().unwrap();
    }
}
