// SPDX-License-Identifier: Apache-2.0
//! Unix sockets, by path and by abstract name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

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

pub(super) async fn connect(
    name: Name<'_>,
    address: &Address,
    mode: DialMode,
) -> Result<UnixStream, Failure> {
    let path = fitting(name).map_err(Failure::Final)?;
    UnixStream::connect(path).await.map_err(|source| failure(address, mode, source))
}

/// The path to connect to (a leading NUL marks an abstract name), if it fits a socket address.
fn fitting(name: Name<'_>) -> Result<PathBuf, DialError> {
    let bytes = match name {
        Name::Path(path) => path.as_os_str().as_bytes(),
        Name::Abstract(name) => name.as_bytes(),
    };
    if bytes.len() > MAX_NAME_BYTES {
        return Err(DialError::NameTooLong { path: OsStr::from_bytes(bytes).into(), len: bytes.len() });
    }
    Ok(match name {
        Name::Path(path) => path.to_owned(),
        Name::Abstract(_) => OsStr::from_bytes(&[b"\0", bytes].concat()).into(),
    })
}
