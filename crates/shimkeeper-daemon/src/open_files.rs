// SPDX-License-Identifier: Apache-2.0
//! How many files may be open. Every task takes three, and the soft limit that most service managers and shells give, 1024,
//! is for programs that call `select`: we take what the hard one allows. Containers are not to notice: what they have is
//! what a program gets that knows nothing of all this.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fewer than this many are told about.
const FEW: u64 = 4096;

/// Raises our own limit as far as it goes; answers the one that shims are to have, if that is another now.
pub(crate) fn raise_limit() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let (soft, hard) = (before.current?, before.maximum);
    let raised = hard.is_none_or(|hard| soft < hard)
        && setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).is_ok();
    let limit = if raised { hard } else { Some(soft) };
    if let Some(limit) = limit.filter(|limit| *limit < FEW) {
        tracing::warn!(limit, "few files may be open, and every task takes three: raise LimitNOFILE");
    }
    raised.then_some(soft)
}
