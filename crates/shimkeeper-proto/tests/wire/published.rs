// SPDX-License-Identifier: Apache-2.0
//! The `.proto` files inside published packages: where they are and what they say. Stateless.
//!
//! The packages are dev-dependencies that no target compiles, so cargo downloads them and `cargo metadata` tells
//! where they lie.

use std::path::{Path, PathBuf};
use std::process::Command;

use prost_types::FileDescriptorSet;
use serde_json::Value;
use shimkeeper_protogen::{descriptors, proto_files};

/// A package to look into: its name and the version it starts with.
pub(crate) const SHIM_PROTOS: (&str, &str) = ("containerd-shim-protos", "0.12.");
/// The last one with version 2 of the task service.
pub(crate) const SHIM_PROTOS_V2: (&str, &str) = ("containerd-shim-protos", "0.11.");
/// The package of gRPC clients; older than the other where both have a file.
pub(crate) const CLIENT: (&str, &str) = ("containerd-client", "0.9.");

/// Why nothing here fails but by a damaged download.
const READABLE: &str = "published packages hold files that compile";

/// Where containerd's own files are, below the package's `vendor` directory. Its files name each other from there.
const API: &str = "github.com/containerd/containerd/api";

/// Every `.proto` file of a package, each compiled on its own: some packages have two copies of one file.
pub(crate) fn files(package: (&str, &str)) -> Vec<FileDescriptorSet> {
    let vendor = directory(package).join("vendor");
    let roots = [vendor.join(API), vendor.clone()];
    let own = proto_files(&roots[0]).expect(READABLE);
    let others = proto_files(&vendor).expect(READABLE).into_iter().filter(|path| {
        // The rest of containerd's directory is a copy of the part already taken.
        !path.starts_with("github.com/containerd/containerd")
    });
    let sets: Vec<_> =
        own.into_iter().chain(others).map(|file| descriptors(&roots, [file]).expect(READABLE)).collect();
    assert!(sets.len() > 10, "{package:?} has no .proto files in {}", vendor.display());
    sets
}

/// One file of a package with what it imports; the path is relative to containerd's `api` directory.
pub(crate) fn file(package: (&str, &str), path: &str) -> FileDescriptorSet {
    let vendor = directory(package).join("vendor");
    descriptors(&[vendor.join(API), vendor], [path]).expect(READABLE)
}

fn directory((name, version): (&str, &str)) -> PathBuf {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    let manifest = packages
        .iter()
        .find(|package| {
            package["name"] == name
                && package["version"].as_str().is_some_and(|text| text.starts_with(version))
        })
        .and_then(|package| package["manifest_path"].as_str())
        .unwrap_or_else(|| panic!("{name} {version}* is not among the dependencies"));
    Path::new(manifest).parent().expect("a manifest is in a directory").to_path_buf()
}

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .expect("cargo runs this test, so it can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo metadata failed; `cargo fetch` downloads what it needs: {stderr}"
    );
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}
