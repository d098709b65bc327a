// SPDX-License-Identifier: Apache-2.0
//! Turns `user[:group]` into numbers, by the container's own `/etc/passwd` and `/etc/group`.
//!
//! The rules are docker's: a name wins over a number; a number need not be listed; without a group the user's
//! own applies, together with every group that lists the user as a member.

use std::collections::BTreeSet;
use std::path::Path;

use shimkeeper_core::{HasKind, Kind};

use crate::oci::rootfs::{Rootfs, RootfsError};

/// Why a user or group could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Neither a number nor a name that the container knows.
    #[error("no user {name:?} in the container's /etc/passwd")]
    UnknownUser {
        /// The name asked for.
        name: String,
    },
    /// Neither a number nor a group that the container knows.
    #[error("no group {name:?} in the container's /etc/group")]
    UnknownGroup {
        /// The name asked for.
        name: String,
    },
    /// An empty user or group, or one with a control character.
    #[error("{text:?} is not a user: expected USER or USER:GROUP, as names or numbers")]
    Malformed {
        /// What was given.
        text: String,
    },
    /// The container's files cannot be read.
    #[error("look up a user of the container")]
    Rootfs {
        /// Which file, and why.
        #[source]
        source: RootfsError,
    },
}

impl HasKind for UserError {
    fn kind(&self) -> Kind {
        match self {
            Self::UnknownUser { .. } | Self::UnknownGroup { .. } | Self::Malformed { .. } => {
                Kind::InvalidArgument
            }
            Self::Rootfs { source } => source.kind(),
        }
    }
}

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The user's number.
    pub uid: u32,
    /// The number of its primary group.
    pub gid: u32,
    /// Its other groups, and the primary one.
    pub additional_gids: BTreeSet<u32>,
}

/// The most that is read of a passwd or group file.
const LIMIT_BYTES: u64 = 4 << 20;

/// Finds `USER[:GROUP]`, as names or numbers, in the root filesystem at `rootfs`.
///
/// # Errors
/// When there is no such user or group, or the files that would say so cannot be read.
pub fn find_user(rootfs: &Path, text: &str) -> Result<Identity, UserError> {
    let rootfs = Rootfs::open(rootfs).map_err(|source| UserError::Rootfs { source })?;
    resolve(&rootfs, text)
}

/// Resolves `text` in `rootfs`.
pub(crate) fn resolve(rootfs: &Rootfs, text: &str) -> Result<Identity, UserError> {
    let read = |path| rootfs.read(path, LIMIT_BYTES).map_err(|source| UserError::Rootfs { source });
    let passwd = read("etc/passwd")?.unwrap_or_default();
    let group = read("etc/group")?.unwrap_or_default();
    resolve_in(&String::from_utf8_lossy(&passwd), &String::from_utf8_lossy(&group), text)
}

fn resolve_in(passwd: &str, group: &str, text: &str) -> Result<Identity, UserError> {
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let plain = |part: &str| !part.is_empty() && !part.contains([':', '\n', '\0']);
    if !plain(user) || !wanted_group.is_none_or(plain) {
        return Err(UserError::Malformed { text: text.to_owned() });
    }
    let number = parse_id(user);
    let entry = users(passwd).find(|entry| entry.name == user);
    let entry = entry.or_else(|| users(passwd).find(|entry| Some(entry.uid) == number));
    let uid = entry
        .as_ref()
        .map(|entry| entry.uid)
        .or(number)
        .ok_or_else(|| UserError::UnknownUser { name: user.to_owned() })?;

    let mut additional_gids = BTreeSet::new();
    let gid = if let Some(name) = wanted_group {
        find_group(group, name)?
    } else {
        let member = entry.as_ref().map(|entry| entry.name);
        let memberships = groups(group).filter(|g| member.is_some_and(|name| g.has_member(name)));
        additional_gids.extend(memberships.map(|g| g.gid));
        entry.as_ref().map_or(0, |entry| entry.gid)
    };
    // With the primary group among the supplementary ones, setgroups(2) cannot be used to shed it and so to
    // slip past a file whose mode denies that group (CVE-2022-36109).
    additional_gids.insert(gid);
    Ok(Identity { uid, gid, additional_gids })
}

fn find_group(group: &str, name: &str) -> Result<u32, UserError> {
    groups(group)
        .find(|entry| entry.name == name)
        .map(|entry| entry.gid)
        .or_else(|| parse_id(name))
        .ok_or_else(|| UserError::UnknownGroup { name: name.to_owned() })
}

/// The kernel's ids are signed in places; the last one means "unchanged".
fn parse_id(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id <= i32::MAX.unsigned_abs())
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// `name:password:uid:gid:…`; lines that are not like that are passed over.
fn users(passwd: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = parse_id(fields.nth(1)?)?;
        let gid = parse_id(fields.next()?)?;
        Some(PasswdEntry { name, uid, gid })
    })
}

/// `name:password:gid:member,member…`
fn groups(group: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = parse_id(fields.nth(1)?)?;
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or_default() })
    })
}

impl GroupEntry<'_> {
    fn has_member(&self, name: &str) -> bool {
        self.members.split(',').any(|member| member.trim() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                          # a comment\n\
                          broken:x:abc:1\n\
                          mail:x:8:12::/:/bin/false\n\
                          1000:x:77:78::/:/bin/sh\n\
                          app:x:1001:1002::/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\n\
                         wheel:x:10:root,app\n\
                         mail:x:12:\n\
                         audio:x:29:app , mail\n\
                         staff:x:50\n\
                         app:x:1002:\n";

    fn ids(text: &str) -> (u32, u32, Vec<u32>) {
        let found = resolve_in(PASSWD, GROUP, text).unwrap();
        (found.uid, found.gid, found.additional_gids.into_iter().collect())
    }

    #[test]
    fn names_bring_their_groups() {
        assert_eq!(ids("root"), (0, 0, vec![0, 10]));
        assert_eq!(ids("app"), (1001, 1002, vec![10, 29, 1002]));
        assert_eq!(ids("1001"), (1001, 1002, vec![10, 29, 1002]), "a listed number is that user");
    }

    #[test]
    fn a_given_group_stands_alone() {
        assert_eq!(ids("app:staff"), (1001, 50, vec![50]));
        assert_eq!(ids("app:7"), (1001, 7, vec![7]));
        assert_eq!(ids("5:6"), (5, 6, vec![6]));
    }

    #[test]
    fn a_number_need_not_be_listed() {
        assert_eq!(ids("4242"), (4242, 0, vec![0]));
        assert_eq!(ids("1000"), (77, 78, vec![78]), "but a user of that name comes first");
        assert_eq!(resolve_in("", "", "0").unwrap().uid, 0, "not even the files need to exist");
    }

    #[test]
    fn what_is_unknown_or_malformed_is_refused() {
        let resolve = |text| resolve_in(PASSWD, GROUP, text);
        assert!(matches!(resolve("nobody"), Err(UserError::UnknownUser { .. })));
        assert!(matches!(resolve("broken"), Err(UserError::UnknownUser { .. })));
        assert!(matches!(resolve("app:nogroup"), Err(UserError::UnknownGroup { .. })));
        assert!(matches!(resolve("4294967295"), Err(UserError::UnknownUser { .. })));
        assert!(matches!(resolve("+5"), Err(UserError::UnknownUser { .. })));
        for text in ["", ":", "app:", ":app", "a:b:c", "app\n"] {
            assert!(matches!(resolve(text), Err(UserError::Malformed { .. })), "{text:?}");
        }
    }
}
