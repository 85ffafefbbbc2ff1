//! Lines of a file become records: containers' lines are unwrapped and their parts joined, and lines that go on the one
//! before them, as those of a stack trace, stay with it.

use std::borrow::Cow;

use jiff::Timestamp;
use model::limits::FILE_RECORD_BYTES_MAX;
use regex::bytes::Regex;
use serde::Deserialize;

/// How the lines of a file are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text.
    #[default]
    Plain,
    /// A JSON object a line.
    Json,
    /// Docker's `json-file`.
    Docker,
    /// Kubernetes' container runtimes.
    Cri,
}

/// Which lines belong together.
#[derive(Clone, Debug)]
pub(super) struct Multiline {
    pub(super) pattern: Regex,
    /// Whether a line that fits begins a record; otherwise it goes on the one before.
    pub(super) begins: bool,
}

/// How lines become records.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) format: Format,
    pub(super) multiline: Option<Multiline>,
}

/// A record, and where reading goes on once it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) text: Vec<u8>,
    pub(super) time_ns: Option<i64>,
    /// `stdout` or `stderr`, of containers.
    pub(super) io: Option<&'static str>,
    pub(super) end: u64,
    /// What is not as it should be.
    pub(super) malformed: Option<&'static str>,
}

/// Records that are not whole yet: one of each of a container's two streams.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    open: [Option<Open>; 2],
}

#[derive(Debug)]
struct Open {
    record: Record,
    start: u64,
    /// Whether its last line is not whole.
    is_partial: bool,
}

/// A line without its wrapping.
struct Piece<'a> {
    slot: usize,
    text: Cow<'a, [u8]>,
    time_ns: Option<i64>,
    io: Option<&'static str>,
    is_partial: bool,
    malformed: Option<&'static str>,
}

pub(super) const CUT: &str = "expected 256 KiB at most, the rest is gone";
const _: () = assert!(FILE_RECORD_BYTES_MAX == 256 << 10, "the text names the bound");

impl Joiner {
    /// Takes the line that stands at `start` and ends before `end`, without its line feed.
    pub(super) fn line(&mut self, rules: &Rules, line: &[u8], (start, end): (u64, u64), records: &mut Vec<Record>) {
        let piece = unwrap(rules.format, line);
        let slot = piece.slot;
        match self.open.get_mut(slot).and_then(Option::as_mut) {
            Some(open) if open.is_partial => open.add(b"", piece, end),
            Some(open) if rules.goes_on(&piece.text) => open.add(b"\n", piece, end),
            _ => {
                self.close(slot, records);
                let Piece { text, time_ns, io, is_partial, malformed, .. } = piece;
                let mut record = Record { text: text.into_owned(), time_ns, io, end, malformed };
                record.bound();
                if let Some(open) = self.open.get_mut(slot) {
                    *open = Some(Open { record, start, is_partial });
                }
            }
        }
        let is_partial = self.open.get(slot).and_then(Option::as_ref).is_some_and(|open| open.is_partial);
        if rules.multiline.is_none() && !is_partial {
            self.close(slot, records);
        }
    }

    /// Takes what is open as it is: nothing has come for long, or nothing will.
    pub(super) fn flush(&mut self, records: &mut Vec<Record>) {
        (0..self.open.len()).for_each(|slot| self.close(slot, records));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.iter().all(Option::is_none)
    }

    fn close(&mut self, slot: usize, records: &mut Vec<Record>) {
        let Some(Open { mut record, .. }) = self.open.get_mut(slot).and_then(Option::take) else { return };
        // What the other stream has begun is read again after a crash.
        let others = self.open.iter().flatten().map(|open| open.start);
        record.end = others.fold(record.end, u64::min);
        records.push(record);
    }
}

impl Open {
    fn add(&mut self, between: &[u8], piece: Piece<'_>, end: u64) {
        self.record.text.extend_from_slice(between);
        self.record.text.extend_from_slice(&piece.text);
        self.record.bound();
        self.record.end = end;
        self.is_partial = piece.is_partial;
    }
}

impl Record {
    fn bound(&mut self) {
        if self.text.len() > FILE_RECORD_BYTES_MAX {
            self.text.truncate(FILE_RECORD_BYTES_MAX);
            self.malformed = Some(CUT);
        }
    }
}

impl Rules {
    fn goes_on(&self, text: &[u8]) -> bool {
        self.multiline.as_ref().is_some_and(|multiline| multiline.pattern.is_match(text) != multiline.begins)
    }
}

fn unwrap(format: Format, line: &[u8]) -> Piece<'_> {
    let text = line.strip_suffix(b"\r").unwrap_or(line);
    let plain =
        |malformed| Piece { slot: 0, text: Cow::Borrowed(text), time_ns: None, io: None, is_partial: false, malformed };
    match format {
        Format::Plain | Format::Json => plain(None),
        Format::Docker => docker(text).unwrap_or_else(|| plain(Some("expected a line of Docker's json-file"))),
        Format::Cri => {
            cri(text).unwrap_or_else(|| plain(Some("expected time, stream, F or P and a text, as CRI writes")))
        }
    }
}

fn docker(line: &[u8]) -> Option<Piece<'_>> {
    #[derive(Deserialize)]
    struct Line {
        log: String,
        stream: String,
        time: String,
    }
    let Line { mut log, stream, time } = serde_json::from_slice(line).ok()?;
    let is_partial = !log.ends_with('\n');
    log.truncate(log.trim_end_matches(['\n', '\r']).len());
    let (slot, io) = io_of(&stream)?;
    let text = Cow::Owned(log.into_bytes());
    Some(Piece { slot, text, time_ns: time_of(&time), io: Some(io), is_partial, malformed: None })
}

fn cri(line: &[u8]) -> Option<Piece<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(parts.next()?).ok();
    let (time, stream, tags) = (word()?, word()?, word()?);
    let (slot, io) = io_of(stream)?;
    // Further tags may follow behind a colon.
    let is_partial = match tags.split(':').next()? {
        "P" => true,
        "F" => false,
        _ => return None,
    };
    let time_ns = Some(time_of(time)?);
    let text = Cow::Borrowed(parts.next().unwrap_or_default());
    Some(Piece { slot, text, time_ns, io: Some(io), is_partial, malformed: None })
}

fn io_of(stream: &str) -> Option<(usize, &'static str)> {
    match stream {
        "stdout" => Some((0, "stdout")),
        "stderr" => Some((1, "stderr")),
        _ => None,
    }
}

fn time_of(text: &str) -> Option<i64> {
    i64::try_from(text.parse::<Timestamp>().ok()?.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of a file: text, stream, end, with `!` where something is malformed.
    fn joined(rules: &Rules, file: &str) -> Vec<String> {
        let (mut joiner, mut records, mut at) = (Joiner::default(), Vec::new(), 0);
        for line in file.split_inclusive('\n') {
            let end = at + line.len() as u64;
            joiner.line(rules, line.trim_end_matches('\n').as_bytes(), (at, end), &mut records);
            at = end;
        }
        joiner.flush(&mut records);
        assert!(joiner.is_empty());
        let show = |record: Record| {
            let text = String::from_utf8_lossy(&record.text).replace('\n', "|");
            let bad = if record.malformed.is_some() { "!" } else { "" };
            format!("{text}{bad} {} {}", record.io.unwrap_or("-"), record.end)
        };
        records.into_iter().map(show).collect()
    }

    #[test]
    fn lines_that_belong_together_stay_together() {
        let rules = |pattern: &str, begins| Rules {
            format: Format::Plain,
            multiline: Some(Multiline { pattern: Regex::new(pattern).expect("compiles"), begins }),
        };
        let trace = "late\n2026 one\n  at a\n  at b\n2026 two\r\n";
        assert_eq!(joined(&rules("^2026", true), trace), ["late - 5", "2026 one|  at a|  at b - 28", "2026 two - 38"]);
        assert_eq!(joined(&rules("^ ", false), trace), joined(&rules("^2026", true), trace));
        assert_eq!(joined(&Rules::default(), "a\n\nb"), ["a - 2", " - 3", "b - 4"]);
        let long = format!("2026\n{}", format!(" {}\n", "x".repeat(100_000)).repeat(4));
        let cut = joined(&rules("^2026", true), &long);
        assert_eq!(cut.len(), 1);
        assert!(cut[0].ends_with(&format!("! - {}", long.len())));
    }

    #[test]
    fn containers_lines_are_unwrapped_and_their_parts_joined() {
        let docker = Rules { format: Format::Docker, multiline: None };
        let file = "{\"log\":\"one\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-28T10:00:00.5Z\"}\n\
             {\"log\":\"tw\",\"stream\":\"stdout\",\"time\":\"2026-11-28T10:00:01Z\"}\n\
             {\"log\":\"bad\\r\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-28T10:00:01Z\"}\n\
             {\"log\":\"o\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-28T10:00:01Z\"}\nnoise\n";
        let first = file.find('\n').expect("a line") + 1;
        let ends = [first, first, file.len() - 6, file.len()].map(|end| end.to_string());
        let shown = joined(&docker, file);
        assert_eq!(shown.len(), 4, "{shown:?}");
        for ((shown, end), begin) in
            shown.iter().zip(ends).zip(["one stdout ", "bad stderr ", "two stdout ", "noise! - "])
        {
            assert_eq!(*shown, format!("{begin}{end}"));
        }
        let cri = Rules { format: Format::Cri, multiline: None };
        let file = "2026-11-28T10:00:00.123456789+01:00 stdout P par\n2026-11-28T10:00:00Z stderr F other\n\
             2026-11-28T10:00:00Z stdout F t: 1 2\n2026-11-28T10:00:00Z stdout F \nnoise\n2026 stdout F x\n";
        let texts: Vec<String> =
            joined(&cri, file).into_iter().map(|shown| shown.rsplit_once(' ').expect("an end").0.to_owned()).collect();
        assert_eq!(texts, ["other stderr", "part: 1 2 stdout", " stdout", "noise! -", "2026 stdout F x! -"]);
        for broken in [
            "{\"log\":\"x\",\"stream\":\"tty\",\"time\":\"t\"}",
            "2026-11-28T10:00:00Z stdout X x",
            "2026-11-28T10:00:00Z in F x",
        ] {
            let format = if broken.starts_with('{') { Format::Docker } else { Format::Cri };
            assert!(joined(&Rules { format, multiline: None }, broken)[0].contains('!'), "{broken}");
        }
    }

    #[test]
    fn a_container_writes_stack_traces_too() {
        let rules = Rules {
            format: Format::Cri,
            multiline: Some(Multiline { pattern: Regex::new("^\\s").expect("compiles"), begins: false }),
        };
        let file = "2026-11-28T10:00:00Z stdout F panic\n2026-11-28T10:00:00Z stdout F  at a\n2026-11-28T10:00:00Z stdout F next\n";
        let shown = joined(&rules, file);
        assert!(shown[0].starts_with("panic| at a stdout") && shown[1].starts_with("next"), "{shown:?}");
    }
}
