// SPDX-License-Identifier: Apache-2.0
//! `--mount` and `--volume`, in docker's words. A source that is relative is taken from the working directory;
//! that it exists is checked later, when the spec is written.

use std::path::Path;

use shimkeeper_core::Mount;

use crate::run::units::parse_size;

/// How a mount is told about later mounts below it, on either side.
const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// `type=bind,source=…,target=…,readonly` or `type=tmpfs,target=…,tmpfs-size=…`.
pub(crate) fn parse_mount(text: &str) -> Result<Mount, String> {
    let mut fields = Fields::default();
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value)),
            None => (field.trim(), None),
        };
        fields.set(key, value)?;
    }
    let target = fields.target.clone().ok_or("a mount needs a target, as in target=/data")?;
    match fields.kind.as_deref() {
        None | Some("bind") => fields.bind(target),
        Some("tmpfs") => fields.tmpfs(target),
        Some(other) => Err(format!("there are no mounts of type {other:?}: expected bind or tmpfs")),
    }
}

/// `SRC:DST` with `:ro`, or with other options separated by commas.
pub(crate) fn parse_volume(text: &str) -> Result<Mount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err(format!("{text:?} is not a volume: expected SRC:DST or SRC:DST:ro")),
    };
    let mut fields = Fields { source: Some(source.to_owned()), ..Fields::default() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => fields.read_only = true,
            "rw" => fields.read_only = false,
            word if PROPAGATIONS.contains(&word) => fields.propagation = Some(word.to_owned()),
            other => return Err(format!("{other:?} is no option of a volume: expected ro, rw or rshared")),
        }
    }
    fields.bind(target.to_owned())
}

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<String>,
    size_bytes: Option<u64>,
    mode: Option<String>,
}

impl Fields {
    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        let given = || value.map(str::to_owned).ok_or(format!("{key} needs a value, as in {key}=VALUE"));
        match key {
            "type" => self.kind = Some(given()?),
            "source" | "src" => self.source = Some(given()?),
            "target" | "dst" | "destination" => self.target = Some(given()?),
            "readonly" | "ro" => self.read_only = parse_flag(key, value)?,
            "bind-propagation" => {
                let word = given().map(|word| word.to_ascii_lowercase())?;
                if !PROPAGATIONS.contains(&word.as_str()) {
                    return Err(format!("{word:?} is no propagation: expected one of {PROPAGATIONS:?}"));
                }
                self.propagation = Some(word);
            }
            "tmpfs-size" => self.size_bytes = Some(parse_size(&given()?)?),
            "tmpfs-mode" => {
                let mode = given()?;
                if u32::from_str_radix(&mode, 8).is_ok_and(|mode| mode <= 0o7777) {
                    self.mode = Some(mode);
                } else {
                    return Err(format!("{mode:?} is no file mode: expected octal digits, as in 1777"));
                }
            }
            other => {
                return Err(format!(
                    "{other:?} is no field of a mount: expected type, source, target or readonly"
                ));
            }
        }
        Ok(())
    }

    fn bind(self, target: String) -> Result<Mount, String> {
        if self.size_bytes.is_some() || self.mode.is_some() {
            return Err("tmpfs-size and tmpfs-mode belong to a mount of type tmpfs".to_owned());
        }
        let source = self.source.filter(|source| !source.is_empty());
        let source = source.ok_or("a bind mount needs a source, as in source=/data")?;
        let mut options = vec!["rbind".to_owned(), self.propagation.unwrap_or_else(|| "rprivate".to_owned())];
        options.push(access(self.read_only));
        let source = absolute(&source)?;
        Ok(Mount { kind: "bind".to_owned(), source, target: checked_target(target)?, options })
    }

    fn tmpfs(self, target: String) -> Result<Mount, String> {
        if self.source.is_some() || self.propagation.is_some() {
            return Err("a mount of type tmpfs has no source and no propagation".to_owned());
        }
        let mut options = ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
        options.push(format!("mode={}", self.mode.as_deref().unwrap_or("1777")));
        options.extend(self.size_bytes.map(|bytes| format!("size={bytes}")));
        options.push(access(self.read_only));
        let target = checked_target(target)?;
        Ok(Mount { kind: "tmpfs".to_owned(), source: "tmpfs".to_owned(), target, options })
    }
}

fn access(read_only: bool) -> String {
    if read_only { "ro" } else { "rw" }.to_owned()
}

fn parse_flag(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!("{key} is true or false, not {other:?}")),
    }
}

fn checked_target(target: String) -> Result<String, String> {
    if target.starts_with('/') && !target.trim_end_matches('/').is_empty() {
        return Ok(target);
    }
    Err(format!("the target {target:?} is not an absolute path below the container's root"))
}

fn absolute(source: &str) -> Result<String, String> {
    let path = std::path::absolute(Path::new(source)).map_err(|error| format!("{source:?}: {error}"))?;
    path.into_os_string()
        .into_string()
        .map_err(|path| format!("the path {} is not valid UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(source: &str, target: &str, options: &[&str]) -> Mount {
        Mount {
            kind: "bind".into(),
            source: source.into(),
            target: target.into(),
            options: options.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn binds() {
        let plain = bind("/a", "/b", &["rbind", "rprivate", "rw"]);
        assert_eq!(parse_mount("type=bind,source=/a,target=/b").unwrap(), plain);
        assert_eq!(parse_mount("src=/a,dst=/b").unwrap(), plain);
        assert_eq!(parse_mount("destination=/b,type=bind,src=/a,readonly=false").unwrap(), plain);
        let read_only = bind("/a", "/b", &["rbind", "rprivate", "ro"]);
        for text in ["src=/a,dst=/b,readonly", "src=/a,dst=/b,ro", "src=/a,dst=/b,readonly=1"] {
            assert_eq!(parse_mount(text).unwrap(), read_only, "{text}");
        }
        let shared = parse_mount("src=/a,dst=/b,bind-propagation=rshared").unwrap();
        assert_eq!(shared.options, ["rbind", "rshared", "rw"]);
    }

    #[test]
    fn a_relative_source_is_taken_from_here() {
        let here = std::env::current_dir().unwrap();
        let mount = parse_volume("./x:/y").unwrap();
        assert_eq!(mount.source, here.join("x").to_str().unwrap());
    }

    #[test]
    fn tmpfs() {
        let mount = parse_mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700").unwrap();
        assert_eq!((mount.kind.as_str(), mount.target.as_str()), ("tmpfs", "/t"));
        assert_eq!(mount.options, ["nosuid", "nodev", "noexec", "mode=700", "size=1048576", "rw"]);
    }

    #[test]
    fn volumes() {
        assert_eq!(parse_volume("/a:/b").unwrap(), bind("/a", "/b", &["rbind", "rprivate", "rw"]));
        assert_eq!(parse_volume("/a:/b:ro").unwrap(), bind("/a", "/b", &["rbind", "rprivate", "ro"]));
        assert_eq!(parse_volume("/a:/b:ro,rslave").unwrap(), bind("/a", "/b", &["rbind", "rslave", "ro"]));
        for text in ["", "/a", "/a:", ":/b", "/a:b", "/a:/", "/a:/b:rx", "/a:/b:ro:x"] {
            assert!(parse_volume(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let bad = [
            "",
            "type=bind",
            "type=bind,source=/a",
            "type=bind,target=/b",
            "source=/a,target=b",
            "source=,target=/b",
            "source,target=/b",
            "type=volume,source=a,target=/b",
            "source=/a,target=/b,readonly=maybe",
            "source=/a,target=/b,colour=red",
            "source=/a,target=/b,bind-propagation=up",
            "source=/a,target=/b,tmpfs-size=1m",
            "type=tmpfs,target=/t,source=/a",
            "type=tmpfs,target=/t,tmpfs-mode=999",
            "type=tmpfs,target=/t,tmpfs-size=big",
        ];
        for text in bad {
            assert!(parse_mount(text).is_err(), "{text:?}");
        }
    }
}
