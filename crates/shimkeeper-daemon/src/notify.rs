// SPDX-License-Identifier: Apache-2.0
//! What the service manager is told. Without one, nothing; and its not listening stops nobody.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// Requests are served.
pub(crate) fn ready() {
    send(&[NotifyState::Ready]);
}

/// The configuration is read again; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager is not told of a reload"),
    }
}

/// The daemon is about to end.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Says that we are alive, for ever and often enough, if the service manager wants to hear it. The async runtime's
/// timers are what it proves alive.
pub(crate) async fn watchdog() {
    let Some(within) = sd_notify::watchdog_enabled().filter(|within| !within.is_zero()) else {
        return std::future::pending().await;
    };
    let mut beat = tokio::time::interval((within / 2).max(Duration::from_millis(1)));
    loop {
        beat.tick().await;
        send(&[NotifyState::Watchdog]);
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = try_send(state) {
        tracing::warn!(%error, "the service manager cannot be told anything");
    }
}

/// Waits for nothing: of a service manager that reads no more, as systemd once it has crashed, the socket is full soon.
fn try_send(state: &[NotifyState<'_>]) -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(&path)?,
    }
    let text = state.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    socket.send(text.as_bytes()).map(drop)
}
