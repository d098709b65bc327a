// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper store` and `shimkeeper import`: the records of a daemon that does not run, or is only read.

pub(crate) mod args;
mod report;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use shimkeeper_store::{
    Conflict, ContainerdError, ImportError, OpenError, Records, RecoverError, Recovered, Store,
    read_containerd, recover,
};

use crate::failure::{Failure, told};
use args::{Action, CheckArgs, ContainerdArgs, ExportArgs, ImportArgs, RecoverArgs, StoreArgs};
use report::{Done, Report};

/// Largest export that is taken in.
const MAX_EXPORT: u64 = 1 << 30;

/// Does what is asked of a store; answers the exit code.
pub(crate) async fn store(args: &StoreArgs) -> u8 {
    told(match &args.action {
        Action::Check(args) => check(args),
        Action::Export(args) => export(args),
        Action::Import(args) => import(args).await,
        Action::Recover(args) => recovery(args).await,
    })
}

/// Takes in the records of a containerd that is stopped; answers the exit code.
pub(crate) async fn import_containerd(args: &ContainerdArgs) -> u8 {
    told(from_containerd(args).await)
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let dir = Store::dir_below(&args.place.root);
    let records = Records::read(&dir).map_err(|error| of_open(&error))?;
    let done = Done::Whole { records: records.counts().into() };
    Report::new("check", &dir, done, &[]).print(args.output)
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    let records = Records::read(&Store::dir_below(&args.place.root)).map_err(|error| of_open(&error))?;
    let json = records.to_json();
    let written = match &args.file {
        Some(file) => write_private(file, json.as_bytes()),
        None => std::io::stdout().write_all(json.as_bytes()),
    };
    let name = args.file.as_deref().map_or("standard output".into(), Path::to_string_lossy);
    written.map_err(|error| {
        Failure::io(format!("write {name}"), &error, "what is there is not the whole export")
    })
}

/// Specs hold secrets, in environments for one: the file is nobody else's to read.
fn write_private(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut opened = options.write(true).create(true).truncate(true).mode(0o600).open(file)?;
    opened.write_all(bytes)?;
    opened.sync_all()
}

async fn import(args: &ImportArgs) -> Result<(), Failure> {
    let json = read_export(&args.file)?;
    let hint = "it must be the JSON that `shimkeeper store export` writes";
    let records = Records::from_json(&json).map_err(|error| Failure::of(&error, Some(hint)))?;
    let dir = Store::dir_below(&args.place.root);
    let done = take_in(&dir, records, args.replace).await?;
    Report::new("import", &dir, done, &[]).print(args.output)
}

async fn recovery(args: &RecoverArgs) -> Result<(), Failure> {
    let dir = Store::dir_below(&args.place.root);
    let recovered = recover(&dir, &args.state).await.map_err(|error| match &error {
        RecoverError::Open(error) => of_open(error),
        RecoverError::Import(_) => Failure::of(&error, Some("the old store is as it was")),
    })?;
    match &recovered {
        Recovered::Whole(counts) => {
            let done = Done::Whole { records: (*counts).into() };
            Report::new("recover", &dir, done, &[]).print(args.output)
        }
        Recovered::Anew { salvaged, from_bundles, left_out, set_aside } => {
            let (salvaged, from_bundles) = ((*salvaged).into(), (*from_bundles).into());
            let done = Done::Recovered { salvaged, from_bundles, set_aside: set_aside.as_deref() };
            Report::new("recover", &dir, done, left_out).print(args.output)
        }
    }
}

async fn from_containerd(args: &ContainerdArgs) -> Result<(), Failure> {
    let (records, left_out) = read_containerd(&args.from_containerd).map_err(|error| {
        let hint = match &error {
            ContainerdError::InUse { .. } => "stop it, as with `systemctl stop containerd`, and try again",
            ContainerdError::File { .. } => "is this the root directory of a containerd?",
            ContainerdError::Database { .. } => "start containerd on it once more, and see what that says",
        };
        Failure::of(&error, Some(hint))
    })?;
    let dir = Store::dir_below(args.root.as_deref().unwrap_or(&args.from_containerd));
    let done = take_in(&dir, records, args.replace).await?;
    Report::new("import", &dir, done, &left_out).print(args.output)
}

/// Opens the store, or makes one, and takes the records in.
async fn take_in(dir: &Path, records: Records, replace: bool) -> Result<Done<'static>, Failure> {
    let store = Store::open_or_new(dir).map_err(|error| of_open(&error))?;
    let conflict = if replace { Conflict::Replace } else { Conflict::Refuse };
    let imported = store.import(records, conflict).await.map_err(|error| {
        let hint = match &error {
            ImportError::Conflict { .. } => {
                "--replace puts the records of the import in place of those there"
            }
            ImportError::Store(_) => "nothing was imported",
            _ => "nothing was imported; correct the record or leave it out",
        };
        Failure::of(&error, Some(hint))
    })?;
    Ok(imported.into())
}

fn read_export(file: &PathBuf) -> Result<Vec<u8>, Failure> {
    let mut json = Vec::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().take(MAX_EXPORT).read_to_end(&mut json)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(MAX_EXPORT).read_to_end(&mut json))
    };
    let name = file.display();
    read.map_err(|error| {
        Failure::io(format!("read {name}"), &error, "name a file, or - for standard input")
    })?;
    Ok(json)
}

/// The text of what is damaged or missing already says which command helps.
fn of_open(error: &OpenError) -> Failure {
    let hint = match error {
        OpenError::InUse { .. } => Some("stop the daemon first: its containers go on"),
        OpenError::File { verb: "find", .. } => Some("is this the root directory of a daemon?"),
        OpenError::File { .. } | OpenError::Database { .. } => {
            Some("is the directory there, and may you write in it?")
        }
        OpenError::Foreign { .. } => Some("use the version of shimkeeper that wrote it"),
        OpenError::Damaged { .. } | OpenError::Missing { .. } => None,
    };
    Failure::of(error, hint)
}
