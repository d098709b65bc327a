// SPDX-License-Identifier: Apache-2.0
//! containerd's own metadata, read where it lies: containers, namespaces, leases and sandboxes of `meta.db`.
//!
//! ```text
//! v1/<namespace>/labels/<key>
//! v1/<namespace>/containers/<id>/{createdat, updatedat, spec, image, snapshotter, snapshotKey, sandboxid,
//!                                 runtime/{name, options}, extensions/<key>, labels/<key>}
//! v1/<namespace>/leases/<id>/{createdat, labels/…, content/…, images/…, ingests/…, snapshots/<snapshotter>/…}
//! v1/<namespace>/sandboxes/<id>/{createdat, updatedat, spec, sandboxer, runtime/…, extensions/…, labels/…}
//! ```
//!
//! Images, content and snapshots are left where they are. Nothing is written, and a containerd that still runs is
//! in the way: it has the file locked, and could change it under the reader.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prost::Message as _;
use rustix::fs::{FlockOperation, flock};
use shimkeeper_core::{Any, HasKind, Kind, time};
use shimkeeper_proto::google::protobuf::Any as WireAny;

use crate::bolt::{Bolt, BoltError, Bucket, Value};
use crate::container::{Container, Labels, Runtime};
use crate::lease::{Held, Lease, Resource};
use crate::namespace::NamespaceRecord;
use crate::records::{LeftOut, Records};
use crate::sandbox::Sandbox;

/// The file below containerd's root.
const FILE: &str = "io.containerd.metadata.v1.bolt/meta.db";
/// Seconds from Go's zero time to 1970.
const GO_EPOCH: i64 = time::GO_ZERO_SECONDS;

/// Why containerd's metadata could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ContainerdError {
    /// The file could not be worked with.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// containerd is running.
    #[error("{} is in use: containerd runs on it, and must be stopped first (its tasks go on)", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is no database, or a damaged one.
    #[error("{} cannot be read", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BoltError,
    },
}

impl HasKind for ContainerdError {
    fn kind(&self) -> Kind {
        match self {
            Self::File { source, .. } => Kind::of_io(source),
            Self::InUse { .. } => Kind::FailedPrecondition,
            Self::Database { .. } => Kind::DataLoss,
        }
    }
}

/// Reads the metadata of a containerd that is stopped, given its root directory. What cannot be a record is left
/// out and said.
///
/// # Errors
/// [`ContainerdError`].
pub fn read_containerd(root: &Path) -> Result<(Records, Vec<LeftOut>), ContainerdError> {
    let path = root.join(FILE);
    let fail = |verb| {
        let path = path.clone();
        move |source| ContainerdError::File { verb, path, source }
    };
    let mut file = File::open(&path).map_err(fail("open"))?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(ContainerdError::InUse { path }),
        Err(error) => return Err(fail("lock")(error.into())),
    }
    let mut data = Vec::new();
    file.read_to_end(&mut data).map_err(fail("read"))?;
    parse_containerd(&data).map_err(|source| ContainerdError::Database { path, source })
}

/// Reads the bytes of a `meta.db`.
///
/// # Errors
/// [`BoltError`], if a page that is needed is damaged.
pub fn parse_containerd(data: &[u8]) -> Result<(Records, Vec<LeftOut>), BoltError> {
    let bolt = Bolt::open(data)?;
    let mut reader = Reader { bolt: &bolt, records: Records::default(), left_out: Vec::new() };
    let root = reader.folder(bolt.root())?;
    let Some(version) = root.buckets.get("v1") else { return Ok((reader.records, reader.left_out)) };
    for (name, bucket) in reader.folder(*version)?.buckets {
        reader.namespace(&name, bucket)?;
    }
    Ok((reader.records, reader.left_out))
}

struct Reader<'b, 'a> {
    bolt: &'b Bolt<'a>,
    records: Records,
    left_out: Vec<LeftOut>,
}

/// A bucket's entries whose keys are text. No other has a meaning here.
#[derive(Default)]
struct Folder<'a> {
    values: BTreeMap<String, &'a [u8]>,
    buckets: BTreeMap<String, Bucket<'a>>,
}

impl<'a> Reader<'_, 'a> {
    fn folder(&self, bucket: Bucket<'a>) -> Result<Folder<'a>, BoltError> {
        let mut folder = Folder::default();
        for (key, value) in self.bolt.entries(bucket)? {
            let Ok(key) = std::str::from_utf8(key) else { continue };
            match value {
                Value::Bytes(bytes) => _ = folder.values.insert(key.to_owned(), bytes),
                Value::Bucket(bucket) => _ = folder.buckets.insert(key.to_owned(), bucket),
            }
        }
        Ok(folder)
    }

    /// The bucket of this name within another; an empty one if there is none.
    fn within(&self, folder: &Folder<'a>, name: &str) -> Result<Folder<'a>, BoltError> {
        folder.buckets.get(name).map_or_else(|| Ok(Folder::default()), |bucket| self.folder(*bucket))
    }

    fn leave_out(&mut self, what: String, why: &impl ToString) {
        self.left_out.push(LeftOut { what, why: why.to_string() });
    }

    fn namespace(&mut self, name: &str, bucket: Bucket<'a>) -> Result<(), BoltError> {
        let folder = self.folder(bucket)?;
        let record = NamespaceRecord { name: name.to_owned(), labels: self.labels(&folder)? };
        if let Err(error) = record.check() {
            self.leave_out(format!("namespace {name:?} and all in it"), &error);
            return Ok(());
        }
        self.records.namespaces.push(record);
        for (id, bucket) in self.within(&folder, "containers")?.buckets {
            let container = self.container(&id, bucket)?;
            match container.check() {
                Ok(()) => self.records.containers.push((name.to_owned(), container)),
                Err(problem) => self.leave_out(format!("container {id:?} in namespace {name:?}"), &problem),
            }
        }
        for (id, bucket) in self.within(&folder, "sandboxes")?.buckets {
            let sandbox = self.sandbox(&id, bucket)?;
            match sandbox.check() {
                Ok(()) => self.records.sandboxes.push((name.to_owned(), sandbox)),
                Err(problem) => self.leave_out(format!("sandbox {id:?} in namespace {name:?}"), &problem),
            }
        }
        for (id, bucket) in self.within(&folder, "leases")?.buckets {
            let held = self.lease(&id, bucket)?;
            match held.check() {
                Ok(()) => self.records.leases.push((name.to_owned(), held)),
                Err(problem) => self.leave_out(format!("lease {id:?} in namespace {name:?}"), &problem),
            }
        }
        Ok(())
    }

    fn container(&self, id: &str, bucket: Bucket<'a>) -> Result<Container, BoltError> {
        let folder = self.folder(bucket)?;
        Ok(Container {
            id: id.to_owned(),
            labels: self.labels(&folder)?,
            image: folder.text("image"),
            runtime: self.runtime(&folder)?,
            spec: folder.any("spec"),
            snapshotter: folder.text("snapshotter"),
            snapshot_key: folder.text("snapshotKey"),
            created_at: folder.moment("createdat"),
            updated_at: folder.moment("updatedat"),
            extensions: self.extensions(&folder)?,
            sandbox: folder.text("sandboxid"),
        })
    }

    fn sandbox(&self, id: &str, bucket: Bucket<'a>) -> Result<Sandbox, BoltError> {
        let folder = self.folder(bucket)?;
        Ok(Sandbox {
            id: id.to_owned(),
            labels: self.labels(&folder)?,
            runtime: self.runtime(&folder)?,
            spec: folder.any("spec"),
            sandboxer: folder.text("sandboxer"),
            extensions: self.extensions(&folder)?,
            created_at: folder.moment("createdat"),
            updated_at: folder.moment("updatedat"),
        })
    }

    fn lease(&self, id: &str, bucket: Bucket<'a>) -> Result<Held, BoltError> {
        let folder = self.folder(bucket)?;
        let created_at = folder.moment("createdat").unwrap_or(SystemTime::UNIX_EPOCH);
        let lease = Lease { id: id.to_owned(), created_at, labels: self.labels(&folder)? };
        let mut held = Held { lease, resources: std::collections::BTreeSet::new() };
        let mut add = |kind: &str, of: Folder<'a>| {
            held.resources.extend(of.values.into_keys().map(|id| Resource { kind: kind.to_owned(), id }));
        };
        for kind in ["content", "images", "ingests"] {
            add(kind, self.within(&folder, kind)?);
        }
        for (snapshotter, bucket) in self.within(&folder, "snapshots")?.buckets {
            add(&format!("snapshots/{snapshotter}"), self.folder(bucket)?);
        }
        Ok(held)
    }

    fn runtime(&self, folder: &Folder<'a>) -> Result<Runtime, BoltError> {
        let runtime = self.within(folder, "runtime")?;
        Ok(Runtime { name: runtime.text("name"), options: runtime.any("options") })
    }

    fn labels(&self, folder: &Folder<'a>) -> Result<Labels, BoltError> {
        let labels = self.within(folder, "labels")?;
        Ok(labels.values.keys().map(|key| (key.clone(), labels.text(key))).collect())
    }

    fn extensions(&self, folder: &Folder<'a>) -> Result<BTreeMap<String, Any>, BoltError> {
        let extensions = self.within(folder, "extensions")?;
        let keys = extensions.values.keys();
        Ok(keys.filter_map(|key| Some((key.clone(), extensions.any(key)?))).collect())
    }
}

impl Folder<'_> {
    /// The text of a value, or nothing if there is none or it is no text.
    fn text(&self, key: &str) -> String {
        let text = self.values.get(key).and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.unwrap_or_default().to_owned()
    }

    fn any(&self, key: &str) -> Option<Any> {
        let wire = WireAny::decode(*self.values.get(key)?).ok()?;
        Some(Any { type_url: wire.type_url, value: wire.value })
    }

    /// As Go marshals a time: a version, seconds since year 1, nanoseconds, and a zone that changes nothing.
    fn moment(&self, key: &str) -> Option<SystemTime> {
        let bytes = self.values.get(key)?;
        let (1 | 2, rest) = bytes.split_first()? else { return None };
        let (seconds, rest) = rest.split_first_chunk()?;
        let (nanos, _) = rest.split_first_chunk()?;
        let seconds = i64::from_be_bytes(*seconds).checked_add(GO_EPOCH)?;
        let at = time::from_parts(seconds, i32::from_be_bytes(*nanos))?;
        // Nobody means the year 20000; and it could not be written down.
        (time::from_rfc3339(&time::to_rfc3339(at)) == Some(at)).then_some(at)
    }
}
