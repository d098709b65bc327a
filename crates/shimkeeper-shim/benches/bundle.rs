// SPDX-License-Identifier: Apache-2.0
//! What a bundle costs: to make, to keep a note in, to remove. On a tmpfs, as `/run` is one.

use divan::Bencher;
use shimkeeper_core::TaskKey;
use shimkeeper_shim::{Bundle, BundleDraft, BundleSpec, Durability, StateDirs};

/// Where there is a tmpfs nearly everywhere.
const TMPFS: &str = "/dev/shm";

/// As large as a spec that a client writes.
const SPEC: [u8; 8 << 10] = [b' '; 8 << 10];

fn main() {
    divan::main();
}

/// Directories that end with the value.
fn dirs() -> (tempfile::TempDir, StateDirs) {
    let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir_in(TMPFS).expect("a directory");
    let dirs = StateDirs::new(dir.path().join("state"), dir.path().join("root")).expect("two paths");
    dirs.prepare().expect("both can be made");
    (dir, dirs)
}

fn create(dirs: &StateDirs, key: &TaskKey) -> Bundle {
    let spec = BundleSpec { json: &SPEC, container_root_host_gid: None };
    BundleDraft::create(dirs, key, &spec).expect("the id is free").keep()
}

fn key() -> TaskKey {
    TaskKey::parse("default", "web").expect("an id")
}

/// Directories, `config.json`, the link to the scratch space.
#[divan::bench(sample_size = 1)]
fn make(bencher: Bencher<'_, '_>) {
    let ((_dir, dirs), key) = (dirs(), key());
    // What the last one made is removed before the next, and outside of the time.
    let fresh = || {
        if let Ok(old) = Bundle::open(&dirs, &key) {
            old.remove().expect("nothing is mounted in it");
        }
    };
    bencher.with_inputs(fresh).bench_local_values(|()| create(&dirs, &key));
}

/// A record of ours: written beside, renamed over the last.
#[divan::bench(args = [Durability::Process, Durability::Machine])]
fn note(bencher: Bencher<'_, '_>, durability: Durability) {
    let ((_dir, dirs), key) = (dirs(), key());
    let bundle = create(&dirs, &key);
    bencher.bench_local(|| bundle.write_file_atomic("note", &SPEC[..512], 0o600, durability));
}

/// Both directories, after a look for what is mounted in them.
#[divan::bench(sample_size = 1)]
fn remove(bencher: Bencher<'_, '_>) {
    let ((_dir, dirs), key) = (dirs(), key());
    bencher.with_inputs(|| create(&dirs, &key)).bench_local_values(|bundle| bundle.remove());
}
