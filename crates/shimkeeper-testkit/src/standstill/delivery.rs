// SPDX-License-Identifier: Apache-2.0
//! A program that is delivered page by page, by a file system in this process (`linux/fuse.h`): one file and no
//! directory. One page can be withheld, and whoever needs it waits until the delivery is over.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::pipe::{PipeFlags, pipe_with};
use tempfile::TempDir;

/// Bytes of a page.
pub(super) const PAGE: u64 = 4096;

/// What the kernel asks for.
const GETATTR: u32 = 3;
const READ: u32 = 15;
const INIT: u32 = 26;
/// What is not answered: they forget a file and interrupt a call.
const UNANSWERED: [u32; 3] = [2, 36, 42];
/// The version of the protocol that is spoken, and the most that is sent at once.
const VERSION: (u32, u32) = (7, 31);
const MOST: u32 = 128 << 10;
/// Bytes before what a request says.
const HEADER: usize = 40;
/// Room for a request: the kernel asks for so much at least.
const ROOM: usize = 256 << 10;

/// The program and its delivery. Over when dropped: whoever still waits for a page of it gets an error.
#[derive(Debug)]
pub(super) struct Delivery {
    dir: TempDir,
    is_hidden: bool,
    pages: Arc<Mutex<Pages>>,
    /// Its other end says that it is over.
    over: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Pages {
    program: Vec<u8>,
    /// Those that were asked for, by their place in the file.
    asked: BTreeSet<u64>,
    withheld: Option<u64>,
}

impl Delivery {
    pub(super) fn of(program: &str) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir()?;
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
        File::create(dir.path().join("program"))?;
        let how = format!("fd={},rootmode=100000,user_id=0,group_id=0", device.as_raw_fd());
        mount("shimkeeper", dir.path().join("program"), "fuse", MountFlags::empty(), Some(&*cstring(&how)))?;
        // No child of ours has it, or it would never be over.
        let (over, kept) = pipe_with(PipeFlags::CLOEXEC)?;
        let pages = Arc::new(Mutex::new(Pages { program: fs::read(program)?, ..Pages::default() }));
        let served = pages.clone();
        let thread = thread::spawn(move || serve(device, &over, &served));
        Ok(Self { dir, is_hidden: false, pages, over: Some(kept), thread: Some(thread) })
    }

    pub(super) fn program(&self) -> PathBuf {
        self.dir.path().join("program")
    }

    /// Takes it out of the tree of files, so that nothing is left mounted whatever happens. Who runs it goes on.
    pub(super) fn hide(&mut self) -> io::Result<()> {
        unmount(self.program(), UnmountFlags::DETACH)?;
        self.is_hidden = true;
        Ok(())
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody waits for the page that is withheld.
    pub(super) fn is_waited_for(&self) -> bool {
        let pages = self.pages();
        pages.withheld.is_some_and(|withheld| pages.asked.contains(&withheld))
    }

    /// Withholds a page from now on that nobody has needed so far; answers its place.
    pub(super) fn withhold(&self) -> u64 {
        let mut pages = self.pages();
        // In the middle of what is farthest from what was: it is not needed by chance.
        let asked: Vec<u64> = pages.asked.iter().copied().collect();
        let gap = asked.windows(2).max_by_key(|pair| pair[1] - pair[0]).expect("it runs");
        let withheld = u64::midpoint(gap[0], gap[1]) / PAGE * PAGE;
        pages.withheld = Some(withheld);
        withheld
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        drop(self.over.take());
        let _ = self.thread.take().map(JoinHandle::join);
        if !self.is_hidden {
            let _ = unmount(self.program(), UnmountFlags::DETACH);
        }
    }
}

/// Answers until it is over. The file system ends with the descriptor.
fn serve(mut device: File, over: &OwnedFd, pages: &Mutex<Pages>) {
    let mut request = vec![0; ROOM];
    loop {
        let mut fds = [PollFd::new(&device, PollFlags::IN), PollFd::new(over, PollFlags::IN)];
        if poll(&mut fds, None).is_err() || !fds[1].revents().is_empty() {
            return;
        }
        // Gone with the last who had something of it, or interrupted: asked again.
        let Ok(len) = device.read(&mut request) else { return };
        let answer = pages.lock().unwrap_or_else(PoisonError::into_inner).answer(&request[..len]);
        if let Some(answer) = answer
            && device.write_all(&answer).is_err()
        {
            return;
        }
    }
}

impl Pages {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let (kind, id, said) = (u32_at(request, 4), &request[8..16], &request[HEADER..]);
        let body = match kind {
            INIT => Ok(init()),
            GETATTR => Ok(self.attributes()),
            READ => Ok(self.read(u64_at(said, 8), u32_at(said, 16))?),
            kind if UNANSWERED.contains(&kind) => return None,
            // There is no such call. To open a file takes none.
            _ => Err(-libc::ENOSYS),
        };
        let (error, body) = body.map_or_else(|error| (error, Vec::new()), |body| (0, body));
        let len = u32::try_from(16 + body.len()).expect("no answer is that long");
        Some([&len.to_ne_bytes()[..], &error.to_ne_bytes(), id, &body].concat())
    }

    /// None if it is withheld.
    fn read(&mut self, from: u64, len: u32) -> Option<Vec<u8>> {
        let to = from + u64::from(len);
        self.asked.extend((from..to).step_by(usize::try_from(PAGE).ok()?));
        if self.withheld.is_some_and(|withheld| (from..to).contains(&withheld)) {
            return None;
        }
        let at =
            |place: u64| usize::try_from(place).map_or(self.program.len(), |at| at.min(self.program.len()));
        Some(self.program[at(from)..at(to)].to_vec())
    }

    /// `fuse_attr_out`: good for a day.
    fn attributes(&self) -> Vec<u8> {
        let size = self.program.len() as u64;
        let words = [86_400, 0, 1, size, size.div_ceil(512), 0, 0, 0];
        let mut out: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        // Three fractions of times, mode, links, owner, group, device, size of a block, and nothing.
        let more = [0, 0, 0, 0o100_755, 1, 0, 0, 0, 4096, 0];
        out.extend(more.into_iter().flat_map(u32::to_ne_bytes));
        out
    }
}

/// `fuse_init_out`: nothing is read ahead, or there would be no page left to withhold.
fn init() -> Vec<u8> {
    let mut out: Vec<u8> = [VERSION.0, VERSION.1, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    // How many calls may wait in the background.
    out.extend([12_u16, 10].into_iter().flat_map(u16::to_ne_bytes));
    out.extend([MOST, 1].into_iter().flat_map(u32::to_ne_bytes));
    out.resize(64, 0);
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn cstring(text: &str) -> std::ffi::CString {
    std::ffi::CString::new(text).expect("numbers and commas")
}
