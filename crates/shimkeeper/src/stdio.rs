// SPDX-License-Identifier: Apache-2.0
//! Standard input and output of a process: what an embedder may ask for, and what the shim is told.
//!
//! Shims take FIFO paths or URIs. For pipes and terminals the FIFOs are ours, below `io/` in the bundle, so they go
//! with it; our ends are opened before the shim is asked, so nothing is lost at the start.

mod input;
mod output;

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use shimkeeper_core::ProcessKey;
use tokio::net::unix::pipe;

pub use input::StdinPipe;
pub use output::OutputPipe;

pub(crate) use input::{Inlet, close_stdin};
pub(crate) use output::Spill;

use crate::env::Env;
use crate::error::{Error, Step};
use crate::shim::Shim;

/// Where a process's standard input and output go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stdio {
    /// Nowhere: input is empty, output is thrown away.
    #[default]
    Null,
    /// Pipes to this program, taken with `take_io`.
    ///
    /// A process whose output nobody reads stops at a full pipe (64 KiB) as with any pipe; but it can be killed and
    /// deleted all the same, and an [`OutputPipe`] that is dropped goes on discarding.
    Piped {
        /// Whether there is an input pipe; without one the input is empty.
        stdin: bool,
    },
    /// A pseudo-terminal, made by the runtime; its two directions are taken with `take_io`.
    ///
    /// The end of its input hangs it up: runc's shim closes the terminal then, and who runs on it gets SIGHUP. So keep
    /// the [`StdinPipe`] as long as the process is to run.
    Terminal {
        /// Whether the terminal can be typed into.
        stdin: bool,
    },
    /// FIFO paths, or URIs that the shim understands (`fifo`, `file`, `binary`), as they are.
    Paths(StdioPaths),
    /// Both outputs are appended to a file, by the shim.
    File(PathBuf),
}

/// Paths or URIs for the shim; empty means none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StdioPaths {
    /// Standard input.
    pub stdin: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error; must be empty with a terminal.
    pub stderr: String,
    /// Whether the process has a terminal.
    pub terminal: bool,
}

/// Our ends of a process's pipes.
#[derive(Debug)]
#[non_exhaustive]
pub struct ProcessIo {
    /// Writes to the process. Dropping it is the end of its input.
    pub stdin: Option<StdinPipe>,
    /// What the process writes; a terminal's output is all here.
    pub stdout: Option<OutputPipe>,
    /// What the process writes to standard error.
    pub stderr: Option<OutputPipe>,
}

/// What the shim is told, and our open ends before the process they belong to is known.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) paths: StdioPaths,
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
}

/// The FIFOs of one process, and what is left to read of them.
#[derive(Debug, Default)]
pub(crate) struct Plumbing {
    pub(crate) io: Option<ProcessIo>,
    inlet: Option<Arc<Inlet>>,
    fifos: Vec<PathBuf>,
    spills: Vec<Arc<Spill>>,
}

impl StdioPaths {
    /// A shim that writes into a file writes both outputs there. One that is told of the first alone crashes over the
    /// second, and every process of its container is without it then.
    fn completed(mut self) -> Self {
        if self.stdout.starts_with("file:") && self.stderr.is_empty() && !self.terminal {
            self.stderr.clone_from(&self.stdout);
        }
        self
    }
}

impl Stdio {
    /// Makes the file that output goes to, if it goes to one, on whatever disk that is.
    ///
    /// # Cancel safety
    /// Yes: the file may be there all the same.
    pub(crate) async fn make_file(&self, env: &Env) -> Result<(), Error> {
        let Self::File(path) = self else { return Ok(()) };
        let there = path.clone();
        let make = move || {
            // Not to wait for a reader, should it be a FIFO.
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            File::options().append(true).create(true).custom_flags(flags).open(there).map(drop)
        };
        let opened = env.in_time(make).await.flatten();
        opened.map_err(|e| Error::io(Step::Stdio, "open", path, e))
    }

    /// Makes and opens what this needs, for a process of the bundle in `bundle`.
    pub(crate) fn prepare(&self, bundle: &Path, process: &ProcessKey) -> Result<Prepared, Error> {
        let (stdin, stdout, stderr, terminal) = match self {
            Self::Null => return Ok(Prepared::default()),
            Self::Paths(paths) => {
                return Ok(Prepared { paths: paths.clone().completed(), ..Prepared::default() });
            }
            Self::File(path) => {
                // The shim runs in another directory.
                let path = std::path::absolute(path).map_err(|e| Error::io(Step::Stdio, "find", path, e))?;
                // A plain path twice, spelled in two ways. A `file://` URI, or the same text twice, makes containerd's
                // shims share one descriptor, which they close when the first output ends, with the rest of the second.
                let stdout = path.display().to_string();
                let stderr = format!("/.{stdout}");
                let paths = StdioPaths { stdout, stderr, ..StdioPaths::default() };
                return Ok(Prepared { paths, ..Prepared::default() });
            }
            Self::Piped { stdin } => (*stdin, true, true, false),
            Self::Terminal { stdin } => (*stdin, true, false, true),
        };
        let dir = bundle.join("io");
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(Step::Stdio, "make", dir, e));
            }
            Ok(()) | Err(_) => {}
        }
        let name = match process {
            ProcessKey::Init => "init".to_owned(),
            ProcessKey::Exec(id) => format!("exec-{id}"),
        };
        let mut prepared = Prepared::default();
        prepared.paths.terminal = terminal;
        if stdin {
            let path = fifo(&dir, &name, "stdin")?;
            prepared.stdin = Some(open_writer(&path)?);
            prepared.paths.stdin = text(path);
        }
        if stdout {
            let path = fifo(&dir, &name, "stdout")?;
            prepared.stdout = Some(open_reader(&path)?);
            prepared.paths.stdout = text(path);
        }
        if stderr {
            let path = fifo(&dir, &name, "stderr")?;
            prepared.stderr = Some(open_reader(&path)?);
            prepared.paths.stderr = text(path);
        }
        Ok(prepared)
    }
}

impl Prepared {
    /// Whether the embedder gets ends of its own.
    pub(crate) fn has_pipes(&self) -> bool {
        self.stdin.is_some() || self.stdout.is_some()
    }

    /// Binds the open ends to the process they serve.
    pub(crate) fn plumb(self, shim: &Arc<Shim>, process: &ProcessKey) -> Option<Plumbing> {
        if !self.has_pipes() {
            return None;
        }
        let paths = self.paths;
        let mut plumbing = Plumbing::default();
        for path in [paths.stdin, paths.stdout, paths.stderr] {
            if !path.is_empty() {
                plumbing.fifos.push(PathBuf::from(path));
            }
        }
        let output = |receiver: pipe::Receiver, spills: &mut Vec<Arc<Spill>>| {
            let pipe = OutputPipe::new(receiver, shim.env.scope.clone());
            spills.push(pipe.spill());
            pipe
        };
        let stdin = self.stdin.map(|sender| StdinPipe::new(sender, shim, process));
        plumbing.inlet = stdin.as_ref().map(StdinPipe::inlet);
        plumbing.io = Some(ProcessIo {
            stdin,
            stdout: self.stdout.map(|receiver| output(receiver, &mut plumbing.spills)),
            stderr: self.stderr.map(|receiver| output(receiver, &mut plumbing.spills)),
        });
        Some(plumbing)
    }
}

impl Plumbing {
    /// Takes over the reading of what is left, so that a shim that drains output before it deletes a process never
    /// waits for a slow reader. What is read stays to be taken from the pipes.
    pub(crate) fn drain(&self, scope: &crate::scope::Scope) {
        for spill in &self.spills {
            if spill.begin() {
                let (spill, detach) = (spill.clone(), scope.detach_token().clone());
                scope.spawn(async move { detach.run_until_cancelled(spill.run()).await });
            }
        }
    }

    /// Closes our end of its input, whoever holds the pipe.
    pub(crate) fn close_input(&self) {
        if let Some(inlet) = &self.inlet {
            inlet.close();
        }
    }

    /// Removes the FIFOs, and lets a reader that no shim ever opened the other side for see the end.
    pub(crate) fn close(&self) {
        self.close_input();
        for fifo in &self.fifos {
            // Opened and closed for writing: readers see the end once no other writer is left.
            let _ = pipe::OpenOptions::new().open_sender(fifo);
            let _ = std::fs::remove_file(fifo);
        }
    }
}

fn text(path: PathBuf) -> String {
    path.into_os_string().to_string_lossy().into_owned()
}

fn fifo(dir: &Path, process: &str, stream: &str) -> Result<PathBuf, Error> {
    let path = dir.join(format!("{process}-{stream}"));
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .map_err(|e| Error::io(Step::Stdio, "make FIFO", &path, e.into()))?;
    Ok(path)
}

fn open_reader(path: &Path) -> Result<pipe::Receiver, Error> {
    pipe::OpenOptions::new().open_receiver(path).map_err(|e| Error::io(Step::Stdio, "open FIFO", path, e))
}

/// Opened for both, because a FIFO without a reader cannot be opened for writing, and the shim opens its side later.
fn open_writer(path: &Path) -> Result<pipe::Sender, Error> {
    pipe::OpenOptions::new()
        .read_write(true)
        .open_sender(path)
        .map_err(|e| Error::io(Step::Stdio, "open FIFO", path, e))
}
