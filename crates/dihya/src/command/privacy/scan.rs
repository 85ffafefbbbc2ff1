//! `dihya privacy scan`: what personal data lies in files, without a value of it in the report.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use privacy::{Redactor, Type};
use serde_json::json;

use crate::cli::Format;
use crate::command::print_json;
use crate::failure::{DONE, FAILED};
use crate::input::open;
use crate::terminal::{self, Progress};

/// Most bytes of a line that are looked at together; a longer line is looked at in pieces.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// Most characters of a sample.
const SAMPLE_CHARS_MAX: usize = 48;
/// Most samples a type, whatever was asked for.
const SAMPLES_MAX: usize = 100;

/// What was found of one type.
#[derive(Debug, Default)]
struct Tally {
    count: u64,
    lines: u64,
    samples: Vec<Sample>,
}

/// Where a value stands and what it looks like.
#[derive(Debug)]
struct Sample {
    file: String,
    line: u64,
    shape: String,
}

/// What was found in all files.
#[derive(Debug, Default)]
struct Report {
    types: BTreeMap<Type, Tally>,
    files: u64,
    lines: u64,
    lines_found: u64,
    bytes: u64,
    failed: Vec<(String, String)>,
}

/// Scans files and prints the report.
pub(super) fn run(redactor: &Redactor, files: &[PathBuf], format: Format, samples: usize) -> anyhow::Result<u8> {
    let total = files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum();
    let read = Arc::new(AtomicU64::new(0));
    let mut progress = Progress::new("scanning");
    let mut report = Report::default();
    for file in files {
        let name = terminal::plain(&file.display().to_string());
        let mut tick = || progress.update(read.load(Ordering::Relaxed), total);
        match open(file, &read)
            .and_then(|input| report.scan(redactor, &name, input, samples.min(SAMPLES_MAX), &mut tick))
        {
            Ok(()) => report.files += 1,
            Err(error) => report.failed.push((name, error.to_string())),
        }
    }
    progress.finish();
    match format {
        Format::Json => print_json(&report.as_json())?,
        Format::Text => terminal::out(&report.as_text()),
    }
    for (name, why) in &report.failed {
        terminal::err(&format!("dihya: could not read {name}: {why}\n"));
    }
    Ok(if report.types.is_empty() && report.failed.is_empty() { DONE } else { FAILED })
}

impl Report {
    fn scan(
        &mut self,
        redactor: &Redactor,
        name: &str,
        mut input: Box<dyn BufRead>,
        samples: usize,
        tick: &mut dyn FnMut(),
    ) -> io::Result<()> {
        let mut piece = Vec::new();
        let mut line = 1;
        loop {
            piece.clear();
            let len = input.by_ref().take(PIECE_BYTES_MAX as u64).read_until(b'\n', &mut piece)?;
            if len == 0 {
                return Ok(());
            }
            self.bytes += len as u64;
            let ended = piece.last() == Some(&b'\n');
            self.piece(redactor, name, line, &String::from_utf8_lossy(&piece), samples);
            if ended || len < PIECE_BYTES_MAX {
                line += 1;
                self.lines += 1;
            }
            if line % 1_024 == 0 || len > 1_024 {
                tick();
            }
        }
    }

    fn piece(&mut self, redactor: &Redactor, name: &str, line: u64, text: &str, samples: usize) {
        let findings = redactor.findings(text);
        let mut seen = [false; Type::ALL.len()];
        for finding in findings.iter().filter(|finding| !finding.kept) {
            let tally = self.types.entry(finding.kind).or_default();
            tally.count += 1;
            tally.lines += u64::from(!std::mem::replace(&mut seen[finding.kind as usize], true));
            if tally.samples.len() < samples {
                let value = text.get(finding.range.clone()).unwrap_or_default();
                tally.samples.push(Sample { file: name.to_owned(), line, shape: shape(finding.kind, value) });
            }
        }
        self.lines_found += u64::from(seen.contains(&true));
    }

    fn as_json(&self) -> serde_json::Value {
        let types: Vec<_> = self
            .types
            .iter()
            .map(|(kind, tally)| {
                let samples: Vec<_> = tally
                    .samples
                    .iter()
                    .map(|sample| json!({"file": sample.file, "line": sample.line, "masked": sample.shape}))
                    .collect();
                json!({"type": kind.name(), "count": tally.count, "lines": tally.lines, "samples": samples})
            })
            .collect();
        json!({
            "files": self.files,
            "lines": self.lines,
            "lines_with_personal_data": self.lines_found,
            "bytes": self.bytes,
            "types": types,
            "failed": self.failed.iter().map(|(file, why)| json!({"file": file, "reason": why})).collect::<Vec<_>>(),
        })
    }

    fn as_text(&self) -> String {
        let mut rows = vec![["TYPE", "COUNT", "LINES", "SAMPLES (MASKED)"].map(str::to_owned).to_vec()];
        let mut types: Vec<_> = self.types.iter().collect();
        types.sort_by_key(|(kind, tally)| (std::cmp::Reverse(tally.count), **kind));
        for (kind, tally) in types {
            for (i, sample) in tally.samples.iter().enumerate() {
                let head = if i == 0 {
                    vec![kind.name().to_owned(), tally.count.to_string(), tally.lines.to_string()]
                } else {
                    vec![String::new(); 3]
                };
                let sample = format!("{}:{}  {}", sample.file, sample.line, sample.shape);
                rows.push(head.into_iter().chain([sample]).collect());
            }
            if tally.samples.is_empty() {
                rows.push(vec![kind.name().to_owned(), tally.count.to_string(), tally.lines.to_string()]);
            }
        }
        let head = if self.types.is_empty() { String::new() } else { format!("{}\n", terminal::table(&rows)) };
        format!(
            "{head}{} of {} lines in {} file{} hold personal data or secrets\n",
            self.lines_found,
            self.lines,
            self.files,
            if self.files == 1 { "" } else { "s" }
        )
    }
}

/// Returns what a value looks like and nothing of what it is: `xxx@xxxxxxx.xxx`, `99 99 99 99 99`.
fn shape(kind: Type, value: &str) -> String {
    if matches!(kind, Type::Secret | Type::Jwt | Type::UrlCredentials) {
        return format!("*** ({} characters)", value.chars().count());
    }
    let mut shape: String = value
        .chars()
        .take(SAMPLE_CHARS_MAX)
        .map(|c| match c {
            c if c.is_numeric() => '9',
            c if c.is_alphabetic() => 'x',
            c if c.is_control() || !c.is_ascii() => '.',
            c => c,
        })
        .collect();
    if value.chars().count() > SAMPLE_CHARS_MAX {
        shape.push('…');
    }
    shape
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn scan(content: &[u8]) -> Report {
        let file = tempfile::NamedTempFile::new().expect("makes a file");
        file.as_file().write_all(content).expect("writes");
        let read = Arc::new(AtomicU64::new(0));
        let input = open(file.path(), &read).expect("opens");
        let mut report = Report::default();
        let mut ticks = 0;
        report.scan(&Redactor::new(), "f", input, 2, &mut || ticks += 1).expect("reads");
        assert_eq!(read.load(Ordering::Relaxed), content.len() as u64);
        report
    }

    #[test]
    fn values_are_counted_and_not_shown() {
        let text = b"ana@example.org and bob@example.org\n\xFF\xFE 06 12 34 56 78\nnothing\npassword=hunter2 caf\xE9";
        let report = scan(text);
        assert_eq!((report.lines, report.lines_found), (4, 3));
        let emails = &report.types[&Type::Email];
        assert_eq!((emails.count, emails.lines, emails.samples.len()), (2, 1, 2));
        let (json, text) = (report.as_json().to_string(), report.as_text());
        for shown in [&json, &text] {
            assert!(!shown.contains("ana") && !shown.contains("hunter2") && !shown.contains("06 12"), "{shown}");
            assert!(shown.contains("xxx@xxxxxxx.xxx") && shown.contains("99 99 99 99 99"), "{shown}");
        }
        assert!(text.ends_with("3 of 4 lines in 0 files hold personal data or secrets\n"), "{text}");
    }

    #[test]
    fn compressed_files_and_endless_lines_are_read() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"ana@example.org\n").expect("compresses");
        let report = scan(&encoder.finish().expect("compresses"));
        assert_eq!(report.types[&Type::Email].count, 1);
        let long = format!("{}ana@example.org", "x ".repeat(PIECE_BYTES_MAX));
        let report = scan(long.as_bytes());
        assert_eq!((report.lines, report.types[&Type::Email].count), (1, 1));
        assert_eq!(shape(Type::Person, &"a".repeat(60)).chars().count(), SAMPLE_CHARS_MAX + 1);
    }
}
