// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper log-driver`: started by a shim for a `binary://` log, with the container's output on descriptors 3 and 4,
//! and one to close when it is ready on 5.
//!
//! It ends with the output. Told to end, as shims do when the container is deleted, it takes what is there and goes:
//! somebody who has inherited the output must not hold the deletion up.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::time::SystemTime;

use clap::Args;
use shimkeeper_core::Kind;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{SignalKind, signal};

use super::entry::Stream;
use super::writer::Writer;
use super::{Settings, sync};
use crate::failure::{EXIT_FAILURE, Failure};

const CHUNK_BYTES: usize = 16 << 10;

/// The most that is taken of each stream after we are told to end: as much as a pipe can hold.
const LAST_CHUNKS: usize = (1 << 20) / CHUNK_BYTES;

#[derive(Debug, Args)]
pub(crate) struct DriverArgs {
    /// Where to, and how much
    #[arg(value_name = "SETTINGS", value_parser = Settings::parse)]
    settings: Settings,
}

/// One stream of the container's.
struct Source {
    stream: Stream,
    pipe: Option<Receiver>,
    chunk: Vec<u8>,
}

/// Keeps what comes until there is no more; answers the exit code.
pub(crate) async fn drive(args: &DriverArgs) -> u8 {
    match keep_all(&args.settings).await {
        Ok(()) => 0,
        Err(failure) => {
            failure.print();
            EXIT_FAILURE
        }
    }
}

async fn keep_all(settings: &Settings) -> Result<(), Failure> {
    if std::env::var_os("CONTAINER_ID").is_none() {
        let what = "the log driver is started by shims, with the output of a container";
        return Err(Failure::new(
            Kind::FailedPrecondition,
            what,
            "see `shimkeeper run --help` for --log-driver",
        ));
    }
    let ready = inherited(5)?;
    let (out, err) = (source(3, Stream::Out)?, source(4, Stream::Err)?);
    let failed = |error| {
        let what = format!("keep the output in {}", settings.dir.display());
        Failure::io(what, &error, "choose another directory with --log-dir")
    };
    let mut told_to_end = signal(SignalKind::terminate()).map_err(failed)?;
    let mut writer = Writer::open(settings.clone()).map_err(failed)?;
    let mut asked = sync::open(&settings.dir).map_err(failed)?;
    // Only now the container may start.
    drop(ready);
    let (mut out, mut err) = (out, err);
    let mut questions = [0; 64];
    while out.pipe.is_some() || err.pipe.is_some() {
        tokio::select! {
            // In this order: who asks whether all is written is answered last.
            biased;
            _ = told_to_end.recv() => {
                out.take_the_rest(&mut writer);
                err.take_the_rest(&mut writer);
                return Ok(());
            }
            count = out.next(), if out.pipe.is_some() => out.keep(count, &mut writer),
            count = err.next(), if err.pipe.is_some() => err.keep(count, &mut writer),
            // The answer is that they are gone.
            _ = asked.read(&mut questions) => {}
        }
    }
    Ok(())
}

impl Source {
    /// How much has come; zero at the end.
    async fn next(&mut self) -> usize {
        match &mut self.pipe {
            Some(pipe) => pipe.read(&mut self.chunk).await.unwrap_or(0),
            None => 0,
        }
    }

    fn keep(&mut self, count: usize, writer: &mut Writer) {
        if count == 0 {
            self.pipe = None;
        } else {
            writer.keep(SystemTime::now(), self.stream, &self.chunk[..count]);
        }
    }

    fn take_the_rest(&mut self, writer: &mut Writer) {
        for _ in 0..LAST_CHUNKS {
            let Some(pipe) = &self.pipe else { return };
            let Ok(count) = pipe.try_read(&mut self.chunk) else { return };
            self.keep(count, writer);
        }
    }
}

fn source(number: i32, stream: Stream) -> Result<Source, Failure> {
    let pipe = Receiver::from_owned_fd(inherited(number)?).map_err(|error| not_passed(number, &error))?;
    Ok(Source { stream, pipe: Some(pipe), chunk: vec![0; CHUNK_BYTES] })
}

fn not_passed(number: i32, error: &io::Error) -> Failure {
    Failure::io(format!("use descriptor {number}"), error, "the shim must pass it: containerd's do since 1.4")
}

/// Takes over a descriptor that the shim has passed.
#[expect(unsafe_code, reason = "a descriptor that was inherited is known by its number only")]
fn inherited(number: i32) -> Result<OwnedFd, Failure> {
    // Held by its link so that nothing is claimed that is not open.
    std::fs::symlink_metadata(format!("/proc/self/fd/{number}"))
        .map_err(|error| not_passed(number, &error))?;
    // SAFETY: it is open, as was just seen. The protocol of `binary://` logs says that it is meant for this process, and
    // it is taken over once, by the only caller for its number. On a runtime that was made before, the descriptors are
    // other numbers, because these were taken already.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
