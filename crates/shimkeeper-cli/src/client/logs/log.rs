// SPDX-License-Identifier: Apache-2.0
//! Where the output of a container is: what its record says, or else what its task was told.

use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use shimkeeper_proto::containerd::services::containers::v1::Container;
use shimkeeper_proto::containerd::v1::types::Process;

use crate::client::label::LOG_LABEL;
use crate::kept::Settings;

/// Something that can be read more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::client) enum Log {
    /// Our driver keeps it there.
    Kept(PathBuf),
    /// A shim appends to it.
    File(PathBuf),
}

impl Log {
    /// `None` if it is nowhere, or passed on to somebody.
    pub(in crate::client) fn of(record: Option<&Container>, task: Option<&Process>) -> Option<Self> {
        let label = record.and_then(|record| record.labels.get(LOG_LABEL));
        label.or(task.map(|task| &task.stdout)).and_then(|uri| Self::at(uri))
    }

    /// By what a shim, or a record, is told of it.
    pub(in crate::client) fn at(uri: &str) -> Option<Self> {
        if let Some(settings) = Settings::of_uri(uri) {
            return Some(Self::Kept(settings.dir));
        }
        if let Some(path) = uri.strip_prefix("file://") {
            let path = percent_decode_str(path.split('?').next().unwrap_or(path)).decode_utf8().ok()?;
            return Some(Self::File(PathBuf::from(path.as_ref())));
        }
        let path = PathBuf::from(uri);
        (path.is_absolute() && path.is_file()).then_some(Self::File(path))
    }
}

/// Whether this is the path of a FIFO.
pub(in crate::client) fn is_fifo(path: &str) -> bool {
    path.starts_with('/') && std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_log_is_found_by_the_label_or_the_task() {
        let kept = Settings { dir: "/log/web".into(), size: 1, files: 1 };
        let uri = kept.to_uri(Path::new("/bin/sk")).unwrap();
        let labels = [(LOG_LABEL.to_owned(), uri.clone())].into();
        let record = Container { labels, ..Container::default() };
        let task = Process { stdout: "file:///a%20b".to_owned(), ..Process::default() };
        assert_eq!(Log::of(Some(&record), Some(&task)), Some(Log::Kept("/log/web".into())));
        let unlabelled = Container::default();
        assert_eq!(Log::of(Some(&unlabelled), Some(&task)), Some(Log::File("/a b".into())));
        assert_eq!(
            Log::of(None, Some(&Process { stdout: uri, ..Process::default() })),
            Some(Log::Kept("/log/web".into()))
        );
        for nowhere in ["", "/dev/null", "binary:///usr/bin/nerdctl?x=y", "relative"] {
            let task = Process { stdout: nowhere.to_owned(), ..Process::default() };
            assert_eq!(Log::of(None, Some(&task)), None, "{nowhere}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let task = Process { stdout: file.path().display().to_string(), ..Process::default() };
        assert_eq!(Log::of(None, Some(&task)), Some(Log::File(file.path().to_owned())));
    }
}
