// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper run` by a daemon: a record, a task, and its end if it is waited for.
//!
//! ```text
//! spec ─ record ─ task ─ start ─┬─ -d: id                                  output to the log driver
//!          └── undone if it fails ┴─ watched to its end ─ --rm: removed     output here, through FIFOs
//! ```

use std::time::Instant;

use shimkeeper_core::{Kind, TaskKey};
use shimkeeper_proto::containerd::runc::v1::Options;
use shimkeeper_proto::containerd::services::containers::v1::container::Runtime;
use shimkeeper_proto::containerd::services::containers::v1::{
    Container, CreateContainerRequest, DeleteContainerRequest,
};

use super::fifos::{self, Fifos, Io};
use super::front::Front;
use super::label::{INPUT_LABEL, LOG_LABEL};
use super::launch;
use super::patience::Progress;
use super::process::Process;
use super::server::{Server, ask};
use super::{log_options, print, rm};
use crate::args::RunArgs;
use crate::failure::{EXIT_FAILURE, Failure, say};
use crate::foreground::terminal;
use crate::kept::{self, Settings};
use crate::private_dirs::{PREFIX, unique_name};
use crate::run::ID_HINT;
use crate::run::report::{Report, Reporter};
use crate::run::session::named;
use crate::run::spec::{self, Prepared};

/// Runs a container by a daemon; answers the exit code.
pub(crate) async fn run(args: &RunArgs) -> u8 {
    let reporter = match Reporter::open(&args.report) {
        Ok(reporter) => reporter,
        Err(failure) => {
            failure.print();
            return EXIT_FAILURE;
        }
    };
    let unique = unique_name(PREFIX);
    let id = args.name.as_deref().unwrap_or(&unique);
    let runtime = args.runtime.name();
    let mut report = Report::new(&args.namespace, id, runtime, args.runtime.runtime_binary.as_deref());
    let failures: Vec<Failure> = Box::pin(execute(args, id, &mut report)).await.err().into_iter().collect();
    if let Some(failure) = failures.first() {
        report.failure(failure);
    }
    reporter.finish(&report, &failures);
    report.exit_code()
}

async fn execute(args: &RunArgs, id: &str, report: &mut Report) -> Result<(), Failure> {
    let key = &TaskKey::parse(&args.namespace, id).map_err(|error| Failure::of(&error, Some(ID_HINT)))?;
    let spec = spec::prepare(args, key, terminal::size())?;
    let server = Server::at(args.by_daemon.address.as_deref(), Some(&key.namespace)).await?;
    if args.by_daemon.detach {
        detached(args, key, &spec, &server, report).await
    } else {
        attached(args, key, &spec, &server, report).await
    }
}

async fn attached(
    args: &RunArgs,
    key: &TaskKey,
    spec: &Prepared,
    server: &Server,
    report: &mut Report,
) -> Result<(), Failure> {
    let id = key.id.as_str();
    let mut front = Front::new(Fifos::make(spec.terminal, args.interactive)?)?.timeout(args.timeout);
    let pid = begin(server, record(args, id, spec), front.io(), spec, report).await?;
    report.pid = Some(pid);
    let before = Instant::now();
    let process = Process::new(server, id, "", pid);
    let exit = front.watch(&process).await?;
    report.exit(&exit);
    report.phase("run", before.elapsed());
    report.timed_out = front.timed_out();
    if let (true, Some(timeout)) = (report.timed_out, args.timeout) {
        say(&format!("the container was killed after {timeout:?} (--timeout)"), None);
    }
    if args.keeping.rm {
        let before = Instant::now();
        rm::remove(&process.server(), id, false, &Progress::new("removing")).await?;
        report.phase("delete", before.elapsed());
    }
    let written = front.written();
    report.written(&written);
    written
}

async fn detached(
    args: &RunArgs,
    key: &TaskKey,
    spec: &Prepared,
    server: &Server,
    report: &mut Report,
) -> Result<(), Failure> {
    let id = key.id.as_str();
    let (uri, kept) = log_options::output(&args.keeping.log, key.namespace.as_str(), id)?;
    let mut record = record(args, id, spec);
    if !uri.is_empty() {
        record.labels.insert(LOG_LABEL.to_owned(), uri.clone());
    }
    let mut io = launch::output(&uri, spec.terminal)?;
    if args.interactive {
        io.stdin = typed_into(spec, kept.as_ref())?;
        record.labels.insert(INPUT_LABEL.to_owned(), io.stdin.clone());
    }
    let begun = begin(server, record, &io, spec, report).await;
    if let (Err(_), Some(kept)) = (&begun, &kept) {
        // Nobody will look for it there.
        let _ = std::fs::remove_dir_all(&kept.dir);
    }
    report.pid = Some(begun?);
    print::write(&format!("{id}\n"))?;
    Ok(())
}

/// The FIFO that is typed into while nobody is attached, beside the log: it lives as long as that.
fn typed_into(spec: &Prepared, kept: Option<&Settings>) -> Result<String, Failure> {
    let (true, Some(Settings { dir, .. })) = (spec.terminal, kept) else {
        let what = "a detached container can be typed into only with a terminal, and with its output kept";
        return Err(Failure::new(
            Kind::InvalidArgument,
            what,
            "use -d -i -t and no other --log-driver, or leave out -i",
        ));
    };
    let made = std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
        .recursive(true)
        .create(dir);
    made.map_err(|error| {
        Failure::io(format!("make the directory {}", dir.display()), &error, "choose another with --log-dir")
    })?;
    let path = kept::stdin(dir);
    fifos::make(&path)?;
    Ok(path.to_string_lossy().into_owned())
}

/// From the record to a process; its id. What fails is undone.
async fn begin(
    server: &Server,
    record: Container,
    io: &Io,
    spec: &Prepared,
    report: &mut Report,
) -> Result<u32, Failure> {
    let id = record.id.clone();
    let before = Instant::now();
    let request = CreateContainerRequest { container: Some(record) };
    ask(&format!("create the container {id}"), server.containers().create(request)).await.map_err(
        |failure| match failure.kind {
            Kind::AlreadyExists => Failure {
                hint: Some("choose another --name, or remove it with `shimkeeper rm`".to_owned()),
                ..failure
            },
            _ => failure,
        },
    )?;
    let started = async {
        launch::create(server, &id, io, &spec.json).await?;
        report.phase("create", before.elapsed());
        let before = Instant::now();
        let pid = launch::start(server, &id, &spec.json).await?;
        report.phase("start", before.elapsed());
        Ok(pid)
    };
    let started = started.await;
    if started.is_err() {
        // Why it did not start matters more.
        let request = DeleteContainerRequest { id: id.clone() };
        let _ = ask("delete the record", server.containers().delete(request)).await;
    }
    started
}

fn record(args: &RunArgs, id: &str, spec: &Prepared) -> Container {
    let options =
        args.runtime.runtime_binary.as_deref().map(|binary| {
            shimkeeper_proto::pack(&Options { binary_name: named(binary), ..Options::default() })
        });
    let name = named(args.runtime.name());
    Container {
        id: id.to_owned(),
        labels: args.keeping.label.iter().cloned().collect(),
        runtime: Some(Runtime { name, options }),
        spec: Some(launch::spec(spec.json.clone())),
        ..Container::default()
    }
}
