// SPDX-License-Identifier: Apache-2.0
//! A connected Unix socket that wakes nobody in vain. The runtime's own is watched both ways at all times, so that each
//! message a peer takes out of its socket wakes us to be told that there is room, which there was before. This one is
//! watched for what comes; and for room only while there is none, through a second descriptor, because a descriptor can
//! be watched once.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// A connected Unix socket.
#[derive(Debug)]
pub struct Stream {
    socket: AsyncFd<OwnedFd>,
    /// The same socket, watched for room; only while it had none for the last bytes.
    full: Option<AsyncFd<OwnedFd>>,
}

impl Stream {
    /// Takes over a socket that does not block.
    ///
    /// # Errors
    /// If it cannot be watched; it is closed then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        Ok(Self { socket: watch(socket.into(), Interest::READABLE)?, full: None })
    }

    /// Tries to send something until that would wait, and then waits for room.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&OwnedFd) -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(full) = &self.full {
                let mut ready = ready!(full.poll_write_ready(cx))?;
                let Ok(sent) = ready.try_io(|socket| Ok(attempt(socket.get_ref())?)) else { continue };
                self.full = None;
                return Poll::Ready(sent);
            }
            match attempt(self.socket.get_ref()) {
                Err(Errno::WOULDBLOCK) => {
                    let again = rustix::io::fcntl_dupfd_cloexec(self.socket.get_ref(), 0)?;
                    self.full = Some(watch(again, Interest::WRITABLE)?);
                }
                Err(Errno::INTR) => {}
                sent => return Poll::Ready(Ok(sent?)),
            }
        }
    }
}

fn watch(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps its descriptor open, and the same, for as long as the `AsyncFd` owns it.
    #[expect(unsafe_code, reason = "registering an fd promises that it stays open")]
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            let room = into.initialize_unfilled();
            let most = room.len();
            let received = ready.try_io(|socket| Ok(rustix::net::recv(socket, room, RecvFlags::empty())?.0));
            match received {
                Ok(Ok(count)) => {
                    if (1..most).contains(&count) {
                        // There was no more, and what comes now is told anew: no need to ask.
                        ready.clear_ready();
                    }
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, |socket| rustix::net::send(socket, bytes, SendFlags::NOSIGNAL))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, |socket| {
            rustix::net::sendmsg(
                socket,
                slices,
                &mut rustix::net::SendAncillaryBuffer::default(),
                SendFlags::NOSIGNAL,
            )
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(rustix::net::shutdown(self.socket.get_ref(), Shutdown::Write)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn pair() -> (Stream, UnixStream) {
        let (a, b) = UnixStream::pair().unwrap();
        (Stream::new(a.into_std().unwrap()).unwrap(), b)
    }

    #[tokio::test]
    async fn what_is_sent_arrives_both_ways_until_the_end() {
        let (mut stream, mut peer) = pair();
        for round in 0..3_u8 {
            peer.write_all(&[round; 7]).await.unwrap();
            let mut got = [0; 7];
            timeout(PATIENCE, stream.read_exact(&mut got)).await.unwrap().unwrap();
            assert_eq!(got, [round; 7]);
            let slices = [io::IoSlice::new(b"ab"), io::IoSlice::new(b"c")];
            assert_eq!(stream.write_vectored(&slices).await.unwrap(), 3);
            let mut got = [0; 3];
            peer.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"abc");
        }
        stream.shutdown().await.unwrap();
        assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0);
        drop(peer);
        assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
        assert_eq!(stream.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_buffer_that_was_filled_is_not_taken_for_all_there_was() {
        let (mut stream, mut peer) = pair();
        peer.write_all(&[1; 10]).await.unwrap();
        let mut got = [0; 4];
        for count in [4, 4, 2] {
            assert_eq!(timeout(PATIENCE, stream.read(&mut got)).await.unwrap().unwrap(), count);
        }
        assert_eq!(stream.read(&mut []).await.unwrap(), 0, "and no room is no end");
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_for_it_and_is_watched_no_longer_than_that() {
        let (mut stream, mut peer) = pair();
        let bytes = vec![5; 4 << 20];
        let sending = async {
            stream.write_all(&bytes).await.unwrap();
            stream
        };
        let receiving = async {
            let mut got = vec![0; bytes.len()];
            peer.read_exact(&mut got).await.unwrap();
            assert_eq!(got, bytes);
        };
        let (stream, ()) = timeout(PATIENCE, async { tokio::join!(sending, receiving) }).await.unwrap();
        assert!(stream.full.is_none());
    }

    #[tokio::test]
    async fn a_peer_that_takes_what_was_sent_wakes_nobody() {
        let (mut stream, mut peer) = pair();
        stream.write_all(b"x").await.unwrap();
        peer.read_exact(&mut [0; 1]).await.unwrap();
        let watched = stream.socket.ready(Interest::READABLE | Interest::WRITABLE);
        assert!(timeout(Duration::from_millis(50), watched).await.is_err());
    }
}
