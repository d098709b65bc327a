// SPDX-License-Identifier: Apache-2.0
//! What kind of failure an error is: the sixteen kinds that containerd, gRPC and ttrpc share.

use std::fmt;

/// The kind of a failure; what a caller may decide on. The text of an error is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The caller withdrew the request.
    Canceled,
    /// None of the others.
    Unknown,
    /// The request can never succeed as it is.
    InvalidArgument,
    /// The time allowed for it ran out; whether it took effect is not known.
    DeadlineExceeded,
    /// No such thing.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// Not allowed.
    PermissionDenied,
    /// A limit or a full disk is in the way.
    ResourceExhausted,
    /// The thing is not in a state that allows it.
    FailedPrecondition,
    /// Given up because of a conflict; may be tried again.
    Aborted,
    /// A position outside of what there is.
    OutOfRange,
    /// The shim, or this build, does not do this.
    NotImplemented,
    /// An invariant is broken.
    Internal,
    /// Not reachable at the moment; may be tried again.
    Unavailable,
    /// Data is damaged.
    DataLoss,
    /// The caller is not known.
    Unauthenticated,
}

const TABLE: [(Kind, i32, &str); 16] = [
    (Kind::Canceled, 1, "canceled"),
    (Kind::Unknown, 2, "unknown"),
    (Kind::InvalidArgument, 3, "invalid argument"),
    (Kind::DeadlineExceeded, 4, "deadline exceeded"),
    (Kind::NotFound, 5, "not found"),
    (Kind::AlreadyExists, 6, "already exists"),
    (Kind::PermissionDenied, 7, "permission denied"),
    (Kind::ResourceExhausted, 8, "resource exhausted"),
    (Kind::FailedPrecondition, 9, "failed precondition"),
    (Kind::Aborted, 10, "aborted"),
    (Kind::OutOfRange, 11, "out of range"),
    (Kind::NotImplemented, 12, "not implemented"),
    (Kind::Internal, 13, "internal"),
    (Kind::Unavailable, 14, "unavailable"),
    (Kind::DataLoss, 15, "data loss"),
    (Kind::Unauthenticated, 16, "unauthenticated"),
];

impl Kind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static (Self, i32, &'static str) {
        TABLE.iter().find(|row| row.0 == self).expect("every kind has a row")
    }

    /// The number that gRPC and ttrpc put on the wire.
    pub fn code(self) -> i32 {
        self.row().1
    }

    /// The kind behind a number on the wire; numbers that are none become [`Kind::Unknown`].
    pub fn from_code(code: i32) -> Self {
        TABLE.iter().find(|row| row.1 == code).map_or(Self::Unknown, |row| row.0)
    }

    /// The words for it.
    pub fn as_str(self) -> &'static str {
        self.row().2
    }

    /// The kind of a failed system call, as far as its number alone can tell; also of one that is the source of what an
    /// [`std::io::Error`] was made of.
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as E;
        match error.kind() {
            E::NotFound => Self::NotFound,
            E::AlreadyExists => Self::AlreadyExists,
            E::PermissionDenied | E::ReadOnlyFilesystem => Self::PermissionDenied,
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge | E::OutOfMemory => Self::ResourceExhausted,
            E::InvalidInput | E::InvalidFilename => Self::InvalidArgument,
            E::TimedOut => Self::DeadlineExceeded,
            E::ConnectionRefused
            | E::ConnectionReset
            | E::ConnectionAborted
            | E::BrokenPipe
            | E::NotConnected => Self::Unavailable,
            E::ResourceBusy | E::DirectoryNotEmpty => Self::FailedPrecondition,
            // ENXIO: nobody is at the other end of a FIFO.
            _ if error.raw_os_error() == Some(6) => Self::Unavailable,
            // ENFILE and EMFILE: no file descriptors; EAGAIN from clone: no processes.
            _ if matches!(error.raw_os_error(), Some(23 | 24 | 11)) => Self::ResourceExhausted,
            _ => {
                let within = error.get_ref().and_then(|error| error.source()?.downcast_ref());
                within.map_or(Self::Unknown, Self::of_io)
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that knows its kind. The code on the wire is derived from it in one place.
pub trait HasKind {
    /// The kind of this failure.
    fn kind(&self) -> Kind;
}

impl HasKind for crate::IdError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_wire_and_read_back() {
        assert_eq!(Kind::all().count(), 16);
        for (index, kind) in Kind::all().enumerate() {
            assert_eq!(kind.code(), i32::try_from(index).unwrap() + 1);
            assert_eq!(Kind::from_code(kind.code()), kind);
        }
        assert_eq!(Kind::from_code(0), Kind::Unknown);
        assert_eq!(Kind::from_code(99), Kind::Unknown);
    }

    #[test]
    fn a_fifo_without_a_reader_is_unavailable() {
        assert_eq!(Kind::of_io(&std::io::Error::from_raw_os_error(6)), Kind::Unavailable);
    }

    #[test]
    fn a_full_disk_is_a_resource_that_ran_out() {
        for errno in [28, 122, 24, 23] {
            assert_eq!(
                Kind::of_io(&std::io::Error::from_raw_os_error(errno)),
                Kind::ResourceExhausted,
                "{errno}"
            );
        }
    }

    #[test]
    fn an_error_made_of_another_has_its_kind() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open process 7")]
        struct Outer(#[source] std::io::Error);
        let outer = |errno| std::io::Error::other(Outer(std::io::Error::from_raw_os_error(errno)));
        assert_eq!(Kind::of_io(&outer(24)), Kind::ResourceExhausted);
        assert_eq!(Kind::of_io(&outer(13)), Kind::PermissionDenied);
        assert_eq!(Kind::of_io(&std::io::Error::other("words")), Kind::Unknown);
    }
}
