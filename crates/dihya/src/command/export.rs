//! `dihya export parquet`: events as a file that others read, whole or not there at all.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use disk::{Disk, DiskFile, Open, OsDisk};
use serde_json::json;

use super::block_on;
use super::search::moment;
use crate::cli::ExportArgs;
use crate::client::Client;
use crate::failure::{DONE, misuse};
use crate::terminal;

const PATH: &str = "/api/dihya/v1/exports";
const MEDIA_TYPE: &str = "application/vnd.apache.parquet";
/// What a Parquet file begins and ends with.
const MAGIC: &[u8] = b"PAR1";

/// Runs the command against the server.
pub(super) fn run(args: &ExportArgs) -> anyhow::Result<u8> {
    if OsDisk.exists(&args.out) {
        return Err(misuse(format!("--out {}: it is there already, and nothing is overwritten", args.out.display())));
    }
    let mut asked = json!({"query": query(&args.query.join(" "), args.stream.as_deref())});
    for (name, when) in [("from", args.from), ("until", args.to)] {
        if let Some(when) = when {
            asked[name] = moment(when)?.into();
        }
    }
    let client = Client::new(&args.remote)?;
    let mut taken = Taken::begin(&OsDisk, &args.out)?;
    block_on(client.stream(PATH, &asked, MEDIA_TYPE, &mut |bytes| taken.take(bytes)))?;
    let bytes = taken.keep()?;
    terminal::out(&format!("wrote {} into {}\n", size(bytes), args.out.display()));
    Ok(DONE)
}

/// Joins what was asked for and the stream it is asked of.
fn query(text: &str, stream: Option<&str>) -> String {
    let Some(stream) = stream else { return text.to_owned() };
    let mut only = "stream:".to_owned();
    for c in stream.chars() {
        if !c.is_alphanumeric() && c != '*' {
            only.push('\\');
        }
        only.push(c);
    }
    if text.trim().is_empty() { only } else { format!("{only} ({text})") }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// A file that is being taken: beside its place until it is whole, and gone if it never is.
struct Taken<'a> {
    disk: &'a dyn Disk,
    file: Box<dyn DiskFile>,
    beside: PathBuf,
    place: &'a Path,
    bytes: u64,
    /// The last bytes that came, at most as many as [`MAGIC`] has.
    last: Vec<u8>,
    kept: bool,
}

impl<'a> Taken<'a> {
    fn begin(disk: &'a dyn Disk, place: &'a Path) -> anyhow::Result<Self> {
        let name = place.file_name().ok_or_else(|| misuse("--out: expected the name of a file"))?;
        let beside = place.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
        let file = disk.open(&beside, Open::CreateNew)?;
        Ok(Self { disk, file, beside, place, bytes: 0, last: Vec::new(), kept: false })
    }

    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_at(bytes, self.bytes)?;
        let before = self.bytes;
        self.bytes += bytes.len() as u64;
        self.last.extend_from_slice(bytes.get(bytes.len().saturating_sub(MAGIC.len())..).unwrap_or_default());
        self.last.drain(..self.last.len().saturating_sub(MAGIC.len()));
        if terminal::is_watched() && before >> 20 != self.bytes >> 20 {
            terminal::err(&format!("\r\x1b[Kexporting: {}", size(self.bytes)));
        }
        Ok(())
    }

    /// Puts the file in its place and returns its length.
    fn keep(mut self) -> anyhow::Result<u64> {
        anyhow::ensure!(
            self.last == MAGIC,
            "the export broke off; take less at a time, with --from, --to and --stream"
        );
        self.file.sync_data()?;
        // Somebody else may have been faster.
        anyhow::ensure!(!self.disk.exists(self.place), "{} is there by now", self.place.display());
        self.disk.rename(&self.beside, self.place)?;
        self.kept = true;
        let parent = self.place.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.disk.sync_dir(parent).context("could not make the file durable")?;
        Ok(self.bytes)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if terminal::is_watched() && self.bytes >> 20 > 0 {
            terminal::err("\r\x1b[K");
        }
        if !self.kept {
            let _ = self.disk.remove(&self.beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_narrows_what_is_asked_for() {
        assert_eq!(query("a OR b", None), "a OR b");
        assert_eq!(query("", Some("web-*")), "stream:web\\-*");
        assert_eq!(query("a OR b", Some("a:b c")), "stream:a\\:b\\ c (a OR b)");
        let read = lake::syntax::parse(&query("a OR b", Some("a:b c*"))).expect("reads");
        assert!(matches!(read, lake::syntax::Search::And(parts) if parts.len() == 2));
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("events.parquet");
        let begin = || Taken::begin(&OsDisk, &place).expect("begins");
        let names = || OsDisk.list(dir.path()).expect("lists").into_iter().map(|entry| entry.name).collect::<Vec<_>>();
        let mut broken = begin();
        broken.take(b"PAR1 and then").expect("writes");
        assert!(broken.keep().expect_err("is not whole").to_string().contains("--from"));
        drop(begin());
        assert!(names().is_empty());
        let mut whole = begin();
        for bytes in [&b"PAR1 rows PA"[..], b"", b"R", b"1"] {
            whole.take(bytes).expect("writes");
        }
        assert_eq!(whole.keep().expect("is whole"), 14);
        let mut late = begin();
        late.take(MAGIC).expect("writes");
        assert!(late.keep().expect_err("is there").to_string().contains("there by now"));
        assert_eq!(names(), ["events.parquet"]);
        assert_eq!((size(1), size(5 << 20)), ("1 KiB".to_owned(), "5 MiB".to_owned()));
        assert!(Taken::begin(&OsDisk, Path::new("/")).is_err());
    }
}
