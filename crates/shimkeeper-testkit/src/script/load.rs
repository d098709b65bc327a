// SPDX-License-Identifier: Apache-2.0
//! Where a fake shim that runs as a process finds its script.
//!
//! An annotation of the container speaks for that container alone and wins; then comes the file named in the
//! environment; then the copy that `start` left in the bundle, for a `delete` that was not given the environment.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Script;

/// Names the script file.
pub const SCRIPT_ENV: &str = "FAKE_SHIM_SCRIPT";
/// Names the directory of sockets for scripts that name none.
pub const SOCKET_DIR_ENV: &str = "FAKE_SHIM_SOCKET_DIR";
/// The annotation of `config.json` that holds a script of its own.
pub const ANNOTATION: &str = "io.shimkeeper.fake.script";
/// The copy of the effective script in the bundle.
pub const BUNDLE_FILE: &str = "fake-shim.json";

/// A script that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The script file cannot be read.
    #[error("cannot read the script {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The text is no script.
    #[error("not a script of the fake shim")]
    Parse(#[source] serde_json::Error),
}

impl FromStr for Script {
    type Err = ScriptError;
    fn from_str(json: &str) -> Result<Self, ScriptError> {
        serde_json::from_str(json).map_err(ScriptError::Parse)
    }
}

impl Script {
    /// The script as JSON, for a file or for the annotation.
    ///
    /// # Panics
    /// If a path in it is not UTF-8.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a script has string keys and UTF-8 paths")
    }

    /// Writes the script to a file, for [`SCRIPT_ENV`] to name.
    pub fn write(&self, path: impl AsRef<Path>) -> io::Result<()> {
        fs::write(path, self.to_json())
    }

    /// The script of the container in `bundle`, given the file named in the environment.
    pub(crate) fn find(bundle: &Path, named: Option<&Path>) -> Result<Self, ScriptError> {
        if let Some(script) = annotation(bundle) {
            return script.parse();
        }
        if let Some(path) = named {
            let read = |source| ScriptError::Read { path: path.to_owned(), source };
            return fs::read_to_string(path).map_err(read)?.parse();
        }
        match fs::read_to_string(bundle.join(BUNDLE_FILE)) {
            Ok(text) => text.parse(),
            Err(_) => Ok(Self::default()),
        }
    }
}

/// The script among the annotations of the bundle's spec. A spec that is missing or broken has none.
fn annotation(bundle: &Path) -> Option<String> {
    let spec = fs::read(bundle.join("config.json")).ok()?;
    let spec: serde_json::Value = serde_json::from_slice(&spec).ok()?;
    Some(spec.get("annotations")?.get(ANNOTATION)?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_wins_over_the_environment_and_that_over_the_copy() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path();
        assert_eq!(Script::find(bundle, None).unwrap(), Script::default());

        Script::new().serves(7).write(bundle.join(BUNDLE_FILE)).unwrap();
        assert_eq!(Script::find(bundle, None).unwrap().serves, Some(7));

        let named = bundle.join("named.json");
        Script::new().serves(8).write(&named).unwrap();
        assert_eq!(Script::find(bundle, Some(&named)).unwrap().serves, Some(8));

        let spec = serde_json::json!({ "annotations": { ANNOTATION: Script::new().serves(9).to_json() } });
        fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        assert_eq!(Script::find(bundle, Some(&named)).unwrap().serves, Some(9));
    }

    #[test]
    fn a_script_that_is_named_but_missing_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Script::find(dir.path(), Some(&dir.path().join("none")));
        assert!(matches!(missing, Err(ScriptError::Read { .. })));
    }
}
