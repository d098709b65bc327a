// SPDX-License-Identifier: Apache-2.0
//! From a runtime's name to the shim's binary.
//!
//! As containerd does it, but for two things: the current directory is never searched, so what is found does not
//! depend on where we were started; and nothing is remembered, so a binary that is installed, replaced or
//! removed counts from the next call on.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use shimkeeper_core::{HasKind, Kind};

use crate::bundle::{Bundle, BundleError};
use crate::fs::Durability;

/// What a client calls a runtime: a name like `io.containerd.runc.v2`, or the path of a shim's binary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Runtime(Form);

/// Where binaries are looked for, in this order. Never the current directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPath(Vec<PathBuf>);

/// A shim's binary, which was there and executable when it was looked for.
/// There are many shims and few binaries, so a clone is the same, and so is one that was found again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShimBinary(Arc<Binary>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Binary {
    path: PathBuf,
    version: Option<FileVersion>,
}

/// Why a runtime's name leads to no binary.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Neither a name nor a path.
    #[error(
        "invalid runtime name {text:?}: it must be like io.containerd.runc.v2, or the full path of a shim's binary"
    )]
    Name {
        /// The text, as it came.
        text: String,
    },
    /// The name is good, and there is no such binary.
    #[error("runtime {runtime} has no binary {binary} in {}", Paths(searched))]
    NotFound {
        /// The runtime.
        runtime: Runtime,
        /// What the binary would be called.
        binary: String,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// The path cannot be used.
    #[error("cannot use {} as a shim", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Form {
    Name { text: String, binary: String },
    Path(PathBuf),
}

/// Where a bundle remembers the binary of its shim.
const FILE: &str = "shim-binary-path";
const FILE_MODE: u32 = 0o600;

/// Longest text that an error repeats, in characters.
const MAX_QUOTED_CHARS: usize = 256;

/// Finds the binary of a runtime.
///
/// Blocking file operations.
///
/// # Errors
/// [`ResolveError`], which lists what was searched.
pub fn resolve(runtime: &Runtime, search: &SearchPath) -> Result<ShimBinary, ResolveError> {
    match &runtime.0 {
        Form::Path(path) => ShimBinary::at(path),
        Form::Name { binary, .. } => {
            let found = search.0.iter().find_map(|dir| ShimBinary::at(&dir.join(binary)).ok());
            found.ok_or_else(|| ResolveError::NotFound {
                runtime: runtime.clone(),
                binary: binary.clone(),
                searched: search.0.clone(),
            })
        }
    }
}

/// A file as it is at one moment: another one under the same path is another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileVersion {
    device: u64,
    inode: u64,
    modified: (i64, i64),
}

// === impl Runtime ===

impl Runtime {
    /// Whether this path is one of a binary of this runtime, wherever it was found.
    pub fn has_binary(&self, path: &Path) -> bool {
        match &self.0 {
            Form::Path(own) => own == path,
            Form::Name { binary, .. } => path.file_name().is_some_and(|name| name == binary.as_str()),
        }
    }
}

impl FromStr for Runtime {
    type Err = ResolveError;
    fn from_str(text: &str) -> Result<Self, ResolveError> {
        let invalid = || ResolveError::Name { text: text.chars().take(MAX_QUOTED_CHARS).collect() };
        if text.chars().any(char::is_control) {
            return Err(invalid());
        }
        if text.starts_with('/') {
            return Ok(Self(Form::Path(text.into())));
        }
        let mut parts = text.rsplit('.');
        let (version, name) = parts.next().zip(parts.next()).ok_or_else(invalid)?;
        if text.contains('/') || text.starts_with('.') {
            return Err(invalid());
        }
        let binary = format!("containerd-shim-{name}-{version}");
        Ok(Self(Form::Name { text: text.to_owned(), binary }))
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Name { text, .. } => f.write_str(text),
            Form::Path(path) => path.display().fmt(f),
        }
    }
}

// === impl SearchPath ===

impl SearchPath {
    /// These directories; relative ones are left out.
    pub fn new(dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(dirs.into_iter().filter(|dir| dir.is_absolute()).collect())
    }

    /// `$PATH`, then the directory of our own binary.
    pub fn of_process() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
        Self::new(std::env::split_paths(&path).chain(own))
    }
}

// === impl ShimBinary ===

impl ShimBinary {
    /// The binary at this absolute path.
    ///
    /// # Errors
    /// [`ResolveError::Path`] unless it is a regular file that somebody may execute.
    pub fn at(path: &Path) -> Result<Self, ResolveError> {
        let failed = |source| ResolveError::Path { path: path.to_owned(), source };
        if !path.is_absolute() {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        }
        let found = fs::metadata(path).map_err(failed)?;
        if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
            return Err(failed(io::ErrorKind::PermissionDenied.into()));
        }
        let modified = (found.mtime(), found.mtime_nsec());
        let version = FileVersion { device: found.dev(), inode: found.ino(), modified };
        Ok(Self::known(path, Some(version)))
    }

    /// The binary that was at this path when its shim was launched. It may be gone: a shim that runs is spoken to all
    /// the same, and only its `delete` action needs the binary.
    pub fn formerly_at(path: &Path) -> Self {
        Self::known(path, None)
    }

    /// The one that others have already, if there is one.
    fn known(path: &Path, version: Option<FileVersion>) -> Self {
        static KNOWN: Mutex<Vec<Weak<Binary>>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|one| one.strong_count() > 0);
        let is_it = |one: &Arc<Binary>| one.path == path && one.version == version;
        if let Some(one) = known.iter().filter_map(Weak::upgrade).find(is_it) {
            return Self(one);
        }
        let one = Arc::new(Binary { path: path.to_owned(), version });
        known.push(Arc::downgrade(&one));
        Self(one)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Which file was there when it was looked for; `None` if it was not.
    pub fn version(&self) -> Option<FileVersion> {
        self.0.version
    }

    /// Writes down whose shim this is, for the time after our restart.
    ///
    /// # Errors
    /// [`BundleError`] if the file cannot be written.
    pub fn remember(&self, bundle: &Bundle) -> Result<(), BundleError> {
        bundle.write_file_atomic(FILE, self.0.path.as_os_str().as_bytes(), FILE_MODE, Durability::Process)
    }

    /// The path that was written down, whether or not there is a binary; `None` if there was none written down.
    ///
    /// # Errors
    /// [`BundleError`] if the file cannot be read.
    pub fn remembered(bundle: &Bundle) -> Result<Option<PathBuf>, BundleError> {
        let bytes = bundle.read_file(FILE)?.filter(|bytes| bytes.starts_with(b"/"));
        Ok(bytes.map(|bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes))))
    }
}

// === impl ResolveError ===

impl HasKind for ResolveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Name { .. } => Kind::InvalidArgument,
            Self::NotFound { .. } => Kind::NotFound,
            Self::Path { source, .. } => Kind::of_io(source),
        }
    }
}

struct Paths<'a>(&'a [PathBuf]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("an empty search path");
        }
        for (index, path) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ":" };
            write!(f, "{separator}{}", path.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::a_bundle;

    fn binary_of(name: &str) -> Option<String> {
        match name.parse::<Runtime>().ok()?.0 {
            Form::Name { binary, .. } => Some(binary),
            Form::Path(path) => Some(path.display().to_string()),
        }
    }

    #[test]
    fn names_lead_to_binaries_as_in_containerd() {
        for (name, binary) in [
            ("io.containerd.runc.v2", "containerd-shim-runc-v2"),
            ("runc.v2", "containerd-shim-runc-v2"),
            ("a..b", "containerd-shim--b"),
            ("a.", "containerd-shim-a-"),
            ("/opt/my shim", "/opt/my shim"),
        ] {
            assert_eq!(binary_of(name).as_deref(), Some(binary), "{name}");
        }
        for name in ["", "runc", ".", ".v2", "./shim.v2", "a/b.v2", "../a.b", "a\0.b", "/a\n"] {
            let error = name.parse::<Runtime>().unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument, "{name}");
        }
    }

    #[test]
    fn the_first_executable_file_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = ["a", "b", "c", "d"].map(|name| dir.path().join(name));
        let name = "containerd-shim-x-v2";
        for at in &dirs {
            fs::create_dir(at).unwrap();
        }
        fs::create_dir(dirs[0].join(name)).unwrap();
        for (at, mode) in [(&dirs[1], 0o644), (&dirs[2], 0o755), (&dirs[3], 0o755)] {
            fs::write(at.join(name), "").unwrap();
            fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let runtime: Runtime = "io.test.x.v2".parse().unwrap();
        let search = SearchPath::new(dirs.clone().into_iter().chain(["relative".into(), PathBuf::new()]));
        assert_eq!(resolve(&runtime, &search).unwrap().path(), dirs[2].join(name));

        let search = SearchPath::new([dirs[0].clone(), dirs[1].clone()]);
        let error = resolve(&runtime, &search).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        let text = error.to_string();
        assert!(text.contains("io.test.x.v2") && text.contains(dirs[1].to_str().unwrap()), "{text}");

        let path: Runtime = dirs[1].join(name).to_str().unwrap().parse().unwrap();
        assert_eq!(resolve(&path, &search).unwrap_err().kind(), Kind::PermissionDenied);
        let path: Runtime = "/no/such/shim".parse().unwrap();
        assert_eq!(resolve(&path, &search).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn a_bundle_remembers_the_binary() {
        let (_dir, bundle) = a_bundle();
        assert_eq!(ShimBinary::remembered(&bundle).unwrap(), None);
        let shell = ShimBinary::at(Path::new("/bin/sh")).unwrap();
        shell.remember(&bundle).unwrap();
        assert_eq!(ShimBinary::remembered(&bundle).unwrap().unwrap(), shell.path());
        let file = bundle.dir().join(FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read(&file).unwrap(), b"/bin/sh");
        fs::write(&file, "").unwrap();
        assert_eq!(ShimBinary::remembered(&bundle).unwrap(), None);
    }
}
