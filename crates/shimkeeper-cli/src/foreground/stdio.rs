// SPDX-License-Identifier: Apache-2.0
//! Between our standard streams and the container's.
//!
//! Our own streams are shared with whoever started us, so they are never made non-blocking: input is read by a
//! thread of its own, which the end of the process takes with it, and output is written on the blocking pool.
//! Output is copied until the container's side is at its end; only when the process is over and nothing has come
//! for a while is the end given up on. A reader of ours that is slow is waited for as long as it takes.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::leave::Keys;

/// How long after the end of the process its output may stay silent without being at its end.
const SILENCE: Duration = Duration::from_secs(5);

/// A program that goes on writing this long after its output was lost does not notice.
const GRACE: Duration = Duration::from_secs(2);

const CHUNK_BYTES: usize = 64 << 10;

/// What the container writes cannot be written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Just now, and why: most often whoever read it has gone.
    Now(Errno),
    /// A while ago, and the container still writes.
    Still,
}

/// Reads `input` to its end on a thread of its own.
pub(crate) fn read_in_background(input: OwnedFd) -> io::Result<mpsc::Receiver<Vec<u8>>> {
    // Two chunks: one on its way while the next is read; a slow container slows the reader down.
    let (sender, receiver) = mpsc::channel(2);
    let read = move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match rustix::io::read(&input, &mut buffer) {
                Ok(count @ 1..) if sender.blocking_send(buffer[..count].to_vec()).is_ok() => {}
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_for(&input, PollFlags::IN),
                // The end, an error that is as good as the end, or nobody who wants more.
                Ok(_) | Err(_) => return,
            }
        }
    };
    std::thread::Builder::new().name("stdin".to_owned()).spawn(read)?;
    Ok(receiver)
}

/// Writes what was read to the container, and then the end of it; answers the pipe. With `keys`, `None` when they were
/// pressed: nothing is at its end then.
///
/// # Cancel safety
/// What is lost when this is dropped is lost.
pub(crate) async fn pump_input<P: AsyncWrite + Unpin>(
    mut input: mpsc::Receiver<Vec<u8>>,
    mut pipe: P,
    mut keys: Option<Keys>,
) -> Option<P> {
    while let Some(chunk) = input.recv().await {
        let (chunk, leave) = match &mut keys {
            Some(keys) => keys.pass(&chunk),
            None => (chunk, false),
        };
        if pipe.write_all(&chunk).await.is_err() {
            // The container takes no more.
            return Some(pipe);
        }
        if leave {
            return None;
        }
    }
    // A container that is gone does not miss the end of its input.
    let _ = pipe.shutdown().await;
    Some(pipe)
}

/// Copies the container's output to `output` until its end. After `over` silence counts as the end.
///
/// # Cancel safety
/// What was read and not yet written may be lost when this is dropped.
pub(crate) async fn pump_output(
    mut pipe: impl AsyncRead + Unpin,
    output: OwnedFd,
    over: CancellationToken,
    lost: mpsc::UnboundedSender<Lost>,
) {
    let output = Arc::new(output);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut lost_at: Option<Instant> = None;
    let mut told = false;
    loop {
        let read = tokio::select! {
            biased;
            read = pipe.read(&mut buffer) => read,
            () = silence(&over) => return,
        };
        let Ok(count @ 1..) = read else { return };
        if let Some(since) = lost_at {
            // Reading goes on, so that the container does not stop at a full pipe.
            if !told && since.elapsed() >= GRACE {
                told = true;
                let _ = lost.send(Lost::Still);
            }
            continue;
        }
        let written;
        (buffer, written) = write_in_background(&output, buffer, count).await;
        if let Err(why) = written {
            lost_at = Some(Instant::now());
            let _ = lost.send(Lost::Now(why));
        }
    }
}

async fn silence(over: &CancellationToken) {
    over.cancelled().await;
    tokio::time::sleep(SILENCE).await;
}

async fn write_in_background(
    output: &Arc<OwnedFd>,
    buffer: Vec<u8>,
    count: usize,
) -> (Vec<u8>, Result<(), Errno>) {
    let output = Arc::clone(output);
    let write = move || {
        let result = write_all(&output, &buffer[..count]);
        (buffer, result)
    };
    let gone = || (vec![0; CHUNK_BYTES], Err(Errno::PIPE));
    tokio::task::spawn_blocking(write).await.unwrap_or_else(|_| gone())
}

fn write_all(output: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(output, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Somebody else has made it non-blocking.
            Err(Errno::AGAIN) => wait_for(output, PollFlags::OUT),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn wait_for(fd: &OwnedFd, what: PollFlags) {
    // An error here shows again, and better, in the read or write that follows.
    let _ = poll(&mut [PollFd::new(fd, what)], None);
}

#[cfg(test)]
mod tests;
