// SPDX-License-Identifier: Apache-2.0
//! A store in a directory of its own, and records to put in.

use std::path::PathBuf;

use shimkeeper_core::{Any, HasKind, Kind, Namespace};
use shimkeeper_events::Filters;
use shimkeeper_store::{Container, Runtime, Store, StoreError};

pub(crate) const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("shimkeeper-store-").tempdir().unwrap() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        Store::dir_below(self.dir.path())
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(&self.root(), &self.state()).unwrap()
    }
}

pub(crate) fn ns(name: &str) -> Namespace {
    name.parse().unwrap()
}

pub(crate) fn filters(texts: &[&str]) -> Filters {
    Filters::parse(texts).unwrap()
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// A container as `ctr` makes it.
pub(crate) fn container(id: &str) -> Container {
    let options = Some(Any::new("containerd.runc.v1.Options", ""));
    Container {
        id: id.to_owned(),
        runtime: Runtime { name: "io.containerd.runc.v2".to_owned(), options },
        spec: Some(Any::new(SPEC, r#"{"ociVersion":"1.1.0", "process":{"args":["true"]}}"#)),
        ..Container::default()
    }
}

#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(outcome: Result<T, StoreError>, kind: Kind, text: &str) {
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
}
