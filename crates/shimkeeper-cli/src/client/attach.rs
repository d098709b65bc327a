// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper attach`: the output of a container from now on, and its input if it has one, as a guest: leaving does it
//! no harm. Output that is kept is read where it is kept, so any number of guests sees all of it.

use serde::Serialize;
use shimkeeper_core::Kind;
use shimkeeper_proto::containerd::v1::types::{Process, Status};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use super::args::process::AttachArgs;
use super::find::{self, Found};
use super::logs::log::{Log, is_fifo};
use super::logs::source::Source;
use super::process;
use super::server::Server;
use super::{fifos, print};
use crate::failure::{Failure, say};
use crate::foreground::exit_code;
use crate::foreground::leave::Keys;
use crate::foreground::signals::Signals;
use crate::foreground::supervise::{Ending, Stake, Streams, Supervisor};
use crate::foreground::terminal::RawMode;
use crate::kept::{Begin, Stream};
use crate::output::Output;
use crate::run::report::ExitReport;

/// What is read ahead of our own output.
const AHEAD_BYTES: usize = 64 << 10;

/// ```json
/// {"schema":"shimkeeper.attach/1","namespace":"default","id":"web",
///  "exit":{"status":0,"signal":null,"at":"…","provenance":"observed"}}
/// ```
/// The last line of standard error.
#[derive(Debug, Serialize)]
struct Report<'a> {
    namespace: &'a str,
    id: &'a str,
    /// Null if we have left.
    exit: Option<ExitReport>,
}

pub(super) async fn attach(args: &AttachArgs) -> Result<u8, Failure> {
    let server = Server::connect(&args.server, Some(&args.within.namespace)).await?;
    let found = Found::look(&server).await?;
    let id = found.resolve(&args.id)?;
    let task = match find::task(&server, id).await? {
        Some(task) if task.status() != Status::Stopped => task,
        _ => {
            let what = format!("attach to {id}: it does not run");
            return Err(Failure::new(
                Kind::FailedPrecondition,
                what,
                "`shimkeeper start` runs it, `shimkeeper logs` shows what it wrote",
            ));
        }
    };
    let log = Log::of(found.records.get(id), Some(&task));
    let mut signals = Signals::of_process()?;
    let mut streams = Streams::new();
    copy(log, &task, id, &mut streams)?;
    let typed_into = !args.no_stdin && is_fifo(&task.stdin);
    let raw_mode = RawMode::of_input(typed_into && task.terminal)?;
    if typed_into {
        let keys = task.terminal.then(Keys::default);
        // The end of our input is not the end of the container's.
        streams.input(fifos::writer(task.stdin.as_ref())?, keys, std::future::ready(()))?;
    }
    let process = process::Process::new(&server, id, "", task.pid);
    let mut supervisor = Supervisor::new(&process, Stake::Guest, task.terminal, raw_mode.as_ref());
    let exit = match supervisor.run(&mut signals, &mut streams).await? {
        Ending::Exit(exit) => {
            streams.drain(&mut signals).await;
            Some(ExitReport::new(&exit))
        }
        Ending::Left => None,
    };
    drop(raw_mode);
    let report = Report { namespace: args.within.namespace.as_str(), id, exit };
    match args.server.output {
        Output::Json => drop(print::write_error(&print::json("shimkeeper.attach/1", &report))),
        Output::Text if report.exit.is_none() => say(&format!("left {id}, which goes on"), None),
        Output::Text => {}
    }
    streams.written().map(|()| report.exit.map_or(0, |exit| exit_code::of_status(exit.status)))
}

/// Begins to copy its output, from where it is kept, or else from the FIFOs of another client.
fn copy(log: Option<Log>, task: &Process, id: &str, streams: &mut Streams) -> Result<(), Failure> {
    let (has_out, has_err) = (is_fifo(&task.stdout), is_fifo(&task.stderr));
    if let Some(log) = log {
        let source = Source::open(&log, Begin::Last(0))?;
        let (out, ours) = tokio::io::duplex(AHEAD_BYTES);
        streams.output(ours, std::io::stdout())?;
        let (err, ours) = tokio::io::duplex(AHEAD_BYTES);
        streams.output(ours, std::io::stderr())?;
        streams.bring(|over| bring(source, out, err, over));
        return Ok(());
    }
    if !has_out && !has_err {
        let what = format!("attach to {id}: its output goes nowhere that can be read");
        let hint = "`shimkeeper run -d` keeps it; `shimkeeper exec` gets into the container";
        return Err(Failure::new(Kind::FailedPrecondition, what, hint));
    }
    if has_out {
        streams.output(fifos::open_reader(task.stdout.as_ref())?, std::io::stdout())?;
    }
    if has_err {
        streams.output(fifos::open_reader(task.stderr.as_ref())?, std::io::stderr())?;
    }
    Ok(())
}

/// Brings what is kept to where it is copied from, until there will be no more.
async fn bring(
    mut source: Source,
    mut out: impl tokio::io::AsyncWrite + Unpin,
    mut err: impl tokio::io::AsyncWrite + Unpin,
    over: CancellationToken,
) {
    // A log that cannot be read any more has as good as ended; the container's end is seen elsewhere.
    while let Ok(Some(pieces)) = source.next(&over).await {
        for piece in pieces {
            let written = match piece.stream {
                Stream::Out => out.write_all(&piece.bytes).await,
                Stream::Err => err.write_all(&piece.bytes).await,
                Stream::Lost => Ok(()),
            };
            if written.is_err() {
                return;
            }
        }
    }
}
