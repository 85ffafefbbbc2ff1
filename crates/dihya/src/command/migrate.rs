//! `dihya migrate ndjson`: documents of a dump go through the running server, in order, and none is taken for sent before it
//! is durable.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use http::StatusCode;
use model::limits::INTAKE_EVENT_BYTES_MAX;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::block_on;
use crate::cli::MigrateArgs;
use crate::client::{Client, Error};
use crate::failure::{DONE, FAILED, misuse};
use crate::input;
use crate::terminal::{self, Progress};

/// Documents and bytes of one request.
const BATCH_DOCUMENTS_MAX: usize = 2_000;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Longest line: a page of a scroll has many documents.
const LINE_BYTES_MAX: usize = 64 << 20;
/// Waits before a batch is sent again: twice as long each time, a minute in all.
const AGAIN: Duration = Duration::from_millis(500);
const ATTEMPTS_MAX: u32 = 8;
/// Lines that are told of one by one; further ones are counted.
const TOLD_MAX: u64 = 1_000;
/// Documents after which a log without a terminal hears how far it is.
const SAY_EVERY: u64 = 100_000;

/// Runs the command against the server.
pub(super) fn run(args: &MigrateArgs) -> anyhow::Result<u8> {
    let client = if args.dry_run { None } else { Some(Client::new(&args.remote)?) };
    if args.from_line > 1 && args.files.first().is_some_and(|file| file == Path::new("-")) {
        return Err(misuse("--from-line: standard input begins where it begins; use tail -n +N"));
    }
    let mut migration = Migration::new(args, client);
    let done = migration.files(&args.files, args.from_line);
    migration.progress.finish();
    let (verb, documents) = (if args.dry_run { "read" } else { "sent" }, migration.taken);
    let streams = migration.streams.iter().map(|(index, count)| format!("  {count:>10}  {}\n", terminal::plain(index)));
    terminal::out(&format!("{verb} {documents} documents\n{}", streams.collect::<String>()));
    if migration.failed > 0 {
        terminal::err(&format!("{} documents or lines could not be {verb}\n", migration.failed));
    }
    done?;
    Ok(if migration.failed > 0 { FAILED } else { DONE })
}

/// A hit, or a page of them.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    _source: Option<&'a RawValue>,
    _index: Option<String>,
    hits: Option<Value>,
}

/// One run of the command.
struct Migration<'a> {
    args: &'a MigrateArgs,
    client: Option<Client>,
    progress: Progress,
    read: Arc<AtomicU64>,
    bytes: u64,
    file: PathBuf,
    /// The line that was read last.
    line: u64,
    batch: Batch,
    taken: u64,
    failed: u64,
    streams: BTreeMap<String, u64>,
}

/// Documents that are sent together, and the line of each.
#[derive(Default)]
struct Batch {
    documents: Vec<(u64, String, Vec<u8>)>,
    bytes: usize,
}

impl<'a> Migration<'a> {
    fn new(args: &'a MigrateArgs, client: Option<Client>) -> Self {
        let bytes = args.files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum();
        Self {
            args,
            client,
            progress: Progress::new("migrating"),
            read: Arc::default(),
            bytes,
            file: PathBuf::new(),
            line: 0,
            batch: Batch::default(),
            taken: 0,
            failed: 0,
            streams: BTreeMap::new(),
        }
    }

    fn files(&mut self, files: &[PathBuf], from_line: u64) -> anyhow::Result<()> {
        let mut from = from_line;
        for (at, file) in files.iter().enumerate() {
            self.file.clone_from(file);
            self.line = from - 1;
            if let Err(error) = self.lines(file, from) {
                // What waits is in the order of the file; all before it is durable.
                let reached = self.batch.documents.first().map_or(self.line + 1, |(line, ..)| *line);
                self.progress.finish();
                let rest: Vec<_> = files.iter().skip(at).map(|file| file.display().to_string()).collect();
                terminal::err(&format!("to go on: dihya migrate ndjson --from-line {reached} {}\n", rest.join(" ")));
                return Err(error);
            }
            from = 1;
        }
        Ok(())
    }

    fn lines(&mut self, file: &Path, from: u64) -> anyhow::Result<()> {
        let unread = || format!("could not read {}", file.display());
        let mut input = input::open(file, &self.read).with_context(unread)?;
        let (mut line, mut number) = (Vec::new(), 0);
        while let Some(whole) = next_line(&mut *input, &mut line).with_context(unread)? {
            number += 1;
            if number < from {
                continue;
            }
            self.line = number;
            match documents(&line, whole, &self.args.stream) {
                Ok(documents) => {
                    for (index, document) in documents {
                        if self.batch.is_full(document.len()) {
                            self.send()?;
                        }
                        self.batch.push(number, index, document);
                    }
                }
                Err(why) => self.tell(number, why),
            }
        }
        self.send()
    }

    fn tell(&mut self, line: u64, why: &str) {
        self.failed += 1;
        if self.failed <= TOLD_MAX {
            self.progress.finish();
            terminal::err(&format!("{}:{line}: {}\n", self.file.display(), terminal::plain(why)));
        }
    }

    /// Sends what was gathered until all of it is settled.
    fn send(&mut self) -> anyhow::Result<()> {
        let (mut wait, mut attempts) = (AGAIN, 0);
        while !self.batch.documents.is_empty() {
            let Some(client) = &self.client else {
                self.settle(&[]);
                break;
            };
            attempts += 1;
            let why = match block_on(client.bulk(self.batch.body())) {
                Ok(answer) => {
                    let outcomes =
                        outcomes(&answer, self.batch.documents.len()).context("the answer is none of _bulk")?;
                    match self.settle(&outcomes) {
                        None => break,
                        Some(why) => anyhow::anyhow!("the server puts documents off: {why}"),
                    }
                }
                // A server that was never there is a wrong address rather than a restart.
                Err(error) if is_passing(&error) && self.taken > 0 => error,
                Err(error) => return Err(error),
            };
            if attempts >= ATTEMPTS_MAX {
                return Err(why);
            }
            block_on(async {
                tokio::time::sleep(wait).await;
                Ok(())
            })?;
            wait *= 2;
        }
        self.progress.update(self.read.load(Ordering::Relaxed), self.bytes);
        Ok(())
    }

    /// Takes out of the batch what is settled, and says why the rest is not. No outcomes: all is well.
    fn settle(&mut self, outcomes: &[(u16, String)]) -> Option<String> {
        let mut put_off = None;
        let mut wrong = Vec::new();
        let mut outcomes = outcomes.iter();
        let before = self.taken / SAY_EVERY;
        let (taken, streams) = (&mut self.taken, &mut self.streams);
        self.batch.documents.retain(|(line, index, _)| {
            match outcomes.next() {
                Some((429 | 500.., why)) => {
                    put_off = Some(why.clone());
                    return true;
                }
                Some((status, why)) if *status >= 400 && *status != 409 => wrong.push((*line, why.clone())),
                _ => {
                    *taken += 1;
                    *streams.entry(index.clone()).or_default() += 1;
                }
            }
            false
        });
        self.batch.bytes = self.batch.documents.iter().map(|(_, _, document)| document.len()).sum();
        for (line, why) in wrong {
            self.tell(line, &why);
        }
        if self.taken / SAY_EVERY > before && !terminal::is_watched() {
            terminal::err(&format!("{}: {} documents\n", self.file.display(), self.taken));
        }
        put_off
    }
}

impl Batch {
    fn is_full(&self, more: usize) -> bool {
        self.documents.len() >= BATCH_DOCUMENTS_MAX
            || (self.bytes + more > BATCH_BYTES_MAX && !self.documents.is_empty())
    }

    fn push(&mut self, line: u64, index: String, document: Vec<u8>) {
        self.bytes += document.len();
        self.documents.push((line, index, document));
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.bytes + 64 * self.documents.len());
        for (_, index, document) in &self.documents {
            body.extend_from_slice(serde_json::json!({"create": {"_index": index}}).to_string().as_bytes());
            body.push(b'\n');
            body.extend_from_slice(document);
            body.push(b'\n');
        }
        body
    }
}

/// Tells whether another attempt may succeed.
fn is_passing(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(Error::Unreachable { .. }) => true,
        Some(Error::Refused { status, .. }) => *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
        _ => false,
    }
}

/// Reads what an answer says of each document.
fn outcomes(answer: &Value, documents: usize) -> Option<Vec<(u16, String)>> {
    let items = answer.get("items")?.as_array().filter(|items| items.len() == documents)?;
    let outcome = |item: &Value| {
        let outcome = item.get("create")?;
        let why = outcome.get("error").and_then(|error| error.get("reason")).and_then(Value::as_str);
        Some((u16::try_from(outcome.get("status")?.as_u64()?).ok()?, why.unwrap_or("no reason given").to_owned()))
    };
    items.iter().map(outcome).collect()
}

/// Reads a line without its end; tells whether it is whole, or longer than may be. `None` at the end.
fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> std::io::Result<Option<bool>> {
    line.clear();
    let (mut whole, mut any) = (true, false);
    loop {
        let piece = input.fill_buf()?;
        if piece.is_empty() {
            return Ok(any.then_some(whole));
        }
        any = true;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let taken = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
        if line.len() + taken.len() > LINE_BYTES_MAX {
            whole = false;
            line.clear();
        }
        if whole {
            line.extend_from_slice(taken);
        }
        let len = taken.len() + usize::from(end.is_some());
        input.consume(len);
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}

/// Returns the documents of a line with the index of each.
fn documents(line: &[u8], whole: bool, stream: &str) -> Result<Vec<(String, Vec<u8>)>, &'static str> {
    if !whole {
        return Err("the line is longer than 64 MiB");
    }
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(Vec::new());
    }
    let checked = |index: Option<&str>, document: Vec<u8>| {
        if document.len() > INTAKE_EVENT_BYTES_MAX {
            return Err("the document is larger than 512 KiB");
        }
        match document.first() {
            Some(b'{') => Ok((index.unwrap_or(stream).to_owned(), document)),
            _ => Err("the document is no JSON object"),
        }
    };
    let read: Line = serde_json::from_slice(line).map_err(|_| "the line is no JSON object")?;
    match (read._source, read.hits.as_ref().and_then(|hits| hits.get("hits")?.as_array())) {
        (Some(source), _) => Ok(vec![checked(read._index.as_deref(), source.get().as_bytes().to_vec())?]),
        (None, Some(hits)) => hits
            .iter()
            .map(|hit| {
                let source = hit.get("_source").ok_or("a hit of the page has no _source")?;
                checked(hit.get("_index").and_then(Value::as_str), source.to_string().into_bytes())
            })
            .collect(),
        // A document may have a line feed nowhere: it was one line.
        (None, _) => Ok(vec![checked(read._index.as_deref(), line.to_vec())?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Remote;
    use crate::client::tests::answering;

    #[test]
    fn hits_pages_and_documents_alone_are_read() {
        let read = |line: &str| {
            documents(line.as_bytes(), true, "s").map(|documents| {
                let text = |(index, document)| format!("{index} {}", String::from_utf8(document).expect("UTF-8"));
                documents.into_iter().map(text).collect::<Vec<_>>().join("|")
            })
        };
        for (line, wanted) in [
            (
                r#"{"_index":"web-2026.11.27","_id":"1","_score":1,"_source":{"message": "a"}}"#,
                Ok("web-2026.11.27 {\"message\": \"a\"}"),
            ),
            (
                r#" {"@timestamp":"2026-11-27T10:00:00Z","message":"m","hits":3} "#,
                Ok("s {\"@timestamp\":\"2026-11-27T10:00:00Z\",\"message\":\"m\",\"hits\":3}"),
            ),
            (
                r#"{"took":1,"hits":{"total":2,"hits":[{"_index":"a","_source":{"x":1}},{"_source":{"x":2}}]}}"#,
                Ok("a {\"x\":1}|s {\"x\":2}"),
            ),
            ("", Ok("")),
            ("{", Err("the line is no JSON object")),
            ("[1]", Err("the line is no JSON object")),
            (r#"{"_source":7}"#, Err("the document is no JSON object")),
            (r#"{"hits":{"hits":[{"_id":"1"}]}}"#, Err("a hit of the page has no _source")),
        ] {
            assert_eq!(read(line), wanted.map(str::to_owned), "{line}");
        }
        let large = format!("{{\"_source\":{{\"x\":\"{}\"}}}}", "x".repeat(INTAKE_EVENT_BYTES_MAX));
        assert_eq!(read(&large), Err("the document is larger than 512 KiB"));
        assert_eq!(documents(b"{}", false, "s"), Err("the line is longer than 64 MiB"));
    }

    #[test]
    fn lines_are_bounded() {
        let text = [b"one\n".to_vec(), vec![b'x'; LINE_BYTES_MAX + 1], b"\nthree".to_vec()].concat();
        let (mut input, mut line, mut seen) = (&*text, Vec::new(), Vec::new());
        while let Some(whole) = next_line(&mut input, &mut line).expect("reads") {
            seen.push((line.len(), whole));
        }
        assert_eq!(seen, [(3, true), (0, false), (5, true)]);
    }

    fn args(files: &[PathBuf], from_line: u64) -> MigrateArgs {
        let stream = "s".to_owned();
        MigrateArgs { files: files.to_vec(), from_line, stream, dry_run: false, remote: Remote::default() }
    }

    #[test]
    fn what_the_server_refuses_is_told_and_what_it_puts_off_is_sent_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("dump.ndjson");
        let text = "{\"x\":1}\nnoise\n{\"x\":2}\n{\"x\":3}\n";
        disk::write_atomic(&disk::OsDisk, &file, text.as_bytes()).expect("written");
        let calls = AtomicU64::new(0);
        let (client, asked) = answering(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => serde_json::json!({"items": [{"create": {"status": 201}}, {"create": {"status": 429, "error": {}}},
                {"create": {"status": 400, "error": {"reason": "no"}}}]}),
            _ => serde_json::json!({"items": [{"create": {"status": 201}}]}),
        });
        let files = [file];
        let args = args(&files, 1);
        let mut migration = Migration::new(&args, Some(client));
        migration.files(&files, 1).expect("goes through");
        assert_eq!((migration.taken, migration.failed, migration.streams["s"]), (2, 2, 2));
        assert_eq!(*asked.lock().expect("not poisoned"), ["/_bulk"; 2]);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let refused = |status: u16| {
            let status = StatusCode::from_u16(status).expect("a status");
            is_passing(&Error::Refused { status, detail: String::new() }.into())
        };
        assert_eq!([429, 503, 401, 400].map(refused), [true, true, false, false]);
        assert!(is_passing(&Error::Unreachable { url: String::new(), reason: String::new() }.into()));
        assert!(!is_passing(&anyhow::anyhow!("other")));
        assert_eq!(outcomes(&serde_json::json!({"items": []}), 1), None);
        let stdin = args(&["-".into()], 2);
        assert!(run(&stdin).expect_err("cannot").to_string().contains("tail -n +N"));
    }
}
