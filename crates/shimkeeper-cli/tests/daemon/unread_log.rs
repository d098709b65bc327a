// SPDX-License-Identifier: Apache-2.0
//! A log that nobody reads: who calls is served, and how much is missing is said.

use std::fs::File;
use std::io::Read as _;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::Signal;
use shimkeeper_client::Session;
use shimkeeper_proto::containerd::services::version::v1::version_client::VersionClient;
use shimkeeper_proto::google::protobuf::Empty;
use shimkeeper_testkit::TestDirs;
use tokio::time::timeout;

use crate::support::{Daemon, PATIENCE, plain};

/// As much as is kept of it unread.
const ROOM: usize = 8192;
/// How often all that there is is written, in some three hundred bytes.
const DUMPS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nobody() {
    let dirs = TestDirs::new();
    let log = dirs.path().join("log");
    mknodat(CWD, &log, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut reader = File::options().read(true).write(true).open(&log).unwrap();
    fcntl_setpipe_size(&reader, ROOM).unwrap();
    let mut daemon = Daemon::start_in(dirs, plain);

    let mut client = VersionClient::new(Session::open(&daemon.address()).await.unwrap());
    let mut stands_still = false;
    for _ in 0..DUMPS {
        daemon.signal(Signal::USR1);
        stands_still |= timeout(PATIENCE, client.version(Empty {})).await.is_err();
    }
    let mut page = [0; ROOM];
    let mut read = || {
        let length = reader.read(&mut page).unwrap();
        String::from_utf8_lossy(&page[..length]).into_owned()
    };
    let before = read();
    daemon.signal(Signal::USR1);
    let after = read();
    // Before anything may fail: what a daemon has logged is looked for where it fails, and never ends here.
    daemon.kill();
    assert!(!stands_still);
    assert!(before.contains("uptime=") && !before.contains("left out"), "{before}");
    assert!(
        after.starts_with("WARN shimkeeper: left out of the log, because nobody read it lines="),
        "{after}"
    );
}
