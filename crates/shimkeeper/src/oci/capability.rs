// SPDX-License-Identifier: Apache-2.0
//! Which capabilities a container gets: docker's fourteen, plus what is added, minus what is dropped.

use oci_spec::runtime::Capability;
use shimkeeper_core::{HasKind, Kind};

/// Why a list of capabilities makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// No capability has this name.
    #[error("no capability is named {name:?}")]
    Unknown {
        /// The name that was given.
        name: String,
    },
}

impl HasKind for CapabilityError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

use Capability as C;

/// Every capability at the place of its number in the kernel.
const BY_NUMBER: [Capability; 41] = [
    C::Chown,
    C::DacOverride,
    C::DacReadSearch,
    C::Fowner,
    C::Fsetid,
    C::Kill,
    C::Setgid,
    C::Setuid,
    C::Setpcap,
    C::LinuxImmutable,
    C::NetBindService,
    C::NetBroadcast,
    C::NetAdmin,
    C::NetRaw,
    C::IpcLock,
    C::IpcOwner,
    C::SysModule,
    C::SysRawio,
    C::SysChroot,
    C::SysPtrace,
    C::SysPacct,
    C::SysAdmin,
    C::SysBoot,
    C::SysNice,
    C::SysResource,
    C::SysTime,
    C::SysTtyConfig,
    C::Mknod,
    C::Lease,
    C::AuditWrite,
    C::AuditControl,
    C::Setfcap,
    C::MacOverride,
    C::MacAdmin,
    C::Syslog,
    C::WakeAlarm,
    C::BlockSuspend,
    C::AuditRead,
    C::Perfmon,
    C::Bpf,
    C::CheckpointRestore,
];

/// What a container has when nobody says otherwise: enough for root inside to feel at home, not enough to harm
/// the host.
const DEFAULT: [Capability; 14] = [
    C::AuditWrite,
    C::Chown,
    C::DacOverride,
    C::Fowner,
    C::Fsetid,
    C::Kill,
    C::Mknod,
    C::NetBindService,
    C::NetRaw,
    C::Setfcap,
    C::Setgid,
    C::Setpcap,
    C::Setuid,
    C::SysChroot,
];

/// A request for one capability, or for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    All,
    One(Capability),
}

fn parse(name: &str) -> Result<Word, CapabilityError> {
    let upper = name.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" {
        return Ok(Word::All);
    }
    bare.parse().map(Word::One).map_err(|_| CapabilityError::Unknown { name: name.to_owned() })
}

fn parse_all(names: &[String]) -> Result<Vec<Word>, CapabilityError> {
    names.iter().map(|name| parse(name)).collect()
}

/// Applies `add` and `drop` to the default; `available` is what `ALL` stands for.
///
/// With `ALL` added the rest of `add` says nothing more; with `ALL` dropped only what is added by name remains.
/// A capability both added and dropped by name is dropped, the safer reading.
pub(crate) fn resolve(
    add: &[String],
    drop: &[String],
    available: &[Capability],
) -> Result<Vec<Capability>, CapabilityError> {
    let (add, drop) = (parse_all(add)?, parse_all(drop)?);
    let base: &[Capability] = match (add.contains(&Word::All), drop.contains(&Word::All)) {
        (_, true) => &[],
        (true, false) => available,
        (false, false) => &DEFAULT,
    };
    let kept = |capability: &Capability| {
        let one = Word::One(*capability);
        (base.contains(capability) || add.contains(&one)) && !drop.contains(&one)
    };
    Ok(BY_NUMBER.into_iter().filter(kept).collect())
}

/// What this process could hand on at most: its bounding set.
///
/// A runtime cannot give more than that, and asking for an unknown number makes it fail.
pub(crate) fn available() -> Vec<Capability> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    bounding_set(&status)
}

fn bounding_set(status: &str) -> Vec<Capability> {
    let bits = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bits = bits.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    let numbered = BY_NUMBER.into_iter().enumerate();
    numbered.filter(|(number, _)| bits >> number & 1 == 1).map(|(_, capability)| capability).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(add: &[&str], drop: &[&str]) -> Vec<Capability> {
        let own = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        resolve(&own(add), &own(drop), &BY_NUMBER).unwrap()
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        for name in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin", " Net_Admin "] {
            assert_eq!(parse(name), Ok(Word::One(C::NetAdmin)), "{name}");
        }
        assert_eq!(parse("all"), Ok(Word::All));
        assert_eq!(parse("NET_ADMIM"), Err(CapabilityError::Unknown { name: "NET_ADMIM".into() }));
    }

    #[test]
    fn the_default_is_changed_by_name() {
        assert_eq!(resolved(&[], &[]).len(), 14);
        assert!(resolved(&["SYS_TIME"], &[]).contains(&C::SysTime));
        assert!(!resolved(&[], &["NET_RAW"]).contains(&C::NetRaw));
        assert!(!resolved(&["SYS_TIME"], &["SYS_TIME"]).contains(&C::SysTime), "drop wins");
    }

    #[test]
    fn all_is_the_base_that_names_then_change() {
        assert_eq!(resolved(&["ALL"], &[]).len(), 41);
        assert_eq!(resolved(&["ALL"], &["SYS_ADMIN"]).len(), 40);
        assert_eq!(resolved(&[], &["ALL"]), []);
        assert_eq!(resolved(&["CHOWN"], &["ALL"]), [C::Chown]);
        assert_eq!(resolved(&["ALL"], &["ALL"]), []);
    }

    #[test]
    fn the_bounding_set_is_read_by_number() {
        assert_eq!(bounding_set("Name:\tx\nCapBnd:\t0000000000000001\n"), [C::Chown]);
        assert_eq!(bounding_set("CapBnd:\t000001ffffffffff\n").len(), 41);
        assert_eq!(bounding_set("CapBnd:\t0000010000000000\n"), [C::CheckpointRestore]);
        assert_eq!(bounding_set("nothing of the kind"), []);
    }
}
