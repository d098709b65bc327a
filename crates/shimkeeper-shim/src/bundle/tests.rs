// SPDX-License-Identifier: Apache-2.0
//! Bundles on a real file system, some of it mounted for the purpose.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::test_support::{Mounts, root_or_skip};

const SPEC: BundleSpec<'static> = BundleSpec { json: b"{}", container_root_host_gid: None };

/// Where the bundles of its namespace are, below the state directory.
const TASKS_OF_NS: &str = "io.containerd.runtime.v2.task/ns";

fn key() -> TaskKey {
    TaskKey::parse("ns", "id").unwrap()
}

fn prepared(dir: &Path) -> StateDirs {
    let dirs = StateDirs::new(dir.join("state"), dir.join("root")).unwrap();
    dirs.prepare().unwrap();
    dirs
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Everything below both namespaces, hidden names included.
fn leftovers(dirs: &StateDirs) -> Vec<String> {
    let parents =
        [dirs.bundle_dir(&key()), dirs.work_dir(&key())].map(|dir| dir.parent().unwrap().to_owned());
    let entries = parents.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn layout_and_modes_are_containerds() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    assert_eq!(mode(bundle.dir().parent().unwrap()), 0o711);
    assert_eq!(mode(&bundle.dir()), 0o700);
    assert_eq!(mode(&bundle.rootfs()), 0o711);
    assert_eq!(mode(&bundle.work_dir()), 0o711);
    assert_eq!(mode(&bundle.dir().join("config.json")), 0o644);
    assert_eq!(fs::read_link(bundle.dir().join("work")).unwrap(), bundle.work_dir());
    assert_eq!(fs::read(bundle.dir().join("config.json")).unwrap(), b"{}");
    assert_eq!(fs::read_dir(bundle.dir()).unwrap().count(), 3);

    assert!(Bundle::open(&dirs, &key()).is_ok());
    bundle.remove().unwrap();
    bundle.remove().unwrap();
    assert!(leftovers(&dirs).is_empty());
    assert_eq!(Bundle::open(&dirs, &key()).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn one_that_was_removed_is_made_again_without_its_scratch_directory() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    fs::remove_dir_all(bundle.dir()).unwrap();
    fs::remove_dir_all(dir.path().join("root")).unwrap();
    assert!(bundle.make_again(&[("note", b"kept")]).unwrap() && !bundle.make_again(&[]).unwrap());
    assert_eq!(fs::read(bundle.dir().join("note")).unwrap(), b"kept");
    assert_eq!(fs::read_link(bundle.dir().join("work")).unwrap(), bundle.work_dir());
    assert!(!dir.path().join("root").exists(), "its disk may hang");
}

#[test]
fn without_a_spec_there_is_no_config() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let spec = BundleSpec { json: b"", ..SPEC };
    let bundle = BundleDraft::create(&dirs, &key(), &spec).unwrap().keep();
    assert!(!bundle.dir().join("config.json").exists());
}

#[test]
fn the_group_of_a_user_namespace_may_pass_through() {
    if !root_or_skip("gives a directory to a group") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let spec = BundleSpec { container_root_host_gid: Some(100_000), ..SPEC };
    let bundle = BundleDraft::create(&dirs, &key(), &spec).unwrap().keep();
    let made = fs::metadata(bundle.dir()).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (0, 100_000, 0o710));
    bundle.remove().unwrap();
    let spec = BundleSpec { container_root_host_gid: Some(0), ..SPEC };
    let bundle = BundleDraft::create(&dirs, &key(), &spec).unwrap().keep();
    assert_eq!(mode(&bundle.dir()), 0o700);
}

#[test]
fn a_taken_id_is_said_to_be_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    let error = BundleDraft::create(&dirs, &key(), &SPEC).unwrap_err();
    assert!(matches!(error, BundleError::AlreadyExists { .. }), "{error}");
    assert_eq!(error.kind(), Kind::AlreadyExists);
    assert!(bundle.dir().join("config.json").exists() && bundle.work_dir().exists());
}

#[test]
fn of_many_at_once_one_gets_the_id() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let won = std::thread::scope(|scope| {
        let create = || BundleDraft::create(&dirs, &key(), &SPEC).map(BundleDraft::keep);
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(create)).collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(results.iter().filter_map(|r| r.as_ref().err()).all(|e| e.kind() == Kind::AlreadyExists));
        results.iter().flatten().count()
    });
    assert_eq!(won, 1);
    assert!(dirs.bundle_dir(&key()).join("config.json").exists() && dirs.work_dir(&key()).exists());
}

#[test]
fn a_dropped_draft_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let draft = BundleDraft::create(&dirs, &key(), &SPEC).unwrap();
    fs::write(draft.bundle().rootfs().join("made later"), "x").unwrap();
    drop(draft);
    assert!(leftovers(&dirs).is_empty());
    assert!(BundleDraft::create(&dirs, &key(), &SPEC).is_ok());
}

#[test]
fn a_stale_scratch_directory_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    fs::create_dir_all(dirs.work_dir(&key()).join("old")).unwrap();
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    assert_eq!(fs::read_dir(bundle.work_dir()).unwrap().count(), 0);
}

#[test]
fn a_full_disk_is_said_to_be_and_leaves_nothing() {
    if !root_or_skip("mounts a small tmpfs") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mounts = Mounts::new();
    for name in ["state", "root"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        mounts.sized_tmpfs(&dir.path().join(name), "1m");
    }
    let dirs = prepared(dir.path());
    // Once too big by itself, once because the disk is full before.
    let large = vec![b' '; 2 << 20];
    let error = BundleDraft::create(&dirs, &key(), &BundleSpec { json: &large, ..SPEC }).unwrap_err();
    assert_eq!(error.kind(), Kind::ResourceExhausted, "{error}");
    assert!(error.path().unwrap().starts_with(dirs.bundle_dir(&key())));
    assert!(leftovers(&dirs).is_empty(), "{:?}", leftovers(&dirs));

    let _ = fs::write(dirs.state().join("filler"), vec![0; 2 << 20]);
    let error = BundleDraft::create(&dirs, &key(), &SPEC).unwrap_err();
    assert_eq!(error.kind(), Kind::ResourceExhausted, "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("No space left"), "{source}");
    assert!(leftovers(&dirs).is_empty(), "{:?}", leftovers(&dirs));

    fs::remove_file(dirs.state().join("filler")).unwrap();
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    let _ = fs::write(dirs.state().join("filler"), vec![0; 2 << 20]);
    bundle.remove().unwrap();
    assert!(leftovers(&dirs).is_empty(), "a full disk does not stop removal");
}

#[test]
fn a_work_link_that_was_turned_on_a_victim_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let victim = dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("precious"), "x").unwrap();
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    fs::remove_file(bundle.dir().join("work")).unwrap();
    symlink(&victim, bundle.dir().join("work")).unwrap();
    bundle.remove().unwrap();
    assert!(victim.join("precious").exists());
    assert!(leftovers(&dirs).is_empty(), "the computed scratch directory is gone");
}

#[test]
fn a_bundle_that_became_a_link_is_not_entered() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let victim = dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("config.json"), "x").unwrap();
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    fs::remove_dir_all(bundle.dir()).unwrap();
    symlink(&victim, bundle.dir()).unwrap();
    assert!(bundle.read_file("config.json").is_err());
    assert!(Bundle::open(&dirs, &key()).is_err());
    bundle.remove().unwrap();
    assert!(victim.join("config.json").exists());
    assert!(leftovers(&dirs).is_empty());
}

#[test]
fn what_is_mounted_in_a_bundle_keeps_its_files() {
    if !root_or_skip("bind-mounts") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let mounts = Mounts::new();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("inner")).unwrap();
    fs::write(source.join("inner/precious"), "x").unwrap();
    fs::write(source.join("file"), "x").unwrap();
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    // A root file system with mounts in it, one of them busy; one on a file; one nobody expects.
    mounts.tmpfs(&bundle.rootfs());
    for at in [bundle.rootfs().join("a"), bundle.dir().join("odd"), bundle.work_dir().join("odd")] {
        fs::create_dir_all(&at).unwrap();
        mounts.bind(&source, &at);
    }
    fs::write(bundle.rootfs().join("f"), "").unwrap();
    mounts.bind(&source.join("file"), &bundle.rootfs().join("f"));
    let holder = fs::File::open(bundle.rootfs().join("a/inner/precious")).unwrap();
    bundle.remove().unwrap();
    drop(holder);
    assert!(source.join("inner/precious").exists() && source.join("file").exists());
    assert!(leftovers(&dirs).is_empty());
    assert!(crate::mounts::mounted_below(&dir.path().join("state")).unwrap().is_empty());
}

/// The second wall: even where the table of mounts was not looked at, the walk does not enter one.
#[test]
fn the_walk_itself_stops_at_a_mount() {
    if !root_or_skip("bind-mounts") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mounts = Mounts::new();
    let source = dir.path().join("source");
    fs::create_dir_all(dir.path().join("tree/rootfs")).unwrap();
    fs::create_dir(&source).unwrap();
    fs::write(source.join("precious"), "x").unwrap();
    // A bind mount from the same file system: comparing device numbers would not see it.
    mounts.bind(&source, &dir.path().join("tree/rootfs"));
    let parent = Dir::open(dir.path()).unwrap();
    let error = crate::fs::remove_tree(&parent, std::ffi::OsStr::new("tree")).unwrap_err();
    assert!(error.is(Errno::XDEV), "{error}");
    assert!(source.join("precious").exists());
}

#[test]
fn a_mounted_bundle_is_named_in_the_error() {
    if !root_or_skip("mounts tmpfs") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let mounts = Mounts::new();
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    mounts.tmpfs(&bundle.dir());
    let error = bundle.remove().unwrap_err();
    assert_eq!((error.kind(), error.path()), (Kind::FailedPrecondition, Some(bundle.dir().as_path())));
    assert!(!bundle.work_dir().exists(), "the scratch directory goes nevertheless");
}

#[test]
fn leftovers_neither_block_an_id_nor_stay() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    // What containerd leaves when it dies between moving aside and deleting.
    for tree in [bundle.dir(), bundle.work_dir()] {
        fs::create_dir_all(tree.with_file_name(".id").join("sub")).unwrap();
    }
    fs::write(bundle.dir().with_file_name(".stray"), "x").unwrap();
    bundle.remove().unwrap();
    let again = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    let swept = dirs.sweep_trash();
    assert_eq!((swept.removed, swept.failed.len()), (3, 0));
    assert!(again.dir().exists());
    assert_eq!(leftovers(&dirs), ["id", "id"]);
}

#[test]
fn only_regular_files_are_read_and_nothing_outside() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    let fifo = bundle.dir().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, fifo, rustix::fs::FileType::Fifo, 0o700.into(), 0).unwrap();
    symlink(bundle.dir().join("config.json"), bundle.dir().join("link")).unwrap();
    fs::write(dir.path().join("outside"), "x").unwrap();
    fs::write(bundle.dir().join("large"), vec![0; MAX_FILE + 1]).unwrap();
    assert_eq!(bundle.read_file("config.json").unwrap().unwrap(), b"{}");
    assert_eq!(bundle.read_file("absent").unwrap(), None);
    for name in ["fifo", "link", "rootfs", "large", "../../../../outside", "/etc/hostname"] {
        assert!(bundle.read_file(name).is_err(), "{name}");
    }
    for name in ["../../../../outside", "/etc/hostname", "rootfs"] {
        assert!(bundle.write_file_atomic(name, b"", 0o600, Durability::Process).is_err(), "{name}");
    }
    assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"x");
}

#[test]
fn only_a_regular_file_of_that_length_is_added_to_and_nothing_outside() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    let add = |name: &str, len| bundle.append_to_file(name, len, b"added", Durability::Machine);
    fs::write(dir.path().join("outside"), "x").unwrap();
    symlink(dir.path().join("outside"), bundle.dir().join("link")).unwrap();
    let fifo = bundle.dir().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o700.into(), 0).unwrap();
    let reader = fs::File::options().read(true).write(true).open(&fifo).unwrap();
    for (name, len) in [
        ("absent", 0),
        ("link", 1),
        ("fifo", 0),
        ("rootfs", 0),
        ("../../../../outside", 1),
        ("config.json", 1),
        ("config.json", 3),
    ] {
        assert!(add(name, len).is_err(), "{name}");
    }
    drop(reader);
    assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"x");
    assert!(!bundle.dir().join("absent").exists());
    add("config.json", 2).unwrap();
    add("config.json", 7).unwrap();
    assert_eq!(fs::read(bundle.dir().join("config.json")).unwrap(), b"{}addedadded");
}

#[test]
fn what_a_full_disk_has_room_for_only_in_part_is_no_success() {
    if !root_or_skip("mounts a small tmpfs") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mounts = Mounts::new();
    fs::create_dir(dir.path().join("state")).unwrap();
    mounts.sized_tmpfs(&dir.path().join("state"), "1m");
    let dirs = prepared(dir.path());
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    let _ = fs::write(dirs.state().join("filler"), vec![0; 2 << 20]);
    // In the page that the file has there is room, behind it there is none.
    bundle.append_to_file("config.json", 2, &[b'a'; 4000], Durability::Process).unwrap();
    let error = bundle.append_to_file("config.json", 4002, &[b'b'; 4000], Durability::Process).unwrap_err();
    assert_eq!(error.kind(), Kind::ResourceExhausted, "{error}");
    let len = fs::metadata(bundle.dir().join("config.json")).unwrap().len();
    assert!((4002..8002).contains(&len), "a piece of it: {len}");
}

/// The directory of all bundles is held open, and not for what is in it now.
#[test]
fn a_bundle_is_found_where_it_is_when_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    assert_eq!(bundle.read_file("config.json").unwrap().unwrap(), b"{}");
    fs::rename(dirs.state(), dir.path().join("aside")).unwrap();
    fs::remove_dir_all(dir.path().join("aside").join(TASKS_OF_NS)).unwrap();
    dirs.prepare().unwrap();
    assert!(bundle.read_file("config.json").is_err());
    fs::create_dir_all(bundle.dir()).unwrap();
    fs::write(bundle.dir().join("config.json"), "new").unwrap();
    assert_eq!(bundle.read_file("config.json").unwrap().unwrap(), b"new");
    bundle.append_to_file("config.json", 3, b"er", Durability::Process).unwrap();
    assert_eq!(fs::read(bundle.dir().join("config.json")).unwrap(), b"newer");
}

#[test]
fn files_are_replaced_whole_with_exactly_their_mode() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = prepared(dir.path());
    let bundle = BundleDraft::create(&dirs, &key(), &SPEC).unwrap().keep();
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, bundle.dir().join("f")).unwrap();
    for (text, mode_bits, durability) in
        [("one", 0o666, Durability::Process), ("two", 0o600, Durability::Machine)]
    {
        bundle.write_file_atomic("f", text.as_bytes(), mode_bits, durability).unwrap();
        assert_eq!(bundle.read_file("f").unwrap().unwrap(), text.as_bytes());
        assert_eq!(mode(&bundle.dir().join("f")), mode_bits);
    }
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
    assert_eq!(fs::read_dir(bundle.dir()).unwrap().count(), 4, "no draft is left");
}
