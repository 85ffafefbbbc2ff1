//! A JSON document as agents send it (ECS, Logstash, Fluent Bit, anything) becomes an event.
//!
//! Where a document says it in a known place, time, level, text and trace are taken out of it; what describes the sender
//! becomes the resource; the rest stays as it is, under its own names.

use jiff::Timestamp;
use model::event::severity_of;
use model::limits::VALUE_DEPTH_MAX;
use model::{Event, Map, Sector, Value};

/// Why a document is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unread {
    #[error("the document is not JSON")]
    NotJson,
    #[error("the document is no JSON object")]
    NotAnObject,
    #[error("the document is empty")]
    Empty,
    #[error("the document nests deeper than {VALUE_DEPTH_MAX} levels")]
    TooDeep,
}

/// Tells whether a top-level name says who sends, in ECS.
fn describes_sender(name: &str) -> bool {
    let first = name.as_bytes().split(|byte| *byte == b'.').next().unwrap_or_default();
    matches!(
        first,
        b"agent"
            | b"cloud"
            | b"container"
            | b"data_stream"
            | b"ecs"
            | b"faas"
            | b"host"
            | b"kubernetes"
            | b"observer"
            | b"orchestrator"
            | b"resource"
            | b"service"
    )
}
/// Where a document's text stands, the first that it has.
const TEXTS: [&str; 6] = ["message", "body", "msg", "log", "short_message", "MESSAGE"];
/// Where its time stands.
const TIMES: [&str; 6] = ["@timestamp", "timestamp", "time", "ts", "date", "datetime"];
/// Where its level stands.
const LEVELS: [&str; 7] = ["log.level", "level", "severity", "severity_text", "loglevel", "lvl", "priority"];

/// Reads a document.
pub(crate) fn read(json: &[u8]) -> Result<Map, Unread> {
    match value(json)? {
        Value::Map(map) if map.is_empty() => Err(Unread::Empty),
        Value::Map(map) => Ok(map),
        _ => Err(Unread::NotAnObject),
    }
}

/// Reads any JSON.
pub(crate) fn value(json: &[u8]) -> Result<Value, Unread> {
    // Checked once as a whole, the texts in it need not be checked one by one.
    let text = std::str::from_utf8(json).map_err(|_| Unread::NotJson)?;
    let mut json = Json { text, at: 0, open: Vec::with_capacity(OPEN), too_deep: false };
    let value = json.value(VALUE_DEPTH_MAX);
    json.pass_spaces();
    let unread = if json.too_deep { Unread::TooDeep } else { Unread::NotJson };
    value.filter(|_| json.at == text.len()).ok_or(unread)
}

/// Reads JSON straight into values, as deep as it may nest. The grammar is RFC 8259's; what is seldom and intricate in it
/// (escapes, fractions, numbers beyond 64 bits) is read by `serde_json`, piece by piece.
struct Json<'a> {
    text: &'a str,
    /// What is read next.
    at: usize,
    /// What was read of the maps that are not read to their end, the innermost last: a map takes what it needs when it ends.
    open: Vec<(String, Value)>,
    /// Why there is no value, where there is none: it nests too deeply, or it is no JSON.
    too_deep: bool,
}

/// Room for the entries of most documents.
const OPEN: usize = 32;

/// Digits of the longest numbers that surely fit 64 bits.
const DIGITS_MAX: usize = 19;

// Values are handed up as options, which look in memory as the values do: nothing is put together anew on its way.
impl Json<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn pass_spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes a byte, where it is the next behind spaces.
    fn takes(&mut self, byte: u8) -> bool {
        self.pass_spaces();
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    /// Reads a value; `left` levels of lists and maps may follow.
    fn value(&mut self, left: usize) -> Option<Value> {
        self.pass_spaces();
        match self.peek()? {
            b'"' => self.string().map(Value::Text),
            b'{' | b'[' if left == 0 => {
                self.too_deep = true;
                None
            }
            b'{' => self.map(left - 1),
            b'[' => self.list(left - 1),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'n' => self.word("null", Value::Null),
            _ => None,
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return None;
        }
        self.at += word.len();
        Some(value)
    }

    fn list(&mut self, left: usize) -> Option<Value> {
        self.at += 1;
        let mut items = Vec::new();
        if self.takes(b']') {
            return Some(Value::List(items));
        }
        loop {
            items.push(self.value(left)?);
            if self.takes(b']') {
                return Some(Value::List(items));
            }
            if !self.takes(b',') {
                return None;
            }
        }
    }

    fn map(&mut self, left: usize) -> Option<Value> {
        self.at += 1;
        let first = self.open.len();
        if self.takes(b'}') {
            return Some(Value::Map(Map::new()));
        }
        loop {
            self.pass_spaces();
            if self.peek() != Some(b'"') {
                return None;
            }
            let key = self.string()?;
            if !self.takes(b':') {
                return None;
            }
            let value = self.value(left)?;
            self.open.push((key, value));
            if self.takes(b'}') {
                return Some(Value::Map(self.open.drain(first..).collect()));
            }
            if !self.takes(b',') {
                return None;
            }
        }
    }

    /// Reads the text whose opening quote is next.
    fn string(&mut self) -> Option<String> {
        let (bytes, start) = (self.text.as_bytes(), self.at + 1);
        let mut end = plain_end(bytes, start);
        if bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return self.text.get(start..end).map(str::to_owned);
        }
        while bytes.get(end) == Some(&b'\\') {
            // What it escapes is passed over, whatever it is: a quote ends nothing there.
            end = plain_end(bytes, end + 2);
        }
        self.at = end + 1;
        let quoted = self.text.get(start - 1..=end).filter(|_| bytes.get(end) == Some(&b'"'));
        quoted.and_then(|quoted| serde_json::from_str(quoted).ok())
    }

    fn number(&mut self) -> Option<Value> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let digits = rest.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
        let goes_on = rest.get(digits).is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E'));
        let leads_with_zero = digits > 1 && rest.first() == Some(&b'0');
        if (1..=DIGITS_MAX).contains(&digits) && !goes_on && !leads_with_zero {
            self.at += digits;
            let number = rest.iter().take(digits).fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
            return Some(Value::U64(number));
        }
        let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
        let end = self.at + rest.iter().take_while(is_part).count();
        let written = self.text.get(self.at..end)?;
        self.at = end;
        let number: serde_json::Number = serde_json::from_str(written).ok()?;
        match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), ..) => Some(Value::U64(number)),
            (_, Some(number), _) => Some(Value::I64(number)),
            (.., Some(number)) => Some(Value::F64(number)),
            _ => None,
        }
    }
}

/// Returns where the next quote, backslash or control character stands from `at` on, or the end: eight bytes at a time.
fn plain_end(bytes: &[u8], at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word;
    let rest = bytes.get(at..).unwrap_or_default();
    let mut passed = 0;
    let (eights, _) = rest.as_chunks::<8>();
    for eight in eights {
        let word = u64::from_le_bytes(*eight);
        // A byte is below 0x20 where taking 0x20 off it borrows and it is no high one. A borrow may mark bytes above it
        // too, never one below: the first mark is right.
        let marks = zero_in(word ^ (ONES * u64::from(b'"')))
            | zero_in(word ^ (ONES * u64::from(b'\\')))
            | (word.wrapping_sub(ONES * 0x20) & !word);
        if marks & HIGHS != 0 {
            return at + passed + (marks & HIGHS).trailing_zeros() as usize / 8;
        }
        passed += 8;
    }
    let tail = rest.get(passed..).unwrap_or_default();
    at + passed + tail.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count()
}

/// Makes the event that a document is.
pub(crate) fn event(stream: String, mut document: Map, observed_ns: i64) -> Event {
    let firsts = Firsts::of(&document);
    let time_ns = firsts.of_them(&TIMES).find_map(|name| {
        let time = time_of(document.get(name)?)?;
        document.remove(name);
        Some(time)
    });
    let severity = firsts.of_them(&LEVELS).find_map(|path| {
        let number = level_of(lookup(&document, path)?)?;
        take(&mut document, path);
        Some(number)
    });
    let body = firsts.of_them(&TEXTS).find_map(|name| match document.get(name)? {
        Value::Text(_) => document.remove(name),
        _ => None,
    });
    let trace_id = id(&mut document, firsts, &["trace.id", "trace_id", "traceId"], 32);
    let span_id = id(&mut document, firsts, &["span.id", "span_id", "spanId"], 16);
    let sector = firsts.of_them(&["sector", "labels.sector"]).find_map(|path| {
        let Value::Text(word) = lookup(&document, path)? else { return None };
        let sector: Sector = word.parse().ok()?;
        take(&mut document, path);
        Some(sector)
    });
    let (mut resource, mut attributes) = (Vec::new(), Vec::with_capacity(document.len()));
    for (name, value) in document {
        if describes_sender(&name) {
            resource.push((name, value));
        } else {
            attributes.push((name, value));
        }
    }
    Event {
        stream,
        sector: sector.unwrap_or_default(),
        severity: severity.unwrap_or(0),
        time_ns,
        observed_ns,
        body,
        attributes: attributes.into(),
        resource: resource.into(),
        trace_id,
        span_id,
        cleared: None,
    }
}

/// The first letters of a document's names, a bit for each: most of the names that are looked for have none of them.
#[derive(Clone, Copy)]
struct Firsts(u64);

impl Firsts {
    fn of(document: &Map) -> Self {
        Self(document.keys().fold(0, |bits, name| bits | Self::bit(name)))
    }

    fn bit(name: &str) -> u64 {
        1 << (name.bytes().next().unwrap_or_default() % 64)
    }

    /// Yields those of some paths that may be there.
    fn of_them(self, paths: &[&'static str]) -> impl Iterator<Item = &'static str> {
        paths.iter().copied().filter(move |path| self.0 & Self::bit(path) != 0)
    }
}

/// Returns what stands at a dotted path, whether the sender nests names or writes them with dots.
fn lookup<'a>(document: &'a Map, path: &str) -> Option<&'a Value> {
    if let Some(value) = document.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    match document.get(first)? {
        Value::Map(inner) => lookup(inner, rest),
        _ => None,
    }
}

fn take(document: &mut Map, path: &str) -> Option<Value> {
    if let Some(value) = document.remove(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    let Value::Map(inner) = document.get_mut(first)? else { return None };
    let taken = take(inner, rest);
    if inner.is_empty() {
        document.remove(first);
    }
    taken
}

fn id(document: &mut Map, firsts: Firsts, paths: &[&'static str], digits: usize) -> Option<String> {
    let is_id = |text: &str| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let path =
        firsts.of_them(paths).find(|path| matches!(lookup(document, path), Some(Value::Text(text)) if is_id(text)))?;
    match take(document, path)? {
        Value::Text(text) => Some(text.to_ascii_lowercase()),
        _ => None,
    }
}

/// Reads a level: a word, or a number as syslog (0 to 7) and bunyan or pino (10 to 60) write it.
fn level_of(value: &Value) -> Option<u8> {
    const SYSLOG: [u8; 8] = [24, 21, 21, 17, 13, 10, 9, 5];
    match value {
        Value::Text(word) => severity_of(word),
        Value::U64(number @ 0..=7) => SYSLOG.get(usize::try_from(*number).ok()?).copied(),
        Value::U64(number @ (10 | 20 | 30 | 40 | 50 | 60)) => Some(u8::try_from(number / 10).ok()? * 4 - 3),
        _ => None,
    }
}

/// Reads the form in which most write a time, in nanoseconds since 1970: `2026-11-27T10:00:00.123Z`. `None` for any other.
fn utc_of(text: &[u8]) -> Option<i64> {
    let (head, rest) = text.split_first_chunk::<19>()?;
    let two = |at: usize| -> Option<i64> {
        let [tens, ones] = [head[at], head[at + 1]].map(|digit| digit.wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
    };
    if [4, 7, 10, 13, 16].map(|at| head[at]) != *b"--T::" {
        return None;
    }
    let (year, month, day) = (two(0)? * 100 + two(2)?, two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days_in_month = *days_of.get(usize::try_from(month - 1).ok()?)?;
    // Seconds of 60 and years that 64 bits of nanoseconds do not reach are left to who knows about them.
    if !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 || !(1700..2262).contains(&year) {
        return None;
    }
    let fraction = match rest {
        [b'Z'] => 0,
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) => {
            let number = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
            (digits.len()..9).fold(number, |number, _| number * 10)
        }
        _ => return None,
    };
    let before = year - 1;
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let months: i64 = days_of.iter().take(usize::try_from(month - 1).ok()?).sum();
    let days = (year - 1970) * 365 + leaps(before) - leaps(1969) + months + day - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000 + fraction)
}

/// Reads a time: RFC 3339, or seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their size.
pub(crate) fn time_of(value: &Value) -> Option<i64> {
    /// Numbers of seconds up to the year 5138; milliseconds from there on, and so forth.
    const SECONDS_MAX: i64 = 100_000_000_000;
    match value {
        Value::Text(text) => {
            let text = text.trim();
            if let Some(at) = utc_of(text.as_bytes()) {
                return Some(at);
            }
            let at = text.parse::<Timestamp>().ok()?;
            i64::try_from(at.as_nanosecond()).ok()
        }
        Value::U64(number) => {
            let number = i64::try_from(*number).ok()?;
            let scale = [1_000_000_000, 1_000_000, 1_000, 1];
            let step = [SECONDS_MAX, SECONDS_MAX * 1_000, SECONDS_MAX * 1_000_000].iter().filter(|max| number >= **max);
            number.checked_mul(scale[step.count()])
        }
        Value::F64(seconds) if (0.0..1e11).contains(seconds) => {
            #[expect(clippy::cast_possible_truncation, reason = "checked: below 1e20 would not fit, below 1e11 s does")]
            let micros = (seconds * 1e6) as i64;
            micros.checked_mul(1_000)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(json: &str) -> Event {
        event("s".into(), read(json.as_bytes()).expect("reads"), 7)
    }

    #[test]
    fn an_ecs_document_is_taken_apart() {
        for json in [
            r#"{"@timestamp":"2026-11-27T10:00:00.5Z","message":"m","log":{"level":"WARN","file":{"path":"/x"}},
                "service":{"name":"web"},"trace":{"id":"0AF7651916CD43DD8448EB211C80319C"},"span.id":"b7ad6b7169203331",
                "user":{"name":"u"},"labels":{"sector":"santé"}}"#,
            r#"{"timestamp":1795773600500,"msg":"m","log.level":"warning","log":{"file":{"path":"/x"}},"service":{"name":"web"},
                "trace_id":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","user":{"name":"u"},"sector":"health"}"#,
        ] {
            let event = made(json);
            assert_eq!((event.severity, event.sector, event.observed_ns), (13, Sector::Health, 7), "{json}");
            assert_eq!(event.time_ns, Some(1_795_773_600_500_000_000));
            assert_eq!(event.body, Some("m".into()));
            assert_eq!(event.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
            assert_eq!(event.span_id.as_deref(), Some("b7ad6b7169203331"));
            assert_eq!(event.resource.keys().collect::<Vec<_>>(), ["service"]);
            assert_eq!(event.attributes.keys().collect::<Vec<_>>(), ["log", "user"]);
        }
    }

    #[test]
    fn what_is_not_understood_stays_where_it_is() {
        let event =
            made(r#"{"@timestamp":"yesterday","level":"loud","message":{"a":1},"trace.id":"x","sector":"other"}"#);
        assert_eq!((event.time_ns, event.severity, event.body, event.trace_id), (None, 0, None, None));
        let names: Vec<_> = event.attributes.keys().map(String::as_str).collect();
        assert_eq!(names, ["@timestamp", "level", "message", "sector", "trace.id"]);
    }

    #[test]
    fn times_and_levels_are_read_as_programs_write_them() {
        for (value, wanted) in [
            (Value::from("1970-01-01T00:00:01Z"), Some(1_000_000_000)),
            (Value::from("1970-01-01T01:00:01+01:00"), Some(1_000_000_000)),
            (Value::U64(1_700_000_000), Some(1_700_000_000_000_000_000)),
            (Value::U64(1_700_000_000_123), Some(1_700_000_000_123_000_000)),
            (Value::U64(1_700_000_000_123_456), Some(1_700_000_000_123_456_000)),
            (Value::U64(1_700_000_000_123_456_789), Some(1_700_000_000_123_456_789)),
            (Value::F64(1.5), Some(1_500_000_000)),
            (Value::F64(-1.0), None),
            (Value::U64(u64::MAX), None),
            (Value::Bool(true), None),
            (Value::from("27/Nov/2026"), None),
        ] {
            assert_eq!(time_of(&value), wanted, "{value:?}");
        }
        for (value, wanted) in [
            (Value::U64(3), Some(17)),
            (Value::U64(30), Some(9)),
            (Value::U64(60), Some(21)),
            (Value::U64(8), None),
            (Value::Null, None),
        ] {
            assert_eq!(level_of(&value), wanted, "{value:?}");
        }
    }

    #[test]
    fn documents_that_are_none_are_refused() {
        let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        for (json, why) in [
            ("{", Unread::NotJson),
            ("[]", Unread::NotAnObject),
            ("7", Unread::NotAnObject),
            ("{}", Unread::Empty),
            (&deep(VALUE_DEPTH_MAX + 1), Unread::TooDeep),
            (&deep(200), Unread::TooDeep),
            ("{} x", Unread::NotJson),
        ] {
            assert_eq!(read(json.as_bytes()), Err(why), "{json}");
        }
        assert!(read(deep(VALUE_DEPTH_MAX).as_bytes()).is_ok());
    }

    /// The library reads all of it; what it is read into is the only difference.
    fn by_the_library(json: &[u8]) -> Option<Value> {
        fn levels(value: &serde_json::Value) -> usize {
            match value {
                serde_json::Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
                serde_json::Value::Object(map) => 1 + map.values().map(levels).max().unwrap_or(0),
                _ => 0,
            }
        }
        let value = serde_json::from_slice(json).ok()?;
        (levels(&value) <= VALUE_DEPTH_MAX).then(|| Value::from(value))
    }

    /// What is JSON and what is not quite.
    const NEARLY: &[&str] = &[
        "null",
        " true ",
        "false",
        "nul",
        "truex",
        "[true,]",
        "[,1]",
        "[1 2]",
        "[]",
        "[ ]",
        "{}",
        "{ }",
        "{\"a\":1,}",
        "{,}",
        "{\"a\" : 1 , \"a\" : [2] }",
        "{a:1}",
        "{\"a\" 1}",
        "{1:1}",
        "{\"a\":}",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\\"\"",
        "\"a\tb\"",
        "\"a\\tb\\u00e9\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\u{7f}é語\"",
        "\"0123456\u{1f}\"",
        "\"é\\\\\"",
        "\"\\é\"",
        "\"\\",
        "0",
        "-0",
        "00",
        "01",
        "-1",
        "-",
        "+1",
        "1.",
        ".5",
        "1.5",
        "1e5",
        "1E-5",
        "1e",
        "1e999",
        "-9223372036854775808",
        "-9223372036854775809",
        "9999999999999999999",
        "18446744073709551615",
        "18446744073709551616",
        "1-2",
        "0.1e1+",
        "1 ",
        "12345678901234567890123",
        "1.7976931348623157e308",
        "0.30000000000000004",
        "123456789012345678901234567890.5",
        "",
        " ",
        "[1]]",
        "\u{feff}1",
        "{\"k\":{\"l\":[{\"m\":\"\"}]},\"b\":0}",
    ];

    #[test]
    fn what_is_json_is_what_the_library_says_it_is() {
        let deep = "[".repeat(VALUE_DEPTH_MAX) + &"]".repeat(VALUE_DEPTH_MAX);
        let deeper = format!("[{deep}]");
        for json in NEARLY.iter().copied().chain([&*deep, &*deeper]) {
            assert_eq!(value(json.as_bytes()).ok(), by_the_library(json.as_bytes()), "{json}");
        }
        for bytes in [&b"\"\xff\""[..], b"\xff", b"{\"\xc3\":1}"] {
            assert_eq!(value(bytes), Err(Unread::NotJson));
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_as_the_library_reads_it(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "{", "}", "[", "]", ",", ":", "\"a\"", "\"b c é\"", "\"long enough for eight\"", "\"\\n\"", "\"\\u00e9\"", "\"", "\\", "1",
                    "-2", "0", ".5", "e3", "12345678901234567890", "true", "null", " ", "\n", "\t", "\u{1}", "x", "{\"a\":", "{\"b\":1,",
                ]),
                0..14,
            ),
        ) {
            let json = parts.concat();
            prop_assert_eq!(value(json.as_bytes()).ok(), by_the_library(json.as_bytes()), "{}", json);
        }

        #[test]
        fn times_are_what_the_library_says(
            (year, month, day) in (1690_u16..2270, 0_u8..14, 0_u8..33),
            (hour, minute, second) in (0_u8..25, 0_u8..61, 0_u8..62),
            rest in "(\\.[0-9]{0,10})?(Z|z|\\+01:00)?",
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{rest}");
            if let Some(at) = utc_of(text.as_bytes()) {
                let known: Timestamp = text.parse().expect("is a time");
                prop_assert_eq!(i128::from(at), known.as_nanosecond(), "{}", text);
            } else {
                let plain = (1..13).contains(&month) && (1..29).contains(&day) && hour < 24 && minute < 60 && second < 60;
                prop_assert!(!plain || rest != "Z" || !(1700..2262).contains(&year), "{}", text);
            }
        }

        #[test]
        fn texts_end_where_they_end(text in "[a-z\"\\\\\u{0}-\u{21}é\u{7f}-\u{82}]{0,40}", from in 0_usize..10) {
            let bytes = text.as_bytes();
            let from = from.min(bytes.len());
            let one_by_one = bytes.iter().skip(from).position(|b| matches!(b, b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(plain_end(bytes, from), one_by_one.map_or(bytes.len(), |at| from + at));
        }
    }
}
