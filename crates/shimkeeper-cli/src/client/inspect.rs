// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper inspect`: all that is known of containers; where the daemon is ours, also of their shims, and how it is
//! known how they ended.

use serde::Serialize;
use serde_json::value::RawValue;
use shimkeeper_core::Kind;
use shimkeeper_proto::shimkeeper::v1::exit_response::Provenance;
use shimkeeper_proto::shimkeeper::v1::{ExitRequest, Shim, ShimsRequest};

use super::args::TargetArgs;
use super::find::{self, Found};
use super::print;
use super::server::{Server, ask_if_served, unless};
use super::view::{Summary, TaskView};
use crate::failure::{EXIT_FAILURE, Failure};
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Inspected<'a> {
    namespace: &'a str,
    containers: Vec<Whole>,
}

#[derive(Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    summary: Summary,
    shim: Option<ShimView>,
    /// The OCI specification, as it was written.
    spec: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
struct ShimView {
    binary: String,
    pid: Option<u32>,
    health: String,
    /// Empty if it is healthy.
    reason: String,
    since: Option<String>,
}

pub(super) async fn inspect(args: &TargetArgs) -> Result<u8, Failure> {
    let namespace = args.within.namespace.as_str();
    let server = Server::connect(&args.server, Some(&args.within.namespace)).await?;
    let found = Found::look(&server).await?;
    let request = ShimsRequest { namespace: namespace.to_owned() };
    let shims = ask_if_served("ask how shims are doing", server.keeper().shims(request)).await?;
    let shims = shims.map(|answer| answer.shims).unwrap_or_default();
    let mut containers = Vec::new();
    let mut code = 0;
    for word in &args.ids {
        let one = match found.resolve(word) {
            Ok(id) => whole(&server, &found, &shims, id).await,
            Err(failure) => Err(failure),
        };
        match one {
            Ok(one) => containers.push(one),
            Err(failure) => {
                failure.print();
                code = EXIT_FAILURE;
            }
        }
    }
    let inspected = Inspected { namespace, containers };
    print::write(&match args.server.output {
        Output::Json => print::json("shimkeeper.inspect/1", &inspected),
        Output::Text => inspected.containers.iter().map(Whole::text).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(code)
}

async fn whole(server: &Server, found: &Found, shims: &[Shim], id: &str) -> Result<Whole, Failure> {
    let mut task = match find::task(server, id).await {
        Ok(task) => task.as_ref().map(TaskView::new),
        // It is the shim that cannot be asked; everything else is known.
        Err(failure) if failure.is_silence() => {
            failure.print();
            Some(TaskView::unknown())
        }
        Err(failure) => return Err(failure),
    };
    if let Some(exit) = task.as_mut().and_then(|task| task.exit.as_mut()) {
        let request = ExitRequest { container_id: id.to_owned(), exec_id: String::new() };
        let asked = ask_if_served("ask how it ended", server.keeper().exit(request)).await;
        // Somebody else may have removed it since.
        if let Some(answer) = unless(Kind::NotFound, asked)?.flatten()
            && answer.provenance() != Provenance::Unspecified
        {
            exit.provenance = Some(answer.provenance().as_str_name().to_ascii_lowercase());
            exit.out_of_memory = Some(answer.out_of_memory);
        }
    }
    let record = found.records.get(id);
    let spec = record.and_then(|record| record.spec.as_ref());
    Ok(Whole {
        summary: Summary::new(id, record, task),
        shim: shims.iter().find(|shim| shim.id == id).map(ShimView::new),
        spec: spec.and_then(|spec| serde_json::from_slice(&spec.value).ok()),
    })
}

impl ShimView {
    fn new(shim: &Shim) -> Self {
        Self {
            binary: shim.binary.clone(),
            pid: Some(shim.pid).filter(|pid| *pid != 0),
            health: shim.health().as_str_name().to_ascii_lowercase(),
            reason: shim.reason.clone(),
            since: print::at(shim.since.as_ref()),
        }
    }
}

impl Whole {
    fn text(&self) -> String {
        let mut lines = self.summary.lines();
        if let Some(ShimView { binary, pid, health, reason, .. }) = &self.shim {
            let pid = pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            lines.push(["shim".to_owned(), format!("{binary}{pid}, {health}{why}")]);
        }
        print::table(&lines)
    }
}
