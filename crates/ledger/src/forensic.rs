//! The WAL as it lies on the disk, read only: for `ledger verify` and `ledger show`, also where opening is refused, and
//! beside a server that runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::Disk;
use model::{Position, Value};

use crate::commitment::{Salts, Seed};
use crate::entry::{Entry, Scalar};
use crate::error::Error;
use crate::own;
use crate::payload::Payload;
use crate::verify::{Vault, VaultFault, VaultRecord};
use crate::wal::{self, FrameKind, Header, NoFrame, Rows};

/// The WAL of a data directory, opened without its lock and never written to.
#[derive(Clone)]
pub struct Forensic {
    disk: Arc<dyn Disk>,
    wal: PathBuf,
    segments: Vec<u64>,
}

/// What the walk over the WAL met where it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalEnd {
    /// In which segment.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// What is wrong there; `None` when the log just ends.
    pub why: Option<&'static str>,
}

/// A record as the WAL has it, with what is needed to open it.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Where it stands in its log.
    pub position: Position,
    /// In which segment.
    pub segment: u64,
    /// Where in it its frame starts.
    pub offset: u64,
    /// Its entry.
    pub entry: &'a [u8],
    /// Its payload; `None` when it was deleted.
    pub payload: Option<&'a [u8]>,
    /// The seed of its salts; `None` when it was deleted.
    pub seed: Option<&'a [u8; 32]>,
    /// Its boxes; empty when it has none, or they were deleted.
    pub boxes: &'a [u8],
}

impl Found<'_> {
    /// Returns the fields that can be read, ascending: public ones (names as their numbers) and cleared ones that open.
    ///
    /// # Errors
    /// When the entry or the payload is malformed.
    pub fn fields(&self) -> Result<Vec<(u16, Value)>, Error> {
        let entry = Entry::decode(self.entry)?;
        let mut fields: Vec<_> = entry
            .public()
            .map(|(id, scalar)| {
                let value = match scalar {
                    Scalar::Bool(value) => Value::Bool(value),
                    Scalar::U64(value) => Value::U64(value),
                    Scalar::I64(value) => Value::I64(value),
                    Scalar::F64(value) => Value::F64(value),
                    Scalar::Text(value) => Value::Text(value.to_owned()),
                    Scalar::Name(number) => Value::U64(number.into()),
                    Scalar::Bytes(value) => Value::Bytes(value.to_vec()),
                };
                (id, value)
            })
            .collect();
        if let Some(payload) = self.payload.filter(|payload| !payload.is_empty()) {
            let payload = Payload::decode(payload)?;
            let salts = self.seed.map(|seed| Salts::new(&Seed::from_bytes(*seed)));
            // Never show a value before its commitment recomputes.
            let unopened = payload.unopened(&entry, salts.as_ref());
            fields.extend(payload.to_values()?.into_iter().filter(|(id, _)| !unopened.contains(id)));
        }
        fields.sort_by_key(|(id, _)| *id);
        Ok(fields)
    }
}

impl Forensic {
    /// Opens the WAL of a data directory.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, Error> {
        let wal = dir.join("wal");
        let segments = wal::segments(&*disk, &wal)?;
        Ok(Self { disk, wal, segments })
    }

    /// Returns the origins that the WAL knows.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn origins(&self) -> Result<Vec<String>, Error> {
        let mut origins = Vec::new();
        self.walk(None, &mut |_| true, &mut origins)?;
        Ok(origins)
    }

    /// Returns a log as what `ledger::verify` takes for its vault.
    #[must_use]
    pub fn log(&self, origin: &str) -> ForensicLog {
        ForensicLog { wal: self.clone(), origin: origin.to_owned() }
    }

    /// Calls `visit` with each record of `origin` until it answers `false`, and returns where the walk ended.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn visit(&self, origin: &str, visit: &mut dyn FnMut(Found<'_>) -> bool) -> Result<WalEnd, Error> {
        self.walk(Some(origin), visit, &mut Vec::new())
    }

    fn walk(
        &self,
        wanted: Option<&str>,
        visit: &mut dyn FnMut(Found<'_>) -> bool,
        origins: &mut Vec<String>,
    ) -> Result<WalEnd, Error> {
        let mut end = WalEnd { segment: 0, offset: 0, why: None };
        for segment in &self.segments {
            let bytes = disk::read(&*self.disk, &wal::segment_path(&self.wal, *segment))?;
            let limit = self.limit(*segment, &bytes)?;
            let mut offset = 0;
            while (offset as u64) < limit {
                end = WalEnd { segment: *segment, offset: offset as u64, why: None };
                let (frame, next) = match wal::read_frame(&bytes, offset, *segment) {
                    Ok(found) => found,
                    Err(NoFrame::Unwritten) if limit == u64::MAX => break,
                    Err(NoFrame::Unwritten) => {
                        return Ok(WalEnd { why: Some("nothing stands where a durable frame stood"), ..end });
                    }
                    Err(NoFrame::Broken(why)) => return Ok(WalEnd { why: Some(why), ..end }),
                };
                match frame.kind {
                    FrameKind::Header => {
                        let header = Header::decode(frame.body).unwrap_or_default();
                        let known = origins.len();
                        origins.extend(header.origins.into_iter().skip(known).map(|(origin, _, _)| origin));
                    }
                    FrameKind::Origin if usize::from(frame.origin) == origins.len() => {
                        origins.push(String::from_utf8_lossy(frame.body).into_owned());
                    }
                    _ => {}
                }
                let ours = origins.get(usize::from(frame.origin)).map(String::as_str) == wanted;
                if frame.kind == FrameKind::Group && wanted.is_some() && ours {
                    let Some(rows) = Rows::decode(frame.body, frame.count) else {
                        return Ok(WalEnd { why: Some("a frame's lengths do not add up"), ..end });
                    };
                    for (row, position) in rows.iter().zip(frame.position..) {
                        let kept = !frame.stripped;
                        let found = Found {
                            position,
                            segment: *segment,
                            offset: offset as u64,
                            entry: row.entry,
                            payload: kept.then_some(row.payload),
                            seed: kept.then_some(rows.seed),
                            boxes: row.boxes,
                        };
                        if !visit(found) {
                            return Ok(end);
                        }
                    }
                }
                offset = next;
            }
        }
        Ok(end)
    }

    /// Returns where a segment ends; `u64::MAX` for the last one, whose end shows itself.
    fn limit(&self, segment: u64, bytes: &[u8]) -> Result<u64, Error> {
        let header = |bytes: &[u8], number| match wal::read_frame(bytes, 0, number) {
            Ok((frame, _)) if frame.kind == FrameKind::Header => Header::decode(frame.body),
            _ => None,
        };
        if let Some(own) = header(bytes, segment).filter(|own| own.own_end > 0) {
            return Ok(own.own_end);
        }
        if !self.segments.contains(&(segment + 1)) {
            return Ok(u64::MAX);
        }
        let file = self.disk.open(&wal::segment_path(&self.wal, segment + 1), disk::Open::Read)?;
        let start = wal::read_range(&*file, 0, 1 << 20)?;
        Ok(header(&start, segment + 1).map_or(u64::MAX, |next| next.previous_end))
    }
}

/// One log of a [`Forensic`] WAL.
#[derive(Clone)]
pub struct ForensicLog {
    wal: Forensic,
    origin: String,
}

impl Vault for ForensicLog {
    fn visit(&self, visit: &mut dyn FnMut(VaultRecord<'_>) -> bool) -> Result<(), VaultFault> {
        let end = self
            .wal
            .visit(&self.origin, &mut |found| {
                visit(VaultRecord {
                    position: found.position,
                    entry: found.entry,
                    payload: found.payload,
                    seed: found.seed,
                    boxes: found.boxes,
                })
            })
            .map_err(|error| VaultFault::new(error.chain()))?;
        match end.why {
            Some(why) => {
                let last = self.wal.segments.last() == Some(&end.segment);
                let fault = if last { VaultFault::torn } else { VaultFault::new };
                Err(fault(format!("segment {} at byte {}: {why}", end.segment, end.offset)))
            }
            None => Ok(()),
        }
    }
}

/// Tells what the ledger's own records say, for `ledger show`.
#[must_use]
pub fn describe_own(entry: &[u8]) -> Option<String> {
    let entry = Entry::decode(entry).ok()?;
    if let Ok(batch) = own::Batch::read(&entry) {
        return Some(format!("{} records, {} to {} ms", batch.count, batch.t_min_ms, batch.t_max_ms));
    }
    if let Ok(genesis) = own::Genesis::read(&entry) {
        return Some(format!("start of {}", genesis.origin));
    }
    if let Ok(retention) = own::Retention::read(&entry) {
        return Some(format!("payloads before position {} deleted ({})", retention.until_position, retention.policy));
    }
    if let Ok(rotation) = own::KeyRotation::read(&entry) {
        return Some(format!("rotation {} to {}", rotation.number, rotation.vkey));
    }
    let cut = own::Recovery::read(&entry).ok()?;
    Some(format!("{} bytes cut from segment {} at {}", cut.bytes, cut.segment, cut.offset))
}
