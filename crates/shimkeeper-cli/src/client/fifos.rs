// SPDX-License-Identifier: Apache-2.0
//! The FIFOs between us and a process that is in the foreground here and run by a daemon: made before it, opened by us
//! first so that nothing is lost, and gone with us.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::net::unix::pipe;

use super::process::Process;
use crate::failure::Failure;
use crate::foreground::leave::Keys;
use crate::foreground::supervise::Streams;
use crate::private_dirs::{Base, IO_PREFIX, PrivateDir, unique_name};

const HINT: &str = "see that the directory can be written to";

/// What a daemon is told of a process's streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Io {
    pub(super) stdin: String,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) terminal: bool,
}

/// Our ends of those of one process.
#[derive(Debug)]
pub(super) struct Fifos {
    dir: PrivateDir,
    kept: bool,
    pub(super) io: Io,
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
}

impl Fifos {
    /// With an input if it is to be typed into; a terminal has one output for both.
    pub(super) fn make(terminal: bool, stdin: bool) -> Result<Self, Failure> {
        let base = Base::of_user()?;
        // So that nobody clears it away before we have them open.
        let lock = base.share()?;
        let dir = base.make(&unique_name(IO_PREFIX), &lock)?;
        let io = Io { terminal, ..Io::default() };
        let mut fifos = Self { dir, kept: false, io, stdin: None, stdout: None, stderr: None };
        if stdin {
            let path = fifos.dir.path().join("stdin");
            make(&path)?;
            fifos.stdin = Some(writer(&path)?);
            fifos.io.stdin = text(&path);
        }
        fifos.stdout = Some(reader(&fifos.dir, "stdout", &mut fifos.io.stdout)?);
        if !terminal {
            fifos.stderr = Some(reader(&fifos.dir, "stderr", &mut fifos.io.stderr)?);
        }
        Ok(fifos)
    }

    /// Begins to copy, once the shim has opened its ends: without them there is nothing but the end to read.
    pub(super) fn copy(&mut self, streams: &mut Streams, process: &Process) -> Result<(), Failure> {
        if let Some(pipe) = self.stdout.take() {
            streams.output(pipe, std::io::stdout())?;
        }
        if let Some(pipe) = self.stderr.take() {
            streams.output(pipe, std::io::stderr())?;
        }
        if let Some(pipe) = self.stdin.take() {
            streams.input(pipe, None::<Keys>, process.close_input())?;
        }
        Ok(())
    }

    /// Leaves them where they are, for a process that goes on.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Fifos {
    fn drop(&mut self) {
        if !self.kept {
            // What is left is found by `shimkeeper cleanup`.
            let _ = self.dir.discard();
        }
    }
}

/// Makes one.
pub(super) fn make(path: &Path) -> Result<(), Failure> {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .map_err(|errno| Failure::io(format!("make the FIFO {}", path.display()), &errno.into(), HINT))
}

/// Opens it for both, because without a reader it cannot be opened for writing, and the shim opens its side later.
pub(super) fn writer(path: &Path) -> Result<pipe::Sender, Failure> {
    pipe::OpenOptions::new().read_write(true).open_sender(path).map_err(|error| not_opened(path, &error))
}

/// Opens one that is there for reading.
pub(super) fn open_reader(path: &Path) -> Result<pipe::Receiver, Failure> {
    pipe::OpenOptions::new().open_receiver(path).map_err(|error| not_opened(path, &error))
}

/// Whether somebody has one of the FIFOs in `dir` open for reading. A command has that as long as it lives, and a shim,
/// which has both ends open, as long as its process does; whoever comes after a command that was killed may attach.
pub(crate) fn in_use(dir: &Path) -> bool {
    let open = |name: &str| pipe::OpenOptions::new().open_sender(dir.join(name)).is_ok();
    ["stdin", "stdout", "stderr"].into_iter().any(open)
}

fn reader(dir: &PrivateDir, name: &str, told: &mut String) -> Result<pipe::Receiver, Failure> {
    let path: PathBuf = dir.path().join(name);
    make(&path)?;
    *told = text(&path);
    open_reader(&path)
}

fn not_opened(path: &Path, error: &std::io::Error) -> Failure {
    Failure::io(format!("open the FIFO {}", path.display()), error, HINT)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fifos_are_in_use_while_somebody_could_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!in_use(dir.path()), "there are none");
        let path = dir.path().join("stdout");
        make(&path).unwrap();
        assert!(!in_use(dir.path()));
        let reader = open_reader(&path).unwrap();
        assert!(in_use(dir.path()));
        drop(reader);
        assert!(!in_use(dir.path()));
    }
}
