// SPDX-License-Identifier: Apache-2.0
//! containerd's own shims, of every generation that is installed.
//!
//! Newer ones are looked for in `shims/<generation>/bin` of the test dependencies; the oldest is the system's.

use super::*;
use crate::address::Address;
use crate::api::TaskApi;
use crate::logs::Logs;
use crate::resolve::{SearchPath, resolve};
use crate::test_support::root_or_skip;

fn dependencies() -> PathBuf {
    let target = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/deps");
    std::env::var_os("SHIMKEEPER_DEPS").map_or_else(target, PathBuf::from)
}

fn installed(generation: &str) -> Option<ShimBinary> {
    let runtime = "io.containerd.runc.v2".parse().unwrap();
    let search = match generation {
        "1.6" => SearchPath::of_process(),
        newer => SearchPath::new([dependencies().join("shims").join(newer).join("bin")]),
    };
    let found = resolve(&runtime, &search);
    if let Err(error) = &found {
        println!("skipped: {error}");
    }
    found.ok()
}

/// A killed shim leaves its socket behind.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Launches a shim, finds and ends it; nothing of it is left.
async fn launches(generation: &str, api: TaskApi) {
    let Some(binary) = installed(generation).filter(|_| root_or_skip("launches a real shim")) else { return };
    let mut scene = Scene::new("");
    // Part of the name of the shim's socket, so no other shim is joined.
    scene.cx.address = scene.file("grpc.sock").to_str().unwrap().to_owned();
    // Without its log a shim of 1.6 does not stay.
    let _log = Logs::new().unwrap().open(&scene.bundle).unwrap();
    let memory = DialectMemory::new();
    let started = binary.start(&scene.cx, &scene.bundle, None, &memory, LONG).await.unwrap();
    assert_eq!(started.params.api, api);
    let Address::Unix(socket) = &started.params.address else { panic!("{started:?}") };
    let socket = Socket(socket.to_path_buf());
    assert!(socket.0.exists(), "it listens already");
    let shims = scene.launched();
    assert_eq!(shims.len(), 1, "the shim carries the mark");

    let pidfd = Pidfd::open(&shims[0]).unwrap().unwrap();
    pidfd.signal(Signal::KILL).unwrap();
    tokio::time::timeout(LONG, pidfd.exited()).await.unwrap().unwrap();
    match binary.delete(&scene.cx, &scene.bundle, LONG).await {
        Ok(reaped) => {
            assert_eq!((reaped.pid, reaped.status), (None, 137), "the pid it does not know is none");
        }
        // Before 2.0 there is nothing to reap where nothing was created, and they say so by failing.
        Err(LaunchError::Exit { output, .. }) => {
            assert!(output.contains("runtime: no such file") && generation != "2.1", "{output}");
        }
        Err(error) => panic!("{error:?}"),
    }
    scene.all_gone().await;
    scene.bundle.remove().unwrap();
}

#[tokio::test]
async fn generation_1_6() {
    launches("1.6", TaskApi::TtrpcV2).await;
}

#[tokio::test]
async fn generation_1_7() {
    launches("1.7", TaskApi::TtrpcV2).await;
}

#[tokio::test]
async fn generation_2_1() {
    launches("2.1", TaskApi::TtrpcV3).await;
}

#[tokio::test]
async fn they_tell_about_themselves_or_say_that_they_do_not() {
    for generation in ["1.6", "1.7", "2.1"] {
        let Some(binary) = installed(generation) else { continue };
        match binary.info(None, LONG).await {
            Ok(info) => assert!(info.name.contains("runc"), "{generation}: {info:?}"),
            Err(error) => {
                assert_eq!(error.kind(), Kind::NotImplemented, "{generation}: {error:?}");
                assert_ne!(generation, "2.1");
            }
        }
    }
}
