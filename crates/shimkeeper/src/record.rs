// SPDX-License-Identifier: Apache-2.0
//! The write-ahead record: one file of our own in every bundle, on disk before a shim is launched and kept true
//! after. It is what makes "leaks nothing" and "exactly one exit" decidable after a crash at any step.
//!
//! Written beside the files of the original layout and ignored by everybody else. It is lines, of which the last whole
//! one counts: a change adds one, and now and then, or where the file is not as it was left, replaces all of them by a
//! rename. Where the state directory is not in memory it is synced: no task survives a crash of the machine, but an exit
//! that was announced is not to be announced again after one.

mod form;

use std::sync::{Arc, Mutex, PoisonError};

use shimkeeper_core::{HasKind as _, Incarnation, Kind};
use shimkeeper_shim::{
    BootId, BootstrapParams, Bundle, BundleError, Cgroup, Durability, Launch, ProcessIdentity, ShimBinary,
};

use crate::error::{Cause, Error, Step};
use crate::ledger::{Book, Ledger};
use crate::runc;
use crate::scope::Scope;

/// The record's name in the bundle.
pub(crate) const NAME: &str = "shimkeeper.json";

/// How long the file becomes before its lines are replaced by one: what it takes in memory anyway.
const MOST: u32 = 4096;

/// How far a task had come when the record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A shim may have been launched; the task may have been made.
    Creating,
    /// The task exists.
    Live,
    /// It has been decided that the task goes.
    Deleting,
}

/// What the record says.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// What was launched, or is about to be; of what another manager launched nothing but an incarnation of our own.
    pub(crate) launch: Launch,
    pub(crate) boot_id: BootId,
    pub(crate) stage: Stage,
    /// The binary of the shim.
    pub(crate) runtime: ShimBinary,
    /// Where the shim listens, as it said when it was launched.
    pub(crate) bootstrap: Option<BootstrapParams>,
    pub(crate) shim: Option<ProcessIdentity>,
    /// Whether another manager launched the shim: then no process carries the mark of the incarnation.
    pub(crate) taken_over: bool,
    /// Whether that process was launched by somebody else.
    pub(crate) shim_is_foreign: bool,
    pub(crate) init: Option<ProcessIdentity>,
    /// The container's own control group.
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) book: Book,
}

/// The record of one bundle: what it says, and the file.
#[derive(Debug)]
pub(crate) struct RecordFile {
    scope: Scope,
    bundle: Arc<Bundle>,
    /// See [`Record::launch`].
    launch: Launch,
    /// See [`Record::taken_over`].
    taken_over: bool,
    page: Mutex<Page>,
}

/// What the record says, and whether the file says so too.
#[derive(Debug)]
struct Page {
    record: Record,
    is_saved: bool,
    /// How long the file is; 0 where no line is to be added to it: because a manager before us wrote it, or because of
    /// what came of the last try.
    len: u32,
    /// Whether the bundle is ours to remove from now on, and so nobody's to make again.
    is_over: bool,
}

/// Why a record cannot be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("cannot read the record")]
    Read(#[source] BundleError),
    #[error("the record is damaged")]
    Damaged(#[source] serde_json::Error),
    #[error("the record has version {0}, which this build does not know")]
    Version(u32),
}

impl Record {
    /// Whether the shim's processes can be told from all others: by identity, or by the mark of their launch.
    pub(crate) fn knows_its_shim(&self) -> bool {
        self.shim.is_some() || !self.taken_over
    }

    /// Of what is about to be launched with this binary.
    pub(crate) fn new(incarnation: Incarnation, boot_id: BootId, runtime: ShimBinary) -> Self {
        Self {
            launch: Launch::now(incarnation),
            boot_id,
            stage: Stage::Creating,
            runtime,
            bootstrap: None,
            shim: None,
            taken_over: false,
            shim_is_foreign: false,
            init: None,
            cgroup: None,
            book: Book::default(),
        }
    }
}

impl RecordFile {
    /// A record that is not on disk yet.
    pub(crate) fn new(scope: &Scope, bundle: Arc<Bundle>, record: Record) -> Arc<Self> {
        Self::with(scope, bundle, record, false)
    }

    /// The record of a bundle as it is on disk.
    pub(crate) fn found(scope: &Scope, bundle: Arc<Bundle>, record: Record) -> Arc<Self> {
        Self::with(scope, bundle, record, true)
    }

    fn with(scope: &Scope, bundle: Arc<Bundle>, record: Record, is_saved: bool) -> Arc<Self> {
        let (launch, taken_over) = (record.launch, record.taken_over);
        Arc::new(Self {
            scope: scope.clone(),
            bundle,
            launch,
            taken_over,
            page: Mutex::new(Page { record, is_saved, len: 0, is_over: false }),
        })
    }

    /// The launch that the shim comes from, if it is one of ours.
    pub(crate) fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Whether another manager launched the shim.
    pub(crate) fn is_of_another(&self) -> bool {
        self.taken_over
    }

    /// Where the shim listens, as it said when it was launched; may wait for the disk.
    pub(crate) fn bootstrap(&self) -> Option<BootstrapParams> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner).record.bootstrap.clone()
    }

    /// Reads what a manager before us left. `None` if there is no record.
    pub(crate) fn read(bundle: &Bundle) -> Result<Option<Record>, RecordError> {
        match bundle.read_file(NAME).map_err(RecordError::Read)? {
            None => Ok(None),
            Some(bytes) => form::decode(&bytes).map(Some),
        }
    }

    /// The container's init, as it was proven when it was made.
    pub(crate) fn init(&self) -> Option<ProcessIdentity> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner).record.init
    }

    /// Puts the ledger's book into the record, as it is when that is written, if it has changed. `book` is given what the
    /// record says.
    pub(crate) async fn update_book(
        self: &Arc<Self>,
        book: impl Fn(&Book) -> Book + Send + 'static,
    ) -> Result<(), Error> {
        // What an event and an answer both tell is common, and a look costs less than a turn of another thread.
        let is_said = |page: &Page| page.is_saved && page.record.book == book(&page.record.book);
        if self.page.try_lock().is_ok_and(|page| is_said(&page)) {
            return Ok(());
        }
        self.update_if(move |record| {
            let book = book(&record.book);
            let before = std::mem::replace(&mut record.book, book);
            before != record.book
        })
        .await
    }

    /// Whether it may have the end of an exec that is still to be told, and whose id is another's by now.
    pub(crate) fn may_have_displaced_end(&self, ledger: &Ledger) -> bool {
        match self.page.try_lock() {
            Ok(page) => ledger.displaces_an_end(&page.record.book),
            // It is just being written.
            Err(_) => !ledger.execs().is_empty(),
        }
    }

    /// Whether the file has the end of every process that the ledger has.
    pub(crate) fn has_ends_of(&self, ledger: &Ledger) -> bool {
        let ends_are_saved = |page: &Page| page.is_saved && ledger.has_same_ends(&page.record.book);
        self.page.try_lock().is_ok_and(|page| ends_are_saved(&page))
    }

    /// Makes the bundle again if somebody else has removed it; whether that was so. Blocking.
    pub(crate) fn mend(&self) -> Result<bool, BundleError> {
        self.make_again_if_live(&mut self.page.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same before its shim's `delete` action, which needs some of what the shim had put in it. Blocking.
    pub(crate) fn mend_for_delete(&self, init: Option<ProcessIdentity>) -> Result<(), BundleError> {
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_again(&mut page)?;
        if page.record.taken_over || !runc::is_shim(page.record.runtime.path()) {
            return Ok(());
        }
        for (name, bytes) in runc::files_for_delete(self.bundle.state(), self.bundle.key(), init) {
            self.bundle.add_file(name, &bytes)?;
        }
        Ok(())
    }

    /// Not while a task is being made, which fails then.
    fn make_again_if_live(&self, page: &mut Page) -> Result<bool, BundleError> {
        if page.record.stage == Stage::Creating { Ok(false) } else { self.make_again(page) }
    }

    fn make_again(&self, page: &mut Page) -> Result<bool, BundleError> {
        let record = &page.record;
        if page.is_over || !self.bundle.make_again(&[(NAME, &form::encode(record))])? {
            return Ok(false);
        }
        // It is there, and not safe yet.
        (page.is_saved, page.len) = (false, 0);
        tracing::warn!(
            namespace = %self.bundle.key().namespace, task = %self.bundle.key().id,
            shim = record.shim.map(|shim| shim.pid),
            "somebody removed its bundle: made again, without its spec"
        );
        // For a containerd after us. The record has both.
        let address = record.bootstrap.as_ref().map(|params| params.write(&self.bundle));
        if let Some(Err(error)) = address {
            tracing::warn!(
                namespace = %self.bundle.key().namespace, task = %self.bundle.key().id, %error,
                "its address could not be written down again"
            );
        }
        record.runtime.remember(&self.bundle)?;
        Ok(true)
    }

    /// The bundle is about to be removed: nobody makes it again after that.
    ///
    /// # Cancel safety
    /// Once it was polled, it happens.
    pub(crate) async fn close(self: &Arc<Self>) {
        let this = self.clone();
        // Waits for whoever is just making it again.
        let close = move || this.page.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        let _ = self.scope.in_state(close).await;
    }

    /// Changes the record and returns when that is durable.
    ///
    /// # Cancel safety
    /// A dropped update still happens; only its result is lost.
    pub(crate) async fn update(
        self: &Arc<Self>,
        f: impl FnOnce(&mut Record) + Send + 'static,
    ) -> Result<(), Error> {
        self.update_if(|record| {
            f(record);
            true
        })
        .await
    }

    /// The same, unless the change says that it is none.
    async fn update_if(
        self: &Arc<Self>,
        f: impl FnOnce(&mut Record) -> bool + Send + 'static,
    ) -> Result<(), Error> {
        let this = self.clone();
        let written = self.scope.in_state(move || {
            // Held over the write, so that the file never goes back in time.
            let mut page = this.page.lock().unwrap_or_else(PoisonError::into_inner);
            let was_made = page.record.stage != Stage::Creating;
            if !f(&mut page.record) && page.is_saved {
                return Ok(());
            }
            // Whatever may be cut off its end later: the file of a task that lives does not say that it was not made.
            let is_told_apart = was_made || page.record.stage == Stage::Creating;
            let durability = this.scope.durability();
            match page.write(&this.bundle, durability, is_told_apart) {
                // It went with its bundle, which is what is wanted.
                Err(error) if error.kind() == Kind::NotFound && page.is_over => Ok(()),
                Err(error) if error.kind() == Kind::NotFound && this.make_again_if_live(&mut page)? => {
                    page.write(&this.bundle, durability, false)
                }
                written => written,
            }
        });
        let result = match written.await {
            Ok(result) => result.map_err(Cause::from),
            Err(join) => Err(Cause::Io {
                verb: "write",
                path: self.bundle.dir().join(NAME),
                source: std::io::Error::other(join),
            }),
        };
        result.map_err(|cause| Error::new(Step::Record, cause).of(self.bundle.key()))
    }
}

impl Page {
    /// Writes what the record says: behind what it said before, if that may stay.
    fn write(&mut self, bundle: &Bundle, durability: Durability, may_stay: bool) -> Result<(), BundleError> {
        let line = form::encode(&self.record);
        let added = u32::try_from(line.len()).unwrap_or(u32::MAX);
        let (before, after) = (self.len, self.len.saturating_add(added));
        // Until it is known how it ends.
        (self.is_saved, self.len) = (false, 0);
        let is_added = may_stay
            && before > 0
            && after <= MOST
            && bundle.append_to_file(NAME, before.into(), &line, durability).is_ok();
        if !is_added {
            bundle.write_file_atomic(NAME, &line, 0o600, durability)?;
        }
        (self.is_saved, self.len) = (true, if is_added { after } else { added });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
