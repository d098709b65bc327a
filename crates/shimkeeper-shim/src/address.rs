// SPDX-License-Identifier: Apache-2.0
//! Where a shim listens. Parsed strictly, so that what is dialled is never made of garbage.
//!
//! The forms are containerd's: `unix:///path`, `vsock://cid:port`, `hvsock:///path:port`. A text without a
//! scheme is an abstract socket for ttrpc and a path for gRPC, because each was dialled that way first.

mod rule;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::TaskApi;

/// Where a shim listens. A clone shares what it says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A socket in the file system; the path is absolute.
    Unix(Arc<Path>),
    /// A socket in the abstract namespace, named without the leading NUL.
    Abstract(Arc<str>),
    /// A port of a virtual machine.
    Vsock {
        /// Context id of the machine.
        cid: u32,
        /// Port within it.
        port: u32,
    },
    /// A port of a virtual machine, reached through the hypervisor's socket.
    Hvsock {
        /// The hypervisor's socket.
        path: Arc<Path>,
        /// Port within the machine.
        port: u32,
    },
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing there.
    #[error("the address is empty")]
    Empty,
    /// Control characters, which no address has.
    #[error("the address has unprintable characters")]
    Unprintable,
    /// The scheme is none we can dial.
    #[error("the address has a scheme other than unix, vsock and hvsock")]
    Scheme,
    /// The socket's path is relative, so it would depend on who dials.
    #[error("the socket's path is not absolute")]
    Relative,
    /// The name does not fit a socket address.
    #[error("the socket's name is {len} bytes long, at most {MAX_SOCKET_NAME} fit")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The number after the colon, or before it, is none.
    #[error("the address ends in no port number")]
    Port,
}

/// What `sockaddr_un` holds besides a NUL, in bytes.
const MAX_SOCKET_NAME: usize = 107;

impl Address {
    /// A socket in the file system.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::Unix(path.as_ref().into())
    }

    /// Reads an address as a shim with this API means it.
    ///
    /// # Errors
    /// [`AddressError`] if it is none.
    pub fn parse(text: &str, api: TaskApi) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(AddressError::Unprintable);
        }
        match text.split_once("://") {
            Some(("unix", path)) => socket_path(path).map(Self::Unix),
            Some(("vsock", rest)) => {
                let (cid, port) = rest.split_once(':').ok_or(AddressError::Port)?;
                Ok(Self::Vsock { cid: number(cid)?, port: number(port)? })
            }
            Some(("hvsock", rest)) => {
                let (path, port) = rest.rsplit_once(':').ok_or(AddressError::Port)?;
                Ok(Self::Hvsock { path: socket_path(path)?, port: number(port)? })
            }
            Some(_) => Err(AddressError::Scheme),
            None if api == TaskApi::GrpcV3 => socket_path(text).map(Self::Unix),
            None => bounded(text).map(|name| Self::Abstract(name.into())),
        }
    }

    /// The address as a shim with this API would have announced it, so that every other reader of
    /// `bootstrap.json` finds the form it expects: gRPC addresses are bare paths there.
    pub fn announced(&self, api: TaskApi) -> String {
        match (self, api) {
            (Self::Unix(path), TaskApi::GrpcV3) => path.display().to_string(),
            _ => self.to_string(),
        }
    }

    /// The socket's path, if it has one in the file system.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) | Self::Hvsock { path, .. } => Some(path),
            Self::Abstract(_) | Self::Vsock { .. } => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Abstract(name) => f.write_str(name),
            Self::Vsock { cid, port } => write!(f, "vsock://{cid}:{port}"),
            Self::Hvsock { path, port } => write!(f, "hvsock://{}:{port}", path.display()),
        }
    }
}

fn bounded(name: &str) -> Result<&str, AddressError> {
    if name.len() > MAX_SOCKET_NAME { Err(AddressError::TooLong { len: name.len() }) } else { Ok(name) }
}

fn socket_path(path: &str) -> Result<Arc<Path>, AddressError> {
    if !path.starts_with('/') {
        return Err(AddressError::Relative);
    }
    bounded(path).map(|path| Path::new(path).into())
}

/// Decimal digits only: `parse` alone would take a sign.
fn number(text: &str) -> Result<u32, AddressError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AddressError::Port);
    }
    text.parse().map_err(|_| AddressError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back() {
        for api in [TaskApi::TtrpcV2, TaskApi::TtrpcV3, TaskApi::GrpcV3] {
            for text in ["unix:///run/s/a", "vsock://3:1024", "hvsock:///run/vm.sock:10"] {
                assert_eq!(Address::parse(text, api).unwrap().to_string(), text);
            }
        }
    }

    #[test]
    fn a_bare_path_is_what_the_protocol_says() {
        let path: Arc<Path> = Path::new("/run/s/a").into();
        assert_eq!(Address::parse("/run/s/a", TaskApi::GrpcV3), Ok(Address::Unix(path.clone())));
        assert_eq!(Address::parse("/run/s/a", TaskApi::TtrpcV2), Ok(Address::Abstract("/run/s/a".into())));
        assert_eq!(Address::Unix(path.clone()).announced(TaskApi::GrpcV3), "/run/s/a");
        assert_eq!(Address::Unix(path).announced(TaskApi::TtrpcV3), "unix:///run/s/a");
    }

    #[test]
    fn refuses_what_cannot_be_dialled() {
        use AddressError as E;
        let long = format!("unix:///{}", "x".repeat(107));
        let rows = [
            ("", E::Empty),
            ("unix://", E::Relative),
            ("unix://run/s", E::Relative),
            ("tcp://127.0.0.1:1", E::Scheme),
            ("a\nb", E::Unprintable),
            ("unix:///a\0b", E::Unprintable),
            ("vsock://3", E::Port),
            ("vsock://-1:2", E::Port),
            ("vsock://1:4294967296", E::Port),
            ("hvsock:///x:", E::Port),
            ("hvsock://x:1", E::Relative),
            (long.as_str(), E::TooLong { len: 108 }),
        ];
        for (text, error) in rows {
            assert_eq!(Address::parse(text, TaskApi::TtrpcV3), Err(error), "{text:?}");
        }
    }
}
