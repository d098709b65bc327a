// SPDX-License-Identifier: Apache-2.0
//! Unix sockets, by path and by abstract name.
//!
//! Connecting to one never waits: the kernel puts us into the listener's queue, or says why not. So what is to be said
//! first leaves right behind it, and the shim wakes up once for both.

use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use shimkeeper_ttrpc::Stream;

use super::{DialError, DialMode, Failure, failure};
use crate::Address;

/// What `sockaddr_un` holds besides the NUL before or after it.
pub(super) const MAX_NAME_BYTES: usize = 107;

/// What a unix socket is called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name<'a> {
    Path(&'a Path),
    Abstract(&'a str),
}

pub(super) fn connect(name: Name<'_>, address: &Address, mode: DialMode) -> Result<Stream, Failure> {
    let (path, len) = match name {
        Name::Path(path) => (path, path.as_os_str().len()),
        Name::Abstract(name) => (Path::new(name), name.len()),
    };
    if len > MAX_NAME_BYTES {
        return Err(Failure::Final(DialError::NameTooLong { path: path.to_owned(), len }));
    }
    connect_to(name).map_err(|source| failure(address, mode, source))
}

fn connect_to(name: Name<'_>) -> std::io::Result<Stream> {
    let to = match name {
        Name::Path(path) => SocketAddrUnix::new(path),
        Name::Abstract(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
    }?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &to)?;
    Stream::new(socket)
}
