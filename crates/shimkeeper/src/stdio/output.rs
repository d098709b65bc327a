// SPDX-License-Identifier: Apache-2.0
//! The reading end of a process's output.
//!
//! Normally the pipe is read when the embedder reads. Before a process is deleted its shim drains what it wrote, so
//! from then on we read ahead of the embedder, into bounded memory; and a pipe that is dropped is read to its end and
//! thrown away, so that a process never stops for want of a reader that has left.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;
use tokio::runtime::Handle;

use crate::scope::Scope;

/// What is kept of output that was read ahead. A process that has ended can have left two full pipes (128 KiB).
const KEPT_BYTES: usize = 1 << 20;

/// What a process writes, until it and everybody who inherited its output have closed it.
///
/// Dropping it does not close the process's output; what comes is then thrown away.
#[derive(Debug)]
pub struct OutputPipe {
    spill: Arc<Spill>,
    scope: Scope,
    runtime: Handle,
}

/// The pipe, and what was read of it ahead of its reader.
#[derive(Debug)]
pub(crate) struct Spill {
    receiver: pipe::Receiver,
    ahead: Mutex<Ahead>,
}

#[derive(Debug, Default)]
struct Ahead {
    begun: bool,
    ended: bool,
    discard: bool,
    bytes: VecDeque<u8>,
    reader: Option<Waker>,
}

impl OutputPipe {
    pub(crate) fn new(receiver: pipe::Receiver, scope: Scope) -> Self {
        let spill = Arc::new(Spill { receiver, ahead: Mutex::default() });
        Self { spill, scope, runtime: Handle::current() }
    }

    pub(crate) fn spill(&self) -> Arc<Spill> {
        self.spill.clone()
    }
}

impl Spill {
    fn lock(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether reading ahead begins now; `false` if it has begun before.
    pub(crate) fn begin(&self) -> bool {
        let mut ahead = self.lock();
        if let Some(reader) = ahead.reader.take() {
            reader.wake();
        }
        !std::mem::replace(&mut ahead.begun, true)
    }

    /// Reads to the end. Beyond the bound the oldest bytes are kept and the newest thrown away.
    pub(crate) async fn run(&self) {
        let mut chunk = vec![0; 16 << 10];
        loop {
            let read = match self.receiver.readable().await.and_then(|()| self.receiver.try_read(&mut chunk))
            {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Ok(read) => read,
                Err(_) => 0,
            };
            let mut ahead = self.lock();
            let room = if ahead.discard { 0 } else { KEPT_BYTES - ahead.bytes.len() };
            ahead.bytes.extend(&chunk[..read.min(room)]);
            ahead.ended = read == 0;
            if let Some(reader) = ahead.reader.take() {
                reader.wake();
            }
            if ahead.ended {
                return;
            }
        }
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            {
                let mut ahead = self.lock();
                if ahead.begun {
                    let wanted = buf.remaining().min(ahead.bytes.len());
                    for byte in ahead.bytes.drain(..wanted) {
                        buf.put_slice(&[byte]);
                    }
                    if wanted > 0 || ahead.ended || buf.remaining() == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    ahead.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                ahead.reader = Some(cx.waker().clone());
            }
            ready!(self.receiver.poll_read_ready(cx))?;
            match self.receiver.try_read(buf.initialize_unfilled()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncRead for OutputPipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.spill.poll_read(cx, buf)
    }
}

impl Drop for OutputPipe {
    fn drop(&mut self) {
        {
            let mut ahead = self.spill.lock();
            ahead.discard = true;
            ahead.bytes = VecDeque::new();
        }
        if self.spill.begin() {
            let (spill, detach) = (self.spill.clone(), self.scope.detach_token().clone());
            // On the runtime the pipe was made on: a drop may come from any thread.
            self.scope.tasks().spawn_on(
                async move {
                    detach.run_until_cancelled(spill.run()).await;
                },
                &self.runtime,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn piped() -> (std::io::PipeWriter, OutputPipe) {
        let (reader, writer) = std::io::pipe().unwrap();
        let receiver = pipe::Receiver::from_owned_fd(reader.into()).unwrap();
        (writer, OutputPipe::new(receiver, Scope::default()))
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_still_there_and_in_order() {
        let (mut writer, mut output) = piped();
        writer.write_all(b"first ").unwrap();
        let mut first = [0; 3];
        output.read_exact(&mut first).await.unwrap();
        assert!(output.spill.begin() && !output.spill.begin());
        writer.write_all(b"second").unwrap();
        drop(writer);
        output.spill().run().await;
        let mut rest = String::new();
        output.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "st second");
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_told_when_reading_ahead_begins() {
        let (mut writer, mut output) = piped();
        let spill = output.spill();
        let reading = tokio::task::LocalSet::new();
        reading
            .run_until(async {
                let reader = tokio::task::spawn_local(async move {
                    let mut text = String::new();
                    output.read_to_string(&mut text).await.map(|_| text)
                });
                tokio::task::yield_now().await;
                assert!(spill.begin());
                writer.write_all(b"late").unwrap();
                drop(writer);
                spill.run().await;
                assert_eq!(reader.await.unwrap().unwrap(), "late");
            })
            .await;
    }

    #[tokio::test]
    async fn a_dropped_pipe_is_read_to_its_end() {
        let (mut writer, output) = piped();
        let scope = output.scope.clone();
        drop(output);
        let writing = tokio::task::spawn_blocking(move || writer.write_all(&vec![7; 1 << 20]));
        writing.await.unwrap().unwrap();
        scope.tasks().close();
        scope.others_ended().await;
    }
}
