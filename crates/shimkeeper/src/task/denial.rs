// SPDX-License-Identifier: Apache-2.0
//! A shim that lives and has no such task any more: somebody deleted it and did not come to the end, mostly a manager
//! that was killed while the shim was at it. The deletion is completed, so that nobody lists for ever what is over.
//!
//! ```text
//! NotFound, or an event of its deletion → hold → ask State ─┬─ it has the task ────────────▶ kept
//!                                           ▲               ├─ NotFound, and init is dead ─▶ the end of a deletion
//!                                           └── init ends ──┴─ NotFound, and init lives ───▶ kept, and said why
//! ```
//!
//! Only a shim that is known to be the task's own is taken at its word, and never about what can be seen to live.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shimkeeper_core::{HasKind as _, Kind, ProcessKey};

use crate::ending::{self, DELETE, DYING};
use crate::role::Role;
use crate::shim::Shim;
use crate::{identify, reconcile};

/// The shim is said to have no such task: sees whether that is so, in the background, and completes the deletion then.
pub(crate) fn heard(shim: &Arc<Shim>) {
    let denial = &shim.denial;
    // Where nobody knows the shim's process, another one may have come to answer.
    let is_known = shim.identity().is_some() || !shim.record.is_of_another();
    if shim.role != Role::Task
        || !is_known
        || !denial.is_credible.load(Ordering::Relaxed)
        || denial.is_heard.swap(true, Ordering::Relaxed)
    {
        return;
    }
    let (shim, leave) = (shim.clone(), shim.env.scope.detach_token().clone());
    shim.env.scope.clone().spawn(async move {
        leave.run_until_cancelled(Box::pin(look_into(&shim))).await;
        shim.denial.is_heard.store(false, Ordering::Relaxed);
    });
}

async fn look_into(shim: &Arc<Shim>) {
    let mut init_ended = false;
    // Not granted once it is over, or on its way there: a deletion that is under way comes first.
    while let Ok(permit) = shim.hold().await {
        if !is_denied(shim).await {
            return;
        }
        if init_ended || is_over(shim) {
            tracing::info!(
                namespace = %shim.key.namespace, task = %shim.key.id,
                "its shim has deleted it and nobody cleared up: completing the deletion"
            );
            if let Err(error) = ending::settle(shim, DELETE, permit).await {
                tracing::warn!(
                    namespace = %shim.key.namespace, task = %shim.key.id, %error,
                    "the deletion could not be completed"
                );
            }
            return;
        }
        drop(permit);
        let Some(init) = shim.held(&ProcessKey::Init) else {
            tracing::warn!(
                namespace = %shim.key.namespace, task = %shim.key.id,
                "its shim denies the task, and nobody saw its init end: it is kept"
            );
            return;
        };
        tracing::warn!(
            namespace = %shim.key.namespace, task = %shim.key.id, init = init.identity().pid,
            "its shim denies the task, whose init is alive: it is kept until that ends"
        );
        init_ended = init.exited().await.is_ok();
        if !init_ended {
            return;
        }
        // Its shim saw that too, and may tell how.
        let _ = tokio::time::timeout(DYING, shim.ledger.exited(&ProcessKey::Init)).await;
    }
}

/// Whether the shim says, now, that it has no such task.
async fn is_denied(shim: &Shim) -> bool {
    let Some(connection) = shim.connection() else { return false };
    let told = reconcile::ask(shim, &connection, &ProcessKey::Init).await;
    told.answer.is_err_and(|error| error.kind() == Kind::NotFound)
}

/// Whether the init is known to have ended. One that others have too, that of a virtual machine, says nothing.
fn is_over(shim: &Shim) -> bool {
    match shim.init_identity() {
        Some(init) if !identify::is_shared(shim, &init) => identify::is_gone(&init),
        Some(_) | None => shim.ledger.exit(&ProcessKey::Init).is_some(),
    }
}
