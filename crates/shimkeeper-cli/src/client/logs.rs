// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper logs`: what a container has written, and with `-f` what it goes on to write.

pub(crate) mod log;
pub(crate) mod since;
pub(crate) mod source;

use serde::Serialize;
use shimkeeper_core::{Kind, time};
use shimkeeper_proto::containerd::v1::types::Status;
use tokio_util::sync::CancellationToken;

use super::args::watch::LogsArgs;
use super::find::{self, Found};
use super::print;
use super::process::Process;
use super::server::Server;
use crate::failure::{Failure, say};
use crate::foreground::supervise::Watched as _;
use crate::kept::{Begin, Stream};
use crate::output::Output;
use log::Log;
use source::{Piece, Source};

/// ```json
/// {"schema":"shimkeeper.log/1","at":"…","stream":"stdout","text":"a line\n"}
/// ```
/// What was written at once, or a part of it; bytes that are no UTF-8 are replaced.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// Null where it is not known.
    at: Option<String>,
    /// `stdout`, `stderr`, or `lost` for what is said of output that could not be kept.
    stream: &'static str,
    text: &'a str,
}

/// How each piece is told.
#[derive(Debug)]
struct Teller<'a> {
    args: &'a LogsArgs,
    /// Whether the next piece of each stream begins a line.
    begins: [bool; 2],
}

pub(super) async fn logs(args: &LogsArgs) -> Result<u8, Failure> {
    let server = Server::connect(&args.server, Some(&args.within.namespace)).await?;
    let found = Found::look(&server).await?;
    let id = found.resolve(&args.id)?;
    let task = found.tasks.get(id);
    let Some(log) = Log::of(found.records.get(id), task) else {
        let what = format!("the output of {id} is not kept");
        let hint = "that of containers is which `shimkeeper run -d` has started; `shimkeeper attach` shows what comes";
        return Err(Failure::new(Kind::NotFound, what, hint));
    };
    if matches!(log, Log::File(_)) && (args.timestamps || args.since.is_some()) {
        let what = format!("the output of {id} is in a file without times");
        return Err(Failure::new(Kind::InvalidArgument, what, "leave out --timestamps and --since"));
    }
    let mut source = Source::open(&log, args.tail.map_or(Begin::Start, Begin::Last))?;
    let mut teller = Teller { args, begins: [true; 2] };
    let unreadable = |error| Failure::io(format!("read the output of {id}"), &error, "try again");
    if !args.follow {
        loop {
            let pieces = source.now().map_err(unreadable)?;
            if pieces.is_empty() || !teller.tell(&pieces)? {
                return Ok(0);
            }
        }
    }
    let over = CancellationToken::new();
    let follow = async {
        while let Some(pieces) = source.next(&over).await.map_err(unreadable)? {
            if !teller.tell(&pieces)? {
                break;
            }
        }
        Ok(0)
    };
    let end = async {
        // Without a task it is over; and if its end cannot be waited for, what is there is told all the same.
        if find::task(&server, id).await?.is_some_and(|task| task.status() != Status::Stopped) {
            Process::new(&server, id, "", 0).wait().await?;
        }
        Ok::<_, Failure>(())
    };
    let mut follow = std::pin::pin!(follow);
    tokio::select! {
        told = &mut follow => return told,
        ended = end => if let Err(failure) = ended && failure.kind != Kind::NotFound {
            return Err(failure);
        },
    }
    over.cancel();
    follow.await
}

impl Teller<'_> {
    /// Whether somebody is left to be told more.
    fn tell(&mut self, pieces: &[Piece]) -> Result<bool, Failure> {
        let since = self.args.since;
        let wanted =
            pieces.iter().filter(|piece| since.is_none_or(|since| piece.at.is_none_or(|at| at >= since.0)));
        for piece in wanted {
            if !self.tell_one(piece)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn tell_one(&mut self, piece: &Piece) -> Result<bool, Failure> {
        let text = String::from_utf8_lossy(&piece.bytes);
        if self.args.server.output == Output::Json {
            let at = piece.at.map(time::to_rfc3339);
            let line = Line { at, stream: piece.stream.as_str(), text: &text };
            return print::write(&print::json("shimkeeper.log/1", &line));
        }
        match piece.stream {
            Stream::Lost => {
                say(&format!("output is missing here: {}", text.trim_end()), None);
                Ok(true)
            }
            Stream::Out => print::write_bytes(&self.stamped(0, piece)),
            Stream::Err => Ok(print::write_error_bytes(&self.stamped(1, piece))),
        }
    }

    fn stamped(&mut self, stream: usize, piece: &Piece) -> Vec<u8> {
        let begins = std::mem::replace(&mut self.begins[stream], piece.bytes.ends_with(b"\n"));
        match piece.at.filter(|_| begins && self.args.timestamps) {
            Some(at) => [time::to_rfc3339(at).as_bytes(), b" ", &piece.bytes].concat(),
            None => piece.bytes.clone(),
        }
    }
}
