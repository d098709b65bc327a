// SPDX-License-Identifier: Apache-2.0
//! What shim binaries say of themselves and of the runtime behind them, remembered for a while; and the one thing that is
//! asked before a task is made: what a runtime does not know it leaves out in silence, and a mount without its id mapping
//! is another mount.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shimkeeper_core::{Any, HasKind as _, Kind};
use shimkeeper_shim::{FileVersion, RuntimeInfo, ShimBinary};
use tokio::time::Instant;

use crate::error::{Error, Refused, Step};

/// For how long an answer counts, a failure too: a binary that hangs is not waited for by everybody, and a runtime that
/// was replaced behind its shim is noticed.
const FRESH: Duration = Duration::from_mins(1);

/// More binaries and options than a host has; beyond this everything is forgotten.
const MOST: usize = 64;

/// The type of an OCI runtime's features.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// What was told. Share one among all who ask.
#[derive(Debug, Default)]
pub(crate) struct Infos(Mutex<HashMap<Question, Told>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    binary: PathBuf,
    version: Option<FileVersion>,
    options: Option<(String, bytes::Bytes)>,
}

#[derive(Clone, Debug)]
struct Told {
    at: Instant,
    info: Result<RuntimeInfo, Refused>,
}

impl Infos {
    /// What the binary says of itself, now or a moment ago.
    ///
    /// # Cancel safety
    /// Yes: the binary is killed.
    pub(crate) async fn info(
        &self,
        binary: &ShimBinary,
        options: Option<&Any>,
        patience: Duration,
    ) -> Result<RuntimeInfo, Error> {
        let question = Question {
            binary: binary.path().to_owned(),
            version: binary.version(),
            options: options.map(|any| (any.type_url.clone(), any.value.clone())),
        };
        if let Some(info) = self.fresh(&question) {
            return info.map_err(|refused| Error::new(Step::Launch, refused).at_shim(binary.path()));
        }
        match binary.info(options, patience).await {
            Ok(info) => {
                self.remember(question, Ok(info.clone()));
                Ok(info)
            }
            Err(error) => {
                let is_older = error.kind() == Kind::NotImplemented;
                self.remember(question, Err(Refused::NoInfo { reason: error.to_string(), is_older }));
                Err(Error::new(Step::Launch, error).at_shim(binary.path()))
            }
        }
    }

    /// Refuses a task with id-mapped mounts on a runtime that does not map them, as far as its shim can tell.
    pub(crate) async fn require_idmapped_mounts(
        &self,
        binary: &ShimBinary,
        options: Option<&Any>,
        patience: Duration,
    ) -> Result<(), Error> {
        let refuse = |reason: String| {
            Err(Error::new(Step::Check, Refused::NoIdmappedMounts { reason }).at_shim(binary.path()))
        };
        match self.info(binary, options, patience).await {
            Ok(info) => match info.features.as_ref().map(maps_ids) {
                Some(false) => refuse("the runtime's features do not have them".to_owned()),
                // A shim whose runtime is none of OCI's says nothing of it.
                Some(true) | None => Ok(()),
            },
            Err(error) => refuse(error.to_string()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Question, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, question: &Question) -> Option<Result<RuntimeInfo, Refused>> {
        let told = self.lock().get(question).cloned()?;
        (told.at.elapsed() < FRESH).then_some(told.info)
    }

    fn remember(&self, question: Question, info: Result<RuntimeInfo, Refused>) {
        let mut told = self.lock();
        if told.len() >= MOST && !told.contains_key(&question) {
            told.clear();
        }
        told.insert(question, Told { at: Instant::now(), info });
    }
}

/// Whether these features have id-mapped mounts. Those of another kind are taken to have everything.
fn maps_ids(features: &Any) -> bool {
    if features.type_url.trim_start_matches('/') != FEATURES {
        return true;
    }
    let features: serde_json::Value = serde_json::from_slice(&features.value).unwrap_or_default();
    features.pointer("/linux/mountExtensions/idmap/enabled") == Some(&serde_json::Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_runtime_that_says_so_maps_ids() {
        let of = |json: &str| maps_ids(&Any::new(FEATURES, json.as_bytes().to_vec()));
        assert!(of(r#"{"linux":{"mountExtensions":{"idmap":{"enabled":true}}}}"#));
        for no in [r#"{"linux":{"mountExtensions":{"idmap":{"enabled":false}}}}"#, "{}", "no JSON", ""] {
            assert!(!of(no), "{no}");
        }
        assert!(maps_ids(&Any::new("example.Features", "x")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_is_remembered_for_a_while() {
        let infos = Infos::default();
        let question = Question { binary: "/x".into(), version: None, options: None };
        let failed = Refused::NoInfo { reason: "it hangs".into(), is_older: false };
        infos.remember(question.clone(), Err(failed.clone()));
        assert_eq!(infos.fresh(&question), Some(Err(failed)));
        tokio::time::advance(FRESH).await;
        assert_eq!(infos.fresh(&question), None);
    }
}
