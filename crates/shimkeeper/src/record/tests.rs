// SPDX-License-Identifier: Apache-2.0
//! The record on a real file system: what is read of a file in whatever state, and how it is kept in one that is good.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::SystemTime;

use shimkeeper_core::{Exit, ProcessKey, Provenance, TaskKey};
use shimkeeper_shim::{BundleDraft, BundleSpec, Launch, StateDirs};

use super::*;

/// A bundle, and its record.
struct Desk {
    _dir: tempfile::TempDir,
    bundle: Arc<Bundle>,
    file: Arc<RecordFile>,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        let dirs = StateDirs::new(dir.path().join("state"), dir.path().join("root")).unwrap();
        dirs.prepare().unwrap();
        let spec = BundleSpec { json: b"{}", container_root_host_gid: None };
        let key = TaskKey::parse("ns", "a").unwrap();
        let bundle = Arc::new(BundleDraft::create(&dirs, &key, &spec).unwrap().keep());
        let file = RecordFile::new(&Scope::over(false), bundle.clone(), record());
        Self { _dir: dir, bundle, file }
    }

    /// One whose record says that the task lives, and nothing else.
    async fn of_a_task() -> Self {
        let desk = Self::new();
        desk.file.update(|record| record.stage = Stage::Live).await.unwrap();
        desk
    }

    fn path(&self) -> PathBuf {
        self.bundle.dir().join(NAME)
    }

    /// How often it was replaced can be told by this.
    fn inode(&self) -> u64 {
        fs::metadata(self.path()).unwrap().ino()
    }

    fn lines(&self) -> usize {
        fs::read_to_string(self.path()).unwrap().lines().count()
    }

    async fn write(&self, pid: u32) {
        self.file.update(move |record| record.book.init.pid = pid).await.unwrap();
    }

    fn read(&self) -> u32 {
        RecordFile::read(&self.bundle).unwrap().unwrap().book.init.pid
    }
}

fn record() -> Record {
    Record::new(Incarnation::fresh(), BootId::current().unwrap(), ShimBinary::formerly_at(Path::new("/shim")))
}

fn line_of(pid: u32) -> Vec<u8> {
    let mut record = record();
    record.book.init.pid = pid;
    form::encode(&record)
}

#[test]
fn another_version_is_told_from_damage() {
    let record = record();
    let bytes = String::from_utf8(form::encode(&record)).unwrap();
    assert_eq!(form::decode(bytes.as_bytes()).unwrap().launch, record.launch);
    let earlier = bytes.replace(&format!("\"since\":{},", record.launch.since), "");
    let launch = form::decode(earlier.as_bytes()).unwrap().launch;
    assert_eq!(launch, Launch { since: 0, ..record.launch }, "one from before that was written down");
    let alike = bytes.replace("\"version\":2", "\"version\":3");
    for newer in [alike.as_str(), &format!("{bytes}{alike}"), r#"{"version":3,"all":"new"}"#] {
        assert!(matches!(form::decode(newer.as_bytes()), Err(RecordError::Version(3))), "{newer}");
    }
    let value: serde_json::Value = serde_json::from_str(&bytes).unwrap();
    let older = serde_json::to_string_pretty(&value).unwrap().replace("\"version\": 2", "\"version\": 1");
    assert!(matches!(form::decode(older.as_bytes()), Err(RecordError::Version(1))), "{older}");
    for damaged in ["", "\n", "{", "{}", "{}\n", r#"{"version":2}"#, &bytes[..bytes.len() - 4]] {
        assert!(matches!(form::decode(damaged.as_bytes()), Err(RecordError::Damaged(_))), "{damaged}");
    }
}

#[test]
fn the_last_whole_line_counts_wherever_the_file_is_cut() {
    let lines = [line_of(1), line_of(2), line_of(3)];
    let bytes = lines.concat();
    for end in 0..=bytes.len() {
        let cut = &bytes[..end];
        let whole = cut.split(|byte| *byte == b'\n').count() - 1;
        match form::decode(cut) {
            Ok(record) => {
                // All of the first and not its end is all of it.
                let counts = if end + 1 == lines[0].len() { 1 } else { whole };
                assert_eq!(record.book.init.pid as usize, counts, "cut at {end}");
            }
            Err(error) => assert!(whole == 0, "cut at {end}: {error}"),
        }
    }
}

#[test]
fn a_line_of_which_a_crash_left_only_the_length_does_not_count() {
    let good = line_of(1);
    for broken in [&b"\0\0\0\0"[..], b"\0\0\0\0\n", b"{\"version\":2,\0\0\n", b"\n", b"\xff\xfe\n"] {
        let bytes = [&good, broken].concat();
        assert_eq!(form::decode(&bytes).unwrap().book.init.pid, 1, "{broken:?}");
        let both = [&good, broken, &line_of(2)].concat();
        assert!(form::decode(&both).is_ok_and(|record| record.book.init.pid != 0), "{broken:?}");
    }
}

#[tokio::test]
async fn a_change_adds_a_line_and_many_are_replaced_by_one() {
    let desk = Desk::of_a_task().await;
    let mut replaced = 0;
    for pid in 1..100 {
        let before = (desk.inode(), desk.lines());
        desk.write(pid).await;
        assert_eq!(desk.read(), pid);
        if desk.inode() == before.0 {
            assert_eq!(desk.lines(), before.1 + 1);
        } else {
            assert_eq!(desk.lines(), 1);
            replaced += 1;
        }
        assert!(fs::metadata(desk.path()).unwrap().len() <= MOST.into());
    }
    assert!((1..50).contains(&replaced), "{replaced}");
}

#[tokio::test]
async fn a_record_that_is_longer_than_that_is_replaced_each_time() {
    let desk = Desk::of_a_task().await;
    desk.file
        .update(|record| record.runtime = ShimBinary::formerly_at(Path::new(&"/x".repeat(MOST as usize))))
        .await
        .unwrap();
    for pid in [1, 2] {
        desk.write(pid).await;
        assert_eq!((desk.read(), desk.lines()), (pid, 1));
    }
}

#[tokio::test]
async fn a_file_that_is_not_as_it_was_left_is_replaced() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 6] = [
        ("cut", |path| fs::File::options().write(true).open(path).unwrap().set_len(40).unwrap()),
        ("gone", |path| fs::remove_file(path).unwrap()),
        ("torn", |path| fs::write(path, [fs::read(path).unwrap(), b"{\"vers".to_vec()].concat()).unwrap()),
        ("a link", |path| {
            fs::rename(path, path.with_extension("elsewhere")).unwrap();
            std::os::unix::fs::symlink(path.with_extension("elsewhere"), path).unwrap();
        }),
        ("a pipe that nobody reads", |path| {
            fs::remove_file(path).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
        ("empty", |path| fs::write(path, "").unwrap()),
    ];
    for (name, harm) in harms {
        let desk = Desk::of_a_task().await;
        desk.write(1).await;
        harm(&desk.path());
        desk.write(2).await;
        assert_eq!((desk.read(), desk.lines()), (2, 1), "{name}");
        desk.write(3).await;
        assert_eq!((desk.read(), desk.lines()), (3, 2), "{name}");
        assert!(fs::symlink_metadata(desk.path()).unwrap().is_file(), "{name}");
    }
}

#[tokio::test]
async fn what_another_manager_wrote_is_replaced_first() {
    let desk = Desk::of_a_task().await;
    fs::write(desk.path(), [fs::read(desk.path()).unwrap(), b"{\"torn".to_vec()].concat()).unwrap();
    let found = RecordFile::read(&desk.bundle).unwrap().unwrap();
    let file = RecordFile::found(&Scope::over(false), desk.bundle.clone(), found);
    file.update(|record| record.book.init.pid = 7).await.unwrap();
    assert_eq!((desk.read(), desk.lines()), (7, 1));
}

/// Cut off behind that line, by whatever, a record would say of a task that lives that it can be cleared up.
#[tokio::test]
async fn that_a_task_may_not_have_been_made_does_not_stay_in_the_file_of_one_that_was() {
    let desk = Desk::new();
    desk.write(1).await;
    desk.write(2).await;
    assert_eq!(desk.lines(), 2);
    desk.file.update(|record| record.stage = Stage::Live).await.unwrap();
    desk.write(3).await;
    desk.file.update(|record| record.stage = Stage::Deleting).await.unwrap();
    assert_eq!(desk.lines(), 3);
    assert!(!fs::read_to_string(desk.path()).unwrap().contains("creating"));
}

#[tokio::test]
async fn with_a_bundle_that_somebody_removed_it_is_made_anew_while_the_task_lives() {
    let remove = |desk: &Desk| fs::remove_dir_all(desk.bundle.dir()).unwrap();
    let desk = Desk::of_a_task().await;
    remove(&desk);
    desk.write(1).await;
    assert_eq!((desk.read(), desk.lines()), (1, 1), "in a bundle made again");

    remove(&desk);
    desk.file.close().await;
    desk.write(2).await;
    assert!(!desk.bundle.dir().exists(), "it was ours to remove");

    let desk = Desk::new();
    remove(&desk);
    let error = desk.file.update(|record| record.book.init.pid = 1).await.unwrap_err();
    assert_eq!(shimkeeper_core::HasKind::kind(&error), shimkeeper_core::Kind::NotFound, "{error}");
    assert!(!desk.bundle.dir().exists(), "a creation fails then");
}

#[tokio::test]
async fn what_waited_for_its_turn_does_not_write_over_what_is_newer() {
    let desk = Desk::new();
    let ledger = Arc::new(Ledger::new(Book::default()));
    let page = desk.file.page.lock().unwrap();
    let known = ledger.clone();
    let mut update = pin!(desk.file.update_book(move |_| known.snapshot()));
    assert!(update.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let exit = Exit { pid: 7, status: 3, at: SystemTime::UNIX_EPOCH, provenance: Provenance::Observed };
    ledger.record_exit(&ProcessKey::Init, exit);
    drop(page);
    update.await.unwrap();
    let written = RecordFile::read(&desk.bundle).unwrap().unwrap();
    assert_eq!(written.book.init.exit, Some(exit), "as it is when it is written");
}
