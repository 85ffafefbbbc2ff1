//! One file that is followed, whatever becomes of its name: renamed, cut, written anew, or another file in its place.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use memchr::memchr;
use model::limits::FILE_RECORD_BYTES_MAX;
use sha2::{Digest, Sha256};

use super::join::{CUT, Joiner, Record, Rules};

/// First bytes of a file by which it is known again: files of logs begin with a time.
pub(super) const HEAD_BYTES_MAX: usize = 256;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// How long a record that may go on is waited for.
const GOES_ON_MAX: Duration = Duration::from_secs(2);

/// A file that is open, and how far it was read.
#[derive(Debug)]
pub(super) struct Tail {
    /// Its name among all files of this machine, made for it.
    pub(super) id: String,
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) head: Vec<u8>,
    /// Up to where it is durable: where reading goes on after a crash.
    pub(super) durable: u64,
    file: File,
    /// Up to where it was read.
    read: u64,
    /// A line that has no end yet.
    pending: Vec<u8>,
    /// Whether what comes is the rest of a line that was too long.
    is_skipping: bool,
    joiner: Joiner,
    grown_at: Duration,
}

/// What a look at a file found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    /// The file is known by another beginning than before.
    pub(super) is_renewed: bool,
    /// Something had come, whether or not it is a record yet.
    pub(super) has_read: bool,
}

impl Tail {
    /// Opens a file from its beginning on.
    pub(super) fn open(path: &Path, id: String, now: Duration) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let head = head_of(&file)?;
        Ok(Self {
            id,
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            head,
            durable: 0,
            file,
            read: 0,
            pending: Vec::new(),
            is_skipping: false,
            joiner: Joiner::default(),
            grown_at: now,
        })
    }

    /// Goes on from where an earlier run had got to.
    pub(super) const fn go_on(&mut self, offset: u64) {
        (self.durable, self.read) = (offset, offset);
    }

    pub(super) fn is(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }

    /// Returns how long nothing has come.
    pub(super) fn quiet(&self, now: Duration) -> Duration {
        now.saturating_sub(self.grown_at)
    }

    /// Reads what has come, up to `most` bytes.
    pub(super) fn round(
        &mut self,
        rules: &Rules,
        now: Duration,
        most: usize,
        records: &mut Vec<Record>,
    ) -> io::Result<Round> {
        let len = self.file.metadata()?.len();
        if len == self.read && self.head.len() == HEAD_BYTES_MAX.min(usize::try_from(len).unwrap_or(usize::MAX)) {
            self.go_quiet(now, records);
            return Ok(Round::default());
        }
        let mut changed = false;
        let head = head_of(&self.file)?;
        if len < self.read || !head.starts_with(&self.head) {
            // Cut, or written anew: what was not whole will not be.
            self.end(records);
            records.iter_mut().for_each(|record| record.end = 0);
            (self.durable, self.read) = (0, 0);
            self.is_skipping = false;
            changed = true;
        }
        changed |= head != self.head;
        self.head = head;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut taken = 0;
        while taken < most {
            let count = self.file.read_at(&mut chunk, self.read)?;
            if count == 0 {
                break;
            }
            self.grown_at = now;
            taken += count;
            self.take(rules, chunk.get(..count).unwrap_or_default(), records);
        }
        if taken == 0 {
            self.go_quiet(now, records);
        }
        Ok(Round { is_renewed: changed, has_read: taken > 0 })
    }

    fn go_quiet(&mut self, now: Duration, records: &mut Vec<Record>) {
        // A line without an end is still being written; a record of several lines may be over.
        if self.quiet(now) >= GOES_ON_MAX && !self.joiner.is_empty() {
            self.joiner.flush(records);
        }
    }

    /// Takes what is left of a file that nobody will write to any more.
    pub(super) fn end(&mut self, records: &mut Vec<Record>) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            let text = pending;
            self.joiner.flush(records);
            records.push(Record { text, time_ns: None, io: None, end: self.read, malformed: None });
        }
        self.joiner.flush(records);
    }

    fn take(&mut self, rules: &Rules, mut bytes: &[u8], records: &mut Vec<Record>) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at_checked(end + 1).unwrap_or((bytes, &[]));
            let start = self.read - self.pending.len() as u64;
            self.pending.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            self.read += line.len() as u64;
            if std::mem::take(&mut self.is_skipping) {
                self.pending.clear();
            } else {
                let line = std::mem::take(&mut self.pending);
                self.joiner.line(rules, &line, (start, self.read), records);
            }
            bytes = rest;
        }
        self.read += bytes.len() as u64;
        if self.is_skipping {
            return;
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() > FILE_RECORD_BYTES_MAX {
            let mut text = std::mem::take(&mut self.pending);
            text.truncate(FILE_RECORD_BYTES_MAX);
            self.joiner.flush(records);
            records.push(Record { text, time_ns: None, io: None, end: self.read, malformed: Some(CUT) });
            self.is_skipping = true;
        }
    }
}

fn head_of(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES_MAX];
    let mut len = 0;
    while let Some(rest) = head.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, len as u64)? {
            0 => break,
            count => len += count,
        }
    }
    head.truncate(len);
    Ok(head)
}

/// Returns a hash of a beginning by which it is known and nothing of it is learnt: the key is this instance's.
pub(super) fn print_of(key: &[u8; 32], head: &[u8]) -> String {
    let hash = Sha256::new().chain_update(key).chain_update(head).finalize();
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
