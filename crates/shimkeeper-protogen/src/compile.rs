// SPDX-License-Identifier: Apache-2.0
//! From `.proto` files to descriptors, with protox. Stateless.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use prost_types::FileDescriptorSet;
use protox::Compiler;

use crate::files;

/// Why there are no descriptors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// A directory could not be listed.
    #[error("cannot list {}", path.display())]
    List {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is missing or is not valid protobuf.
    #[error("cannot compile {}", path.display())]
    Compile {
        /// The file, relative to its include root.
        path: PathBuf,
        /// What protox said; boxed because it is large.
        #[source]
        source: Box<protox::Error>,
    },
}

/// The `.proto` files below `root`, sorted, relative to it.
pub fn proto_files(root: &Path) -> Result<Vec<PathBuf>, CompileError> {
    let mut files =
        files::below(root).map_err(|source| CompileError::List { path: root.to_path_buf(), source })?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    Ok(files)
}

/// Compiles `files`, which are relative to one of the include directories `roots`, with everything they import.
pub fn descriptors<P: AsRef<Path>>(
    roots: &[P],
    files: impl IntoIterator<Item = impl AsRef<Path>>,
) -> Result<FileDescriptorSet, CompileError> {
    let failed = |path: &Path, source| CompileError::Compile { path: path.into(), source: Box::new(source) };
    let mut compiler = Compiler::new(roots)
        .map_err(|error| failed(roots.first().map_or(Path::new(""), AsRef::as_ref), error))?;
    compiler.include_source_info(true).include_imports(true);
    for file in files {
        compiler.open_file(&file).map_err(|error| failed(file.as_ref(), error))?;
    }
    Ok(compiler.file_descriptor_set())
}

/// What is written above the `package` line of each package's files.
pub(crate) fn package_comments(set: &FileDescriptorSet) -> BTreeMap<String, String> {
    /// Field number of `package` in `FileDescriptorProto`, which is how source locations name the line.
    const PACKAGE: [i32; 1] = [2];
    let mut comments = BTreeMap::<String, String>::new();
    for file in &set.file {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        for location in locations.filter(|location| location.path == PACKAGE) {
            if let Some(comment) = &location.leading_comments {
                comments.entry(file.package().to_owned()).or_default().push_str(comment);
            }
        }
    }
    comments
}
