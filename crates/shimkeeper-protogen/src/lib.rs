// SPDX-License-Identifier: Apache-2.0
//! Turns `/proto` into the sources of shimkeeper-proto.
//!
//! The output is checked in, so that nobody who merely builds the project compiles a protobuf compiler, and nobody
//! at all needs protoc. `cargo xtask gen` calls [`write()`]; the drift test of shimkeeper-proto calls [`generate`] and
//! compares. Adding a file below `/proto` is enough to add its messages; a service that shall be spoken over gRPC
//! is named in the table in `services.rs`.
//!
//! ```text
//! /proto/**/*.proto ──compile──▶ descriptors ──prost-build + services──▶ packages ──tree──▶ src/gen.rs, src/gen/**
//! ```

mod compile;
mod files;
mod output;
mod services;
mod tree;

pub use compile::{CompileError, descriptors, proto_files};
pub use output::{OutputError, read, write};
pub use tree::Sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost_build::{Config, Module};
use prost_types::FileDescriptorSet;

/// Why the sources could not be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The `.proto` files do not compile.
    #[error("cannot compile the protobuf files")]
    Compile(#[source] CompileError),
    /// The descriptors have something no Rust code can be made for.
    #[error("cannot generate Rust code")]
    Emit(#[source] std::io::Error),
    /// rustfmt is missing or refuses the code.
    #[error("cannot format {}", path.display())]
    Format {
        /// File that was being formatted.
        path: PathBuf,
        /// What went wrong with rustfmt.
        #[source]
        source: std::io::Error,
    },
}

/// Directory of the `.proto` files, given the workspace's root.
pub fn proto_dir(workspace: &Path) -> PathBuf {
    workspace.join("proto")
}

/// Directory the generated sources belong in, given the workspace's root.
pub fn source_dir(workspace: &Path) -> PathBuf {
    workspace.join("crates/shimkeeper-proto/src")
}

/// Generates the sources in memory.
pub fn generate(workspace: &Path) -> Result<Sources, GenerateError> {
    let proto = proto_dir(workspace);
    let files = proto_files(&proto).map_err(GenerateError::Compile)?;
    let set = descriptors(&[&proto], &files).map_err(GenerateError::Compile)?;
    let packages = emit(&set).map_err(GenerateError::Emit)?;
    tree::lay_out(&packages, &compile::package_comments(&set))
        .into_iter()
        .map(|(path, text)| match output::format(&text, workspace) {
            Ok(text) => Ok((path, text)),
            Err(source) => Err(GenerateError::Format { path, source }),
        })
        .collect()
}

/// Rust code by protobuf package.
fn emit(set: &FileDescriptorSet) -> Result<BTreeMap<String, String>, std::io::Error> {
    let mut config = Config::new();
    config
        .compile_well_known_types()
        // Reference-counted slices of the received frame instead of copies.
        .bytes(["."])
        // Sorted maps: the same message always encodes to the same bytes.
        .btree_map(["."])
        .enable_type_names()
        .service_generator(services::generator());
    let requests = set
        .file
        .iter()
        .map(|file| (Module::from_protobuf_package_name(file.package()), file.clone()))
        .collect();
    let modules = config.generate(requests)?;
    Ok(modules
        .into_iter()
        .map(|(module, code)| (module.parts().collect::<Vec<_>>().join("."), code))
        .collect())
}
