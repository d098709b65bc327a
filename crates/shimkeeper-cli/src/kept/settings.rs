// SPDX-License-Identifier: Apache-2.0
//! Where a driver writes and how much of it is kept; and the `binary://` URI by which shims and records know it.
//!
//! Shims turn the query of such a URI into arguments, in no certain order. So there is one argument only, and everything
//! is in it: `log-driver` `size=10485760,files=5,dir=/var/log/shimkeeper/default/web-3f9a01c7`.

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::DRIVER;

const SCHEME: &str = "binary://";

/// What need not be escaped, in a path or a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a driver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The directory, which is the driver's alone.
    pub(crate) dir: PathBuf,
    /// A file that would become larger than this, in bytes, is left for a new one, at the end of a line.
    pub(crate) size: u64,
    /// This many files are kept.
    pub(crate) files: u32,
}

impl Settings {
    /// As one argument; `None` if the directory's name is no text.
    fn to_text(&self) -> Option<String> {
        let Self { dir, size, files } = self;
        dir.to_str().map(|dir| format!("size={size},files={files},dir={dir}"))
    }

    /// From that argument.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not what a log driver is told: expected size=…,files=…,dir=…");
        let rest = text.strip_prefix("size=").ok_or_else(wrong)?;
        let (size, rest) = rest.split_once(",files=").ok_or_else(wrong)?;
        let (files, dir) = rest.split_once(",dir=").ok_or_else(wrong)?;
        let (size, files) = (size.parse().map_err(|_| wrong())?, files.parse().map_err(|_| wrong())?);
        let dir = PathBuf::from(dir);
        if size == 0 || files == 0 || !dir.is_absolute() {
            return Err(wrong());
        }
        Ok(Self { dir, size, files })
    }

    /// By which a shim starts `program` as the driver; `None` if a path is no text.
    pub(crate) fn to_uri(&self, program: &Path) -> Option<String> {
        let escaped = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
        Some(format!("{SCHEME}{}?{DRIVER}={}", escaped(program.to_str()?), escaped(&self.to_text()?)))
    }

    /// From such a URI; `None` if it is of another driver.
    pub(crate) fn of_uri(uri: &str) -> Option<Self> {
        let (_program, query) = uri.strip_prefix(SCHEME)?.split_once('?')?;
        let text = query.strip_prefix(DRIVER)?.strip_prefix('=')?;
        let text = percent_decode_str(text).decode_utf8().ok()?;
        Self::parse(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &str) -> Settings {
        Settings { dir: dir.into(), size: 10 << 20, files: 5 }
    }

    #[test]
    fn a_uri_has_one_argument_and_all_in_it() {
        let uri = settings("/var/log/sk/web-1").to_uri(Path::new("/usr/bin/shimkeeper")).unwrap();
        let expected = "binary:///usr/bin/shimkeeper?log-driver=\
                        size%3D10485760%2Cfiles%3D5%2Cdir%3D/var/log/sk/web-1";
        assert_eq!(uri, expected);
    }

    #[test]
    fn a_uri_brings_back_what_went_in() {
        for dir in ["/a", "/a b/c&d=e+f?g#h%20", "/über/日本", "/x,dir=/y"] {
            let uri = settings(dir).to_uri(Path::new("/opt/my tools/sk")).unwrap();
            assert!(uri.is_ascii() && !uri.contains(['&', '+', '#', ' ']), "{uri}");
            assert_eq!(Settings::of_uri(&uri), Some(settings(dir)), "{uri}");
        }
    }

    #[test]
    fn what_is_of_others_is_not_ours() {
        for uri in
            ["", "/run/fifo", "file:///x", "binary:///usr/bin/nerdctl?_NERDCTL=x", "binary:///s?log-driver=x"]
        {
            assert_eq!(Settings::of_uri(uri), None, "{uri}");
        }
        for text in
            ["", "size=0,files=1,dir=/a", "size=1,files=0,dir=/a", "size=1,files=1,dir=a", "files=1,dir=/a"]
        {
            assert!(Settings::parse(text).is_err(), "{text}");
        }
    }
}
