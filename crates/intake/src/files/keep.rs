//! How far files were read, over restarts: `sources.json`, and the events that were recorded after it was written.

use model::{Body, Tenant, Value};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::tail::{Tail, print_of};
use super::{Marks, Means, Watch};

/// The attribute that says of which file an event is.
pub(super) const ID: &str = "log.file.id";
/// The attribute that says where reading goes on behind it.
pub(super) const NEXT: &str = "log.file.next";
/// Records that are read at once at the start.
const READ_RECORDS: usize = 256;

/// What is known of files from the run before.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Up to which record of each tenant's log the positions say all.
    marks: Marks,
    files: Vec<Place>,
}

/// A file, and how far it was read. Of its beginning there is a print, which says nothing of what stands there.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    id: String,
    device: u64,
    inode: u64,
    head_len: usize,
    print: String,
    next: u64,
}

impl Kept {
    /// Goes on with a file that is known: the same inode and the same beginning. Another beginning is another file.
    pub(super) fn recognise(&mut self, tail: &mut Tail, key: &[u8; 32]) {
        let known = self.files.iter().position(|place| {
            let head = tail.head.get(..place.head_len);
            (place.device, place.inode) == (tail.device, tail.inode)
                && head.is_some_and(|head| print_of(key, head) == place.print)
        });
        if let Some(place) = known.map(|at| self.files.swap_remove(at)) {
            tail.id = place.id;
            tail.go_on(place.next);
        }
    }
}

/// Reads what was kept, and what was recorded after it.
pub(super) async fn load(means: &Means) -> Kept {
    let mut kept: Kept = if means.disk.exists(&means.kept) {
        match disk::read(&*means.disk, &means.kept).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(kept)) => kept,
            // Everything is read once more, which loses nothing.
            Ok(Err(_)) | Err(_) => {
                warn!("cannot read how far files were read, so they are read from their beginning");
                Kept::default()
            }
        }
    } else {
        Kept::default()
    };
    let marks = kept.marks.clone();
    for (tenant, from) in marks {
        if let Err(refusal) = catch_up(means, &mut kept, &tenant, from).await {
            warn!(%tenant, error = %refusal, "could not read which lines of files are recorded: some may come twice");
        }
    }
    kept
}

async fn catch_up(means: &Means, kept: &mut Kept, tenant: &Tenant, from: u64) -> Result<(), model::Refusal> {
    let mut feed = (means.records)(tenant, from)?;
    loop {
        let records = feed.read(READ_RECORDS).await?;
        if records.is_empty() {
            return Ok(());
        }
        for record in records {
            let Body::Event(event) = record.signal.body else { continue };
            let (Some(Value::Text(id)), Some(next)) = (event.attributes.get(ID), event.attributes.get(NEXT)) else {
                continue;
            };
            let next = match next {
                Value::U64(next) => *next,
                Value::I64(next) => u64::try_from(*next).unwrap_or(0),
                _ => continue,
            };
            // The last says it: a file that was written anew begins at 0 again.
            if let Some(place) = kept.files.iter_mut().find(|place| place.id == *id) {
                place.next = next;
            }
        }
    }
}

/// Writes down how far files are durable. Nothing is on its way to the ledger meanwhile.
pub(super) async fn keep(means: &Means, watch: &Watch) {
    let tenants = watch.sources.iter().map(|source| source.tenant.clone());
    let marks = tenants.filter_map(|tenant| Some((tenant.clone(), (means.durable)(&tenant)?))).collect();
    let files = watch.tails.iter().map(|(_, tail)| place(tail, &means.key)).collect();
    let Ok(json) = serde_json::to_vec(&Kept { marks, files }) else { return };
    let (disk, path) = (std::sync::Arc::clone(&means.disk), means.kept.clone());
    let written = tokio::task::spawn_blocking(move || disk::write_atomic(&*disk, &path, &json)).await;
    if let Ok(Err(error)) = written {
        // The next time, or the events themselves, say it.
        warn!(error = %error, "could not write down how far files were read");
    }
}

fn place(tail: &Tail, key: &[u8; 32]) -> Place {
    Place {
        id: tail.id.clone(),
        device: tail.device,
        inode: tail.inode,
        head_len: tail.head.len(),
        print: print_of(key, &tail.head),
        next: tail.durable,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns what would be kept, over JSON.
    pub(in super::super) fn of(watch: &Watch) -> Kept {
        let files = watch.tails.iter().map(|(_, tail)| place(tail, &watch.key)).collect();
        let json = serde_json::to_vec(&Kept { marks: Marks::new(), files }).expect("writes");
        serde_json::from_slice(&json).expect("reads")
    }

    #[test]
    fn a_print_says_nothing_of_what_it_is_of() {
        assert_ne!(print_of(&[1; 32], b"line"), print_of(&[2; 32], b"line"));
        assert_eq!(print_of(&[1; 32], b"line").len(), 32);
    }
}
