// SPDX-License-Identifier: Apache-2.0
//! The generator as a program: replaces the checked-in sources, or with `--check` says whether they are what would be
//! made.

use std::path::Path;
use std::process::ExitCode;

use shimkeeper_protogen::{generate, read, source_dir, write};

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, AnyError> {
    let check = std::env::args().skip(1).any(|argument| argument == "--check");
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).ok_or("no workspace above this package")?;
    let sources = generate(workspace)?;
    let dir = source_dir(workspace);
    if check {
        return Ok(if read(&dir)? == sources { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    write(&dir, &sources)?;
    Ok(ExitCode::SUCCESS)
}
