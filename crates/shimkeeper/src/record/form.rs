// SPDX-License-Identifier: Apache-2.0
//! The record as a line of JSON. Plain types of its own, so that a change of ours is not silently a change of the file.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use shimkeeper_core::{Exit, Provenance, time};
use shimkeeper_shim::{
    Address, BootId, BootstrapParams, Cgroup, Launch, ProcessIdentity, ShimBinary, TaskApi,
};

use crate::ledger::{Book, Phase, Process, Told, UnderWay};
use crate::record::{Record, RecordError, Stage};

/// The first was one object over many lines, the only one in its file.
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Form {
    version: u32,
    incarnation: String,
    /// Clock ticks after the boot; 0 if it is not known.
    #[serde(default)]
    since: u64,
    boot_id: BootId,
    stage: StageForm,
    runtime: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bootstrap: Option<BootstrapForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shim: Option<ProcessIdentity>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    taken_over: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    shim_is_foreign: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    init: Option<ProcessIdentity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cgroup: Option<Cgroup>,
    processes: Vec<ProcessForm>,
    #[serde(default)]
    deleted_told: bool,
}

/// As in `bootstrap.json`.
#[derive(Serialize, Deserialize)]
struct BootstrapForm {
    version: u32,
    address: String,
    protocol: String,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum StageForm {
    Creating,
    Live,
    Deleting,
}

#[derive(Serialize, Deserialize)]
struct ProcessForm {
    /// Empty for init.
    exec: String,
    pid: u32,
    phase: PhaseForm,
    told: ToldForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit: Option<ExitForm>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum PhaseForm {
    Made,
    Unsure,
    Started,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum ToldForm {
    Nothing,
    Made,
    Started,
    Exited,
}

#[derive(Serialize, Deserialize)]
struct ExitForm {
    status: u32,
    seconds: i64,
    nanos: i32,
    provenance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oom_kills: Option<u64>,
}

/// A line, with its end.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    let init = [(String::new(), &record.book.init)];
    let execs = record.book.execs.iter().map(|(id, process)| (id.as_str().to_owned(), process));
    let form = Form {
        version: VERSION,
        incarnation: record.launch.mark.to_string(),
        since: record.launch.since,
        boot_id: record.boot_id,
        stage: match record.stage {
            Stage::Creating => StageForm::Creating,
            Stage::Live => StageForm::Live,
            Stage::Deleting => StageForm::Deleting,
        },
        runtime: record.runtime.path().to_owned(),
        bootstrap: record.bootstrap.as_ref().map(|params| BootstrapForm {
            version: params.api.version(),
            address: params.address.announced(params.api),
            protocol: params.api.protocol().to_owned(),
        }),
        shim: record.shim,
        taken_over: record.taken_over,
        shim_is_foreign: record.shim_is_foreign,
        init: record.init,
        cgroup: record.cgroup.clone(),
        processes: init.into_iter().chain(execs).map(|(exec, process)| process_form(exec, process)).collect(),
        deleted_told: record.book.deleted_told,
    };
    let mut line = serde_json::to_vec(&form).expect("plain data has a JSON form");
    line.push(b'\n');
    line
}

fn process_form(exec: String, process: &Process) -> ProcessForm {
    ProcessForm {
        exec,
        pid: process.pid,
        phase: match process.phase {
            Phase::Made | Phase::Failed => PhaseForm::Made,
            // A start that was begun: after a restart nobody knows how it went on.
            Phase::Starting | Phase::Unsure => PhaseForm::Unsure,
            Phase::Started => PhaseForm::Started,
        },
        told: match process.told {
            Told::Nothing => ToldForm::Nothing,
            Told::Made => ToldForm::Made,
            Told::Started => ToldForm::Started,
            Told::Exited => ToldForm::Exited,
        },
        exit: process.exit.map(|exit| {
            let (seconds, nanos) = time::to_parts(exit.at);
            ExitForm {
                status: exit.status,
                seconds,
                nanos,
                provenance: exit.provenance.to_string(),
                oom_kills: process.oom_kills,
            }
        }),
    }
}

/// What was written last. A crash may cut the last line off, or leave it whole in length and not in content: then it was
/// never said to be written, and the one before counts.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
    let mut lines = bytes.rsplit(|byte| *byte == b'\n');
    // Nothing, if the last line has an end.
    lines.next();
    for line in lines {
        match decode_line(line) {
            Err(RecordError::Damaged(_)) => {}
            decoded => return decoded,
        }
    }
    // Of another version that is no lines, or of none.
    decode_line(bytes)
}

fn decode_line(bytes: &[u8]) -> Result<Record, RecordError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let form = serde_json::from_slice::<Form>(bytes);
    // Another version may look like this one, or not at all.
    let version = match &form {
        Ok(form) => form.version,
        Err(_) => serde_json::from_slice::<Version>(bytes).map_err(RecordError::Damaged)?.version,
    };
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    let form = form.map_err(RecordError::Damaged)?;
    let damaged = |what: String| RecordError::Damaged(serde::de::Error::custom(what));
    let made = !matches!(form.stage, StageForm::Creating);
    let mut book = Book { made, deleted_told: form.deleted_told, ..Book::default() };
    for entry in form.processes {
        let process = Process {
            pid: entry.pid,
            phase: match entry.phase {
                PhaseForm::Made => Phase::Made,
                PhaseForm::Unsure => Phase::Unsure,
                PhaseForm::Started => Phase::Started,
            },
            oom_kills: entry.exit.as_ref().and_then(|exit| exit.oom_kills),
            exit: entry.exit.map(|exit| exit_of(entry.pid, &exit)),
            told: match entry.told {
                ToldForm::Nothing => Told::Nothing,
                ToldForm::Made => Told::Made,
                ToldForm::Started => Told::Started,
                ToldForm::Exited => Told::Exited,
            },
            in_doubt: false,
            under_way: UnderWay::default(),
            waits: false,
        };
        if entry.exec.is_empty() {
            book.init = process;
        } else {
            let id = entry.exec.parse().map_err(|e| damaged(format!("exec {:?}: {e}", entry.exec)))?;
            book.execs.insert(id, process);
        }
    }
    Ok(Record {
        launch: launch_of(&form.incarnation, form.since).map_err(damaged)?,
        boot_id: form.boot_id,
        stage: match form.stage {
            StageForm::Creating => Stage::Creating,
            StageForm::Live => Stage::Live,
            StageForm::Deleting => Stage::Deleting,
        },
        runtime: ShimBinary::formerly_at(&form.runtime),
        bootstrap: form.bootstrap.as_ref().and_then(bootstrap_of),
        shim: form.shim,
        taken_over: form.taken_over,
        shim_is_foreign: form.shim_is_foreign,
        init: form.init,
        cgroup: form.cgroup,
        book,
    })
}

fn launch_of(incarnation: &str, since: u64) -> Result<Launch, String> {
    let mark = incarnation.parse().map_err(|error| format!("incarnation: {error}"))?;
    Ok(Launch { mark, since })
}

fn bootstrap_of(form: &BootstrapForm) -> Option<BootstrapParams> {
    let api = TaskApi::new(form.version.into(), &form.protocol).ok()?;
    Some(BootstrapParams { api, address: Address::parse(&form.address, api).ok()? })
}

fn exit_of(pid: u32, form: &ExitForm) -> Exit {
    Exit {
        pid,
        status: form.status,
        at: time::from_parts(form.seconds, form.nanos).unwrap_or(UNIX_EPOCH),
        provenance: Provenance::from_word(&form.provenance).unwrap_or(Provenance::Unknown),
    }
}
