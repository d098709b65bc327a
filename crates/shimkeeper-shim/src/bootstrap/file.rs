// SPDX-License-Identifier: Apache-2.0
//! How to reach a shim, kept in its bundle for the time after our restart.
//!
//! `bootstrap.json` is read by other programs, too: its name, keys and form are containerd's. Releases up to 1.7
//! know only the file `address`, and kill a container whose bundle has none; so a shim they could talk to gets
//! both.

use shimkeeper_core::{HasKind, Kind, TaskKey};

use super::{BootstrapError, BootstrapParams};
use crate::api::TaskApi;
use crate::bundle::{Bundle, BundleError};
use crate::fs::Durability;

/// Why a bundle does not tell how to reach its shim. Says nothing about whether the shim lives.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapFileError {
    /// There is neither file.
    #[error("the bundle of {key} tells no address: the shim was never heard of, or its files are lost")]
    Missing {
        /// Whose bundle.
        key: TaskKey,
    },
    /// A file is there, and damaged.
    #[error("{file} in the bundle of {key} is damaged")]
    Damaged {
        /// Whose bundle.
        key: TaskKey,
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        #[source]
        source: BootstrapError,
    },
    /// The file cannot be read or written.
    #[error(transparent)]
    Bundle(BundleError),
}

const FILE: &str = "bootstrap.json";
const LEGACY_FILE: &str = "address";
const MODE: u32 = 0o644;

impl BootstrapParams {
    /// Reads what the bundle remembers. An old bundle, which has an address alone, is given the newer file.
    ///
    /// # Errors
    /// [`BootstrapFileError`] if it remembers nothing that could be dialled.
    pub fn read(bundle: &Bundle) -> Result<Self, BootstrapFileError> {
        let damaged = |file, source| BootstrapFileError::Damaged { key: bundle.key().clone(), file, source };
        if let Some(json) = bundle.read_file(FILE)? {
            return Self::parse_file(&json).map_err(|source| damaged(FILE, source));
        }
        let text = bundle.read_file(LEGACY_FILE)?.filter(|text| !text.trim_ascii().is_empty());
        let Some(text) = text else { return Err(BootstrapFileError::Missing { key: bundle.key().clone() }) };
        let params = Self::parse_legacy_file(&text).map_err(|source| damaged(LEGACY_FILE, source))?;
        params.write(bundle)?;
        Ok(params)
    }

    /// Writes what the bundle shall remember; it is on disk when this returns.
    ///
    /// # Errors
    /// [`BootstrapFileError::Bundle`]; what was there before is still there then.
    pub fn write(&self, bundle: &Bundle) -> Result<(), BootstrapFileError> {
        let address = self.address.announced(self.api);
        if self.api == TaskApi::TtrpcV2 {
            bundle.write_file_atomic(LEGACY_FILE, address.as_bytes(), MODE, Durability::Machine)?;
        }
        let (version, protocol) = (self.api.version(), self.api.protocol());
        // By hand to keep the order of keys that containerd writes; the address is the one part to be escaped.
        let address = serde_json::Value::from(address);
        let json = format!(r#"{{"version":{version},"address":{address},"protocol":"{protocol}"}}"#);
        Ok(bundle.write_file_atomic(FILE, json.as_bytes(), MODE, Durability::Machine)?)
    }

    fn parse_file(json: &[u8]) -> Result<Self, BootstrapError> {
        match json.trim_ascii() {
            b"" => Err(BootstrapError::Empty),
            json => Self::parse_json(json),
        }
    }

    fn parse_legacy_file(text: &[u8]) -> Result<Self, BootstrapError> {
        // Only ever written by the shims that printed the same text.
        let params = Self::parse(text)?;
        if params.api == TaskApi::TtrpcV2 { Ok(params) } else { Err(BootstrapError::Empty) }
    }
}

impl From<BundleError> for BootstrapFileError {
    fn from(error: BundleError) -> Self {
        Self::Bundle(error)
    }
}

impl HasKind for BootstrapFileError {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing { .. } => Kind::NotFound,
            Self::Damaged { source, .. } if source.kind() == Kind::NotImplemented => Kind::NotImplemented,
            Self::Damaged { .. } => Kind::DataLoss,
            Self::Bundle(error) => error.kind(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::address::Address;
    use crate::test_support::a_bundle;

    fn params(api: TaskApi) -> BootstrapParams {
        BootstrapParams { api, address: Address::unix("/run/s/a") }
    }

    #[test]
    fn the_file_is_containerds_to_the_byte() {
        let (_dir, bundle) = a_bundle();
        for (api, json) in [
            (TaskApi::TtrpcV3, r#"{"version":3,"address":"unix:///run/s/a","protocol":"ttrpc"}"#),
            (TaskApi::GrpcV3, r#"{"version":3,"address":"/run/s/a","protocol":"grpc"}"#),
            (TaskApi::TtrpcV2, r#"{"version":2,"address":"unix:///run/s/a","protocol":"ttrpc"}"#),
        ] {
            params(api).write(&bundle).unwrap();
            assert_eq!(fs::read_to_string(bundle.dir().join(FILE)).unwrap(), json);
            assert_eq!(BootstrapParams::read(&bundle).unwrap(), params(api));
            let legacy = fs::read_to_string(bundle.dir().join(LEGACY_FILE)).ok();
            assert_eq!(legacy.as_deref(), (api == TaskApi::TtrpcV2).then_some("unix:///run/s/a"));
        }
        let mode = fs::metadata(bundle.dir().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
    }

    #[test]
    fn an_old_bundle_is_migrated() {
        let (_dir, bundle) = a_bundle();
        fs::write(bundle.dir().join(LEGACY_FILE), "unix:///run/s/a").unwrap();
        assert_eq!(BootstrapParams::read(&bundle).unwrap(), params(TaskApi::TtrpcV2));
        fs::remove_file(bundle.dir().join(LEGACY_FILE)).unwrap();
        assert_eq!(BootstrapParams::read(&bundle).unwrap(), params(TaskApi::TtrpcV2));
    }

    #[test]
    fn damage_is_not_absence() {
        let (_dir, bundle) = a_bundle();
        assert_eq!(BootstrapParams::read(&bundle).unwrap_err().kind(), Kind::NotFound);
        fs::write(bundle.dir().join(LEGACY_FILE), "\n").unwrap();
        assert_eq!(BootstrapParams::read(&bundle).unwrap_err().kind(), Kind::NotFound);
        for text in ["", "{\"version\":3,\"addr", "unix:///run/s/a", "{\"version\":3}"] {
            fs::write(bundle.dir().join(FILE), text).unwrap();
            assert_eq!(BootstrapParams::read(&bundle).unwrap_err().kind(), Kind::DataLoss, "{text}");
        }
        fs::write(bundle.dir().join(FILE), r#"{"version":4,"address":"unix:///a","protocol":"ttrpc"}"#)
            .unwrap();
        assert_eq!(BootstrapParams::read(&bundle).unwrap_err().kind(), Kind::NotImplemented);
        fs::remove_file(bundle.dir().join(FILE)).unwrap();
        fs::write(
            bundle.dir().join(LEGACY_FILE),
            r#"{"version":3,"address":"unix:///a","protocol":"ttrpc"}"#,
        )
        .unwrap();
        assert_eq!(BootstrapParams::read(&bundle).unwrap_err().kind(), Kind::DataLoss);
    }
}
