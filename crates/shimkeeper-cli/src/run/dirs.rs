// SPDX-License-Identifier: Apache-2.0
//! Where a run keeps its files: the directories it was given, or private ones that end with it.

use std::path::{Path, PathBuf};

use shimkeeper::{Config, Manager};

use crate::args::RuntimeArgs;
use crate::failure::Failure;
use crate::private_dirs::{Base, BaseLock, PrivateDir};

/// The directories of one run.
#[derive(Debug)]
pub(crate) struct RunDirs {
    pub(crate) state: PathBuf,
    pub(crate) root: PathBuf,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    base: Base,
    dir: PrivateDir,
    /// Held until a manager has locked the directories.
    beginning: Option<BaseLock>,
}

impl RunDirs {
    /// The directories for the run called `unique`; private ones are made here.
    pub(crate) fn prepare(args: &RuntimeArgs, unique: &str) -> Result<Self, Failure> {
        if let (Some(state), Some(root)) = (&args.state, &args.root) {
            let (state, root) = (absolute(state)?, absolute(root)?);
            return Ok(Self { state, root, private: None });
        }
        let base = Base::of_user()?;
        let beginning = base.share()?;
        let dir = base.make(unique, &beginning)?;
        let private = Private { base, dir, beginning: Some(beginning) };
        Ok(Self { state: private.dir.state(), root: private.dir.root(), private: Some(private) })
    }

    /// Opens the manager on them. Private ones are gone if that fails.
    pub(crate) async fn open(&mut self, debug: bool) -> Result<Manager, Failure> {
        let config = Config::new(&self.state, &self.root).debug(debug).without_journal();
        let opened = Box::pin(Manager::open(config)).await.map_err(|error| Failure::of_library(&error));
        if let Some(private) = &mut self.private {
            if opened.is_err() {
                // Why it could not be opened matters more.
                let _ = private.dir.discard();
            }
            private.beginning = None;
        }
        opened
    }

    /// Leaves them, and removes what was made for this run.
    pub(crate) async fn close(self, manager: Manager, keep: bool) -> Result<(), Failure> {
        match self.private {
            Some(private) if !keep => {
                let _ending = private.base.share()?;
                manager.remove_directories().await.map_err(|error| Failure::of_library(&error))?;
                private.dir.remove()
            }
            _ => {
                manager.detach().await;
                Ok(())
            }
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::io(format!("use the directory {}", path.display()), &error, "give a path that is not empty")
    })
}
