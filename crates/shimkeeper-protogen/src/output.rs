// SPDX-License-Identifier: Apache-2.0
//! The checked-in files: formatting, reading and replacing them. The directory `src/gen` belongs to this module.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::files;
use crate::tree::{self, Sources};

/// Why the checked-in files could not be read or replaced.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", path.display())]
pub struct OutputError {
    /// What was being done.
    pub verb: &'static str,
    /// The file or directory it was done to.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Replaces the generated files below `source_dir` by `sources`; what is no longer generated goes away.
pub fn write(source_dir: &Path, sources: &Sources) -> Result<(), OutputError> {
    for path in read(source_dir)?.keys().filter(|path| !sources.contains_key(*path)) {
        let path = source_dir.join(path);
        std::fs::remove_file(&path).map_err(|source| OutputError { verb: "remove", path, source })?;
    }
    for (path, text) in sources {
        let path = source_dir.join(path);
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|source| OutputError { verb: "write", path, source })?;
    }
    Ok(())
}

/// Reads the generated files below `source_dir`, whatever they hold.
pub fn read(source_dir: &Path) -> Result<Sources, OutputError> {
    let dir = source_dir.join(tree::ROOT);
    let below =
        files::below(&dir).map_err(|source| OutputError { verb: "list", path: dir.clone(), source })?;
    let root = tree::path("");
    let mut sources = Sources::new();
    for path in below.into_iter().map(|path| Path::new(tree::ROOT).join(path)).chain([root]) {
        match std::fs::read_to_string(source_dir.join(&path)) {
            Ok(text) => drop(sources.insert(path, text)),
            // Before the first run there is no root file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(OutputError { verb: "read", path: source_dir.join(path), source }),
        }
    }
    Ok(sources)
}

/// Formats `text` as `cargo fmt` would, with the settings in `workspace`.
pub(crate) fn format(text: &str, workspace: &Path) -> io::Result<String> {
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout", "--config-path"])
        .arg(workspace.join("rustfmt.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // rustfmt reads all of its input before it writes anything, so one after the other cannot block.
    rustfmt.stdin.take().expect("stdin is piped").write_all(text.as_bytes())?;
    let output = rustfmt.wait_with_output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}
