// SPDX-License-Identifier: Apache-2.0
//! How many files may be open. Every task takes three, and the soft limit that most service managers and shells give, 1024,
//! is for programs that call `select`: it is raised as far as the hard one goes. Shims, and containers after them, start
//! with the one that there was before, as if nobody had touched it.
//!
//! It is raised when there is need and not before, because a process with another limit than ours takes a fork, which
//! copies our tables of pages: a millisecond of processor time.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many are kept free, if there may be four times as many: creations that have begun need some to come to their end
/// or to be undone, and whoever is to end something, to ask for it.
const SPARE: u64 = 64;

/// The soft limit before it was raised: of all the process, as the limit is.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// Raises the process's soft limit of open files to the hard one; whether more may be open now than before. Shims that
/// are launched from here on start with the limit that there was.
///
/// A program that embeds the library need not call it: it is raised by itself when tasks need it.
pub fn raise_open_files() -> bool {
    let Rlimit { current: Some(soft), maximum: Some(hard) } = getrlimit(Resource::Nofile) else {
        return false;
    };
    if soft >= hard {
        return false;
    }
    // First, so that no shim starts with more in between.
    BEFORE.get_or_init(|| soft);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: Some(hard) }).is_ok();
    if raised {
        tracing::info!(from = soft, to = hard, "files run short: more may be open now");
    }
    raised
}

/// Raises it if so many more may come to be open soon; whether there is room for them then.
pub fn expect_open_files(more: usize) -> bool {
    let most = u64::try_from(more).unwrap_or(u64::MAX).saturating_add(SPARE);
    let has_room = || getrlimit(Resource::Nofile).current.is_none_or(|soft| soft >= most);
    has_room() || (raise_open_files() && has_room())
}

/// Whether there are few left, for what can wait until there are more.
pub fn open_files_run_short() -> bool {
    File::open("/").map_or_else(|error| Errno::from_io_error(&error) == Some(Errno::MFILE), run_short)
}

/// Whether there are few left and there cannot be more, by the descriptor that was had last: the lowest one is given out.
pub(crate) fn run_short(last: impl AsFd) -> bool {
    let used = u64::try_from(last.as_fd().as_raw_fd()).unwrap_or(0);
    let is_short =
        || getrlimit(Resource::Nofile).current.is_some_and(|most| used >= most - SPARE.min(most / 4));
    is_short() && (!raise_open_files() || is_short())
}

/// The soft limit that shims are to start with, where it is not ours.
pub(crate) fn before() -> Option<u64> {
    BEFORE.get().copied()
}
