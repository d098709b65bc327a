// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper exec`: a further process of a container, from its start to its end.

mod spec;

use serde::Serialize;
use serde_json::Value;
use shimkeeper_core::Kind;
use shimkeeper_proto::containerd::services::tasks::v1::{
    DeleteProcessRequest, ExecProcessRequest, StartRequest,
};

use super::args::process::ExecArgs;
use super::fifos::{Fifos, Io};
use super::find::Found;
use super::front::Front;
use super::process::Process;
use super::server::{Server, ask};
use super::{launch, print};
use crate::failure::Failure;
use crate::foreground::{exit_code, terminal};
use crate::output::Output;
use crate::private_dirs::unique_name;
use crate::run::report::ExitReport;

/// ```json
/// {"schema":"shimkeeper.exec/1","namespace":"default","id":"web","exec_id":"exec-3f9a01c7","pid":4711,
///  "exit":{"status":0,"signal":null,"at":"…","provenance":"observed"}}
/// ```
#[derive(Debug, Serialize)]
struct Report<'a> {
    namespace: &'a str,
    id: &'a str,
    exec_id: &'a str,
    pid: u32,
    /// Null for one that is not waited for.
    exit: Option<ExitReport>,
}

/// The process that is to be.
struct Exec<'a> {
    server: &'a Server,
    id: &'a str,
    name: &'a str,
    /// The container's specification.
    spec: &'a [u8],
    process: Value,
}

pub(super) async fn exec(args: &ExecArgs) -> Result<u8, Failure> {
    let server = Server::connect(&args.server, Some(&args.within.namespace)).await?;
    let found = Found::look(&server).await?;
    let id = found.resolve(&args.id)?;
    let Some(spec) = found.records.get(id).and_then(|record| record.spec.as_ref()) else {
        let what = format!("exec in {id}: it has no record, so nothing is known of its user and environment");
        return Err(Failure::new(Kind::FailedPrecondition, what, "`shimkeeper inspect` shows what there is"));
    };
    let pid = found.tasks.get(id).map(|task| task.pid).filter(|pid| *pid != 0);
    let process = spec::process(&spec.value, pid, args, terminal::size())?;
    let exec_id = unique_name("exec-");
    let exec = Exec { server: &server, id, name: &exec_id, spec: &spec.value, process };
    let mut report =
        Report { namespace: args.within.namespace.as_str(), id, exec_id: &exec_id, pid: 0, exit: None };
    let mut written = Ok(());
    if args.detach {
        report.pid = exec.begin(&Io::default()).await?;
        print::write(&format!("{exec_id}\n"))?;
    } else {
        let mut front = Front::new(Fifos::make(args.tty, args.interactive)?)?;
        report.pid = exec.begin(front.io()).await?;
        let process = Process::new(&server, id, &exec_id, report.pid);
        let exit = front.watch(&process).await?;
        report.exit = Some(ExitReport::new(&exit));
        exec.delete(&process.server()).await;
        written = front.written();
    }
    if args.server.output == Output::Json {
        print::write_error(&print::json("shimkeeper.exec/1", &report));
    }
    written.map(|()| report.exit.map_or(0, |exit| exit_code::of_status(exit.status)))
}

impl Exec<'_> {
    /// Adds and starts it; its process id.
    async fn begin(&self, io: &Io) -> Result<u32, Failure> {
        let Self { server, id, name, spec, process } = self;
        let (container_id, exec_id) = ((*id).to_owned(), (*name).to_owned());
        let json = serde_json::to_vec(process).expect("a JSON value can be written");
        let Io { stdin, stdout, stderr, terminal } = io.clone();
        let request = ExecProcessRequest {
            container_id: container_id.clone(),
            exec_id: exec_id.clone(),
            stdin,
            stdout,
            stderr,
            terminal,
            spec: Some(launch::process(json)),
        };
        ask(&format!("exec in {id}"), server.tasks().exec(request)).await?;
        let request = StartRequest { container_id, exec_id };
        match ask(&format!("exec in {id}"), server.tasks().start(request)).await {
            Ok(started) => Ok(started.pid),
            Err(failure) => {
                self.delete(server).await;
                Err(launch::explained(failure, spec, Some(process)))
            }
        }
    }

    /// Has what is left of it forgotten. That it is over is known; whether this works changes nothing.
    async fn delete(&self, server: &Server) {
        let request =
            DeleteProcessRequest { container_id: self.id.to_owned(), exec_id: self.name.to_owned() };
        let _ = ask("delete the exec", server.tasks().delete_process(request)).await;
    }
}
