// SPDX-License-Identifier: Apache-2.0
//! Virtual sockets (AF_VSOCK): a shim inside a virtual machine, or the host seen from one.
//!
//! A connect and a stream are all that is needed, so they are here instead of a dependency; the socket's address
//! is the one thing the system call layer has no type for.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{DialError, DialMode, Failure, failure};
use crate::Address;

/// The kernel's `struct sockaddr_vm`.
#[repr(C)]
struct SockaddrVm {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    flags: u8,
    zero: [u8; 3],
}

// SAFETY: the pointer is to `self`, which is `sockaddr_vm` field by field without padding, and is readable for its
// whole size while `f` runs.
#[expect(unsafe_code, reason = "the trait is unsafe to implement, and rustix has no type for this address")]
unsafe impl SocketAddrArg for SockaddrVm {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        const LEN: SocketAddrLen = 16;
        const { assert!(size_of::<SockaddrVm>() == LEN as usize) };
        f(std::ptr::from_ref(self).cast(), LEN)
    }
}

pub(super) async fn connect(
    cid: u32,
    port: u32,
    address: &Address,
    mode: DialMode,
) -> Result<VsockStream, Failure> {
    match connect_to(cid, port).await {
        Ok(stream) => Ok(stream),
        Err(error) => Err(sort(address, mode, error)),
    }
}

/// Besides what every socket can say, this family may be missing, as a whole or its way to the peer.
fn sort(address: &Address, mode: DialMode, source: io::Error) -> Failure {
    use rustix::io::Errno;
    match Errno::from_io_error(&source) {
        Some(Errno::AFNOSUPPORT | Errno::NODEV) => {
            Failure::Final(DialError::NoVsock { address: address.to_string(), source })
        }
        // The peer's kernel answers a port without listener by a reset.
        Some(Errno::CONNRESET) => {
            Failure::Final(DialError::Refused { address: address.to_string(), mode, source })
        }
        // The kernel's own patience of two seconds, not ours.
        Some(Errno::TIMEDOUT) => Failure::Again("its machine does not answer".to_owned()),
        _ => failure(address, mode, source),
    }
}

async fn connect_to(cid: u32, port: u32) -> io::Result<VsockStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)?;
    let family = AddressFamily::VSOCK.as_raw();
    let peer = SockaddrVm { family, reserved: 0, port, cid, flags: 0, zero: [0; 3] };
    match rustix::net::connect(&socket, &peer) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    // SAFETY: an `OwnedFd` is open, and the same descriptor, for as long as the `AsyncFd` owns it.
    #[expect(unsafe_code, reason = "registering an fd promises that it stays open")]
    let socket = unsafe { AsyncFd::register(socket) }?;
    // The write readiness of a connecting socket is its outcome.
    socket.writable().await?.retain_ready();
    sockopt::socket_error(&socket)??;
    Ok(VsockStream(socket))
}

/// A connected virtual socket.
#[derive(Debug)]
pub(crate) struct VsockStream(AsyncFd<OwnedFd>);

impl AsyncRead for VsockStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let room = into.initialize_unfilled();
            let received = ready.try_io(|socket| Ok(rustix::net::recv(socket, room, RecvFlags::empty())?.0));
            if let Ok(received) = received {
                return Poll::Ready(received.map(|count| into.advance(count)));
            }
        }
    }
}

impl AsyncWrite for VsockStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            let sent = ready.try_io(|socket| Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?));
            if let Ok(sent) = sent {
                return Poll::Ready(sent);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(rustix::net::shutdown(&self.0, Shutdown::Write)?))
    }
}
