// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper top`: the processes of a container, as the daemon lists them and as this host's `/proc` shows them.

mod commands;
mod seen;

use serde::Serialize;
use shimkeeper_proto::containerd::runc::v1::ProcessDetails;
use shimkeeper_proto::containerd::services::tasks::v1::ListPidsRequest;
use shimkeeper_proto::unpack;

use super::args::watch::TopArgs;
use super::find::Found;
use super::print;
use super::server::{Server, ask};
use crate::failure::Failure;
use crate::output::Output;
use seen::Seen;

#[derive(Debug, Serialize)]
struct Listed<'a> {
    namespace: &'a str,
    id: &'a str,
    processes: Vec<Process>,
}

#[derive(Debug, Serialize)]
struct Process {
    pid: u32,
    /// The exec it belongs to, if the shim says so.
    exec_id: Option<String>,
    #[serde(flatten)]
    seen: Seen,
}

pub(super) async fn top(args: &TopArgs) -> Result<u8, Failure> {
    let namespace = &args.within.namespace;
    let server = Server::connect(&args.server, Some(namespace)).await?;
    let found = Found::look(&server).await?;
    let id = found.resolve(&args.id)?;
    let request = ListPidsRequest { container_id: id.to_owned() };
    let answer = ask(&format!("list the processes of {id}"), server.tasks().list_pids(request)).await?;
    let commands = commands::of(answer.processes.iter().map(|process| process.pid));
    let processes = answer.processes.into_iter().map(|process| {
        let details = process.info.as_ref().and_then(unpack::<ProcessDetails>).and_then(Result::ok);
        let exec_id = details.map(|details| details.exec_id).filter(|id| !id.is_empty());
        Process { pid: process.pid, exec_id, seen: Seen::of(process.pid, commands.get(&process.pid)) }
    });
    let listed = Listed { namespace: namespace.as_str(), id, processes: processes.collect() };
    print::write(&match args.server.output {
        Output::Json => print::json("shimkeeper.top/1", &listed),
        Output::Text => {
            let mut rows =
                vec![["PID", "PARENT", "USER", "STATE", "MEMORY", "TIME", "COMMAND"].map(str::to_owned)];
            rows.extend(listed.processes.iter().map(Process::row));
            print::table(&rows)
        }
    })?;
    Ok(0)
}

impl Process {
    fn row(&self) -> [String; 7] {
        let [parent, user, state, memory, time, command] = self.seen.cells();
        [self.pid.to_string(), parent, user, state, memory, time, command]
    }
}
