// SPDX-License-Identifier: Apache-2.0
//! Who is at the other end of a Unix socket.

use tokio::net::UnixStream;

/// What the kernel says of the process that connected, as it was when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCred {
    /// Its process, seen from our namespace; `None` when it is outside of it.
    pub pid: Option<u32>,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

impl PeerCred {
    /// Asks the kernel; `None` when it does not say.
    pub fn of(stream: &UnixStream) -> Option<Self> {
        let cred = stream.peer_cred().ok()?;
        // The kernel says 0 for a process that has no number here.
        let pid = cred.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        Some(Self { pid, uid: cred.uid(), gid: cred.gid() })
    }

    /// Whether it has the effective user and group of this process.
    pub(crate) fn is_same_user(self) -> bool {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        self.uid == uid.as_raw() && self.gid == gid.as_raw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_pair_within_the_process_is_of_the_same_user() {
        let (a, _b) = UnixStream::pair().unwrap();
        let cred = PeerCred::of(&a).unwrap();
        assert_eq!(cred.pid, Some(std::process::id()));
        assert!(cred.is_same_user());
    }

    #[test]
    fn the_user_and_the_group_both_count() {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let same = |uid, gid| PeerCred { pid: None, uid, gid }.is_same_user();
        assert!(same(uid, gid));
        assert!(!same(uid + 1, gid));
        assert!(!same(uid, gid + 1));
    }
}
