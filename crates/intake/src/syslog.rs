//! Syslog: messages of RFC 5424, and of RFC 3164 as devices and daemons write it. What cannot be read is kept as text, with
//! what was expected: a sender of syslog cannot be told that a line was refused.
//!
//! Names are those of OpenTelemetry's table for syslog: `service.name` and `host.name` in the resource, `syslog.facility`,
//! `syslog.procid`, `syslog.msgid` and `syslog.structured_data` among the attributes.

mod frame;
mod structured;

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use model::limits::SYSLOG_MESSAGE_BYTES_MAX;
use model::{Event, SourceId, Tenant, Value};

use crate::document;
use crate::receiver::{Receiver, Taken};

pub use frame::Framer;

/// The stream of listeners that name none.
pub const STREAM_DEFAULT: &str = "syslog";

/// Names of the facilities by number, as rsyslog and syslog-ng write them.
pub(crate) const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// Severities of syslog, 0 to 7, in OpenTelemetry's numbers; the same that documents with such a number get.
pub(crate) const SEVERITIES: [u8; 8] = [24, 21, 21, 17, 13, 10, 9, 5];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// How far a clock may be ahead of ours before a time without a year is taken for one of the year before.
const AHEAD_MAX: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);
/// Longest name of a program before its colon.
const TAG_BYTES_MAX: usize = 128;
/// What Lumberjack's senders write before a body that is JSON.
const CEE: &str = "@cee:";

/// What is said of a message that was cut.
const CUT: &str = "expected 64 KiB at most, the rest is gone";
const _: () = assert!(SYSLOG_MESSAGE_BYTES_MAX == 64 << 10, "the text names the bound");

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its bytes, without the frame.
    pub bytes: Bytes,
    /// Whether it was longer than a message may be, and the rest is gone.
    pub is_cut: bool,
}

/// How the messages of a listener are read.
#[derive(Clone, Debug)]
pub struct Dialect {
    /// The stream that they belong to.
    pub stream: String,
    /// The zone of times that name none.
    pub zone: TimeZone,
}

/// What a header says, and what stands behind it.
#[derive(Debug, Default)]
struct Parts<'a> {
    time_ns: Option<i64>,
    host: Option<&'a str>,
    app: Option<&'a str>,
    procid: Option<&'a str>,
    msgid: Option<&'a str>,
    structured: BTreeMap<String, Value>,
    body: &'a str,
    /// What is not as it should be.
    malformed: Option<&'static str>,
}

impl Receiver {
    /// Takes messages of a listener, in order, once there is memory for them. Those behind [`Taken::settled`] are to be given
    /// again; nothing of them is durable.
    pub async fn syslog(
        &self,
        (tenant, source): (&Tenant, SourceId),
        dialect: &Dialect,
        messages: &[Message],
    ) -> Taken {
        let now = self.now();
        let observed_ns = nanoseconds(now).unwrap_or(i64::MAX);
        let read = |number: usize| {
            let message = messages.get(number).ok_or("there is no such message")?;
            Ok((event(message, dialect, now, observed_ns), message.bytes.len()))
        };
        let bytes = messages.iter().map(|message| message.bytes.len()).sum();
        self.take((tenant, source), (messages.len(), bytes), &read).await
    }
}

/// Makes the event that a message is.
fn event(message: &Message, dialect: &Dialect, now: Timestamp, observed_ns: i64) -> Event {
    let text = text_of(&message.bytes);
    let text = text.trim_end_matches(['\n', '\r', '\0']);
    let (priority, mut parts) = read(text, &dialect.zone, now);
    if message.is_cut {
        parts.malformed = Some(CUT);
    }
    let mut event = said(parts.body, dialect.stream.clone(), observed_ns);
    // A program knows the time of what it says better than a header without a year or a fraction.
    event.time_ns = event.time_ns.or(parts.time_ns);
    if let Some(priority) = priority {
        if event.severity == 0 {
            event.severity = SEVERITIES.get(usize::from(priority % 8)).copied().unwrap_or(0);
        }
        let facility = FACILITIES.get(usize::from(priority / 8)).copied().unwrap_or("local7");
        event.attributes.insert("syslog.facility".to_owned(), facility.into());
    }
    let texts = [("syslog.procid", parts.procid), ("syslog.msgid", parts.msgid), ("syslog.malformed", parts.malformed)];
    for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text?))) {
        event.attributes.insert(name.to_owned(), text.into());
    }
    if !parts.structured.is_empty() {
        event
            .attributes
            .insert("syslog.structured_data".to_owned(), Value::Map(parts.structured.into_iter().collect()));
    }
    for (name, text) in [("host.name", parts.host), ("service.name", parts.app)] {
        if let Some(text) = text.filter(|_| !event.resource.contains_key(name)) {
            event.resource.insert(name.to_owned(), text.into());
        }
    }
    event
}

/// What a program says: a JSON object is taken apart, so that the policy of the stream finds its fields.
pub(crate) fn said(body: &str, stream: String, observed_ns: i64) -> Event {
    let json = body.strip_prefix(CEE).unwrap_or(body).trim_start();
    if json.starts_with('{')
        && let Ok(document) = document::read(json.as_bytes())
    {
        return document::event(stream, document, observed_ns);
    }
    let body = (!body.is_empty()).then(|| body.into());
    Event { stream, observed_ns, body, ..Event::default() }
}

/// Returns the bytes as text. What is no UTF-8 is read as ISO 8859-1, as older devices write: every byte is a character of
/// it, so nothing is lost, and a name is not torn where it has an accent.
pub(crate) fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// Reads priority and header. Where there is none, all is body.
fn read<'a>(text: &'a str, zone: &TimeZone, now: Timestamp) -> (Option<u8>, Parts<'a>) {
    let Some((priority, rest)) = priority(text) else {
        let malformed = Some("expected a priority from <0> to <191> first");
        return (None, Parts { body: text, malformed, ..Parts::default() });
    };
    let parts = match rest.strip_prefix("1 ") {
        Some(header) => rfc5424(header).unwrap_or_else(|malformed| Parts {
            body: rest,
            malformed: Some(malformed),
            ..Parts::default()
        }),
        None => rfc3164(rest, zone, now),
    };
    (Some(priority), parts)
}

fn priority(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let priority: u8 = is_number.then(|| digits.parse().ok())??;
    (priority <= 191).then_some((priority, rest))
}

/// Reads what is behind `<PRI>1 `.
fn rfc5424(header: &str) -> Result<Parts<'_>, &'static str> {
    const SHORT: &str = "expected time, host, program, process and message id, each followed by a space";
    let mut rest = header;
    let mut fields = [""; 5];
    for field in &mut fields {
        let (word, tail) = rest.split_once(' ').ok_or(SHORT)?;
        if word.is_empty() {
            return Err(SHORT);
        }
        (*field, rest) = (word, tail);
    }
    let [time, host, app, procid, msgid] = fields.map(|field| (field != "-").then_some(field));
    let time_ns = time.and_then(rfc3339);
    let malformed = (time.is_some() && time_ns.is_none()).then_some("expected a time as in RFC 3339");
    let (structured, rest) = structured::read(rest)?;
    let body = rest.strip_prefix(' ').unwrap_or(rest);
    let body = body.strip_prefix('\u{feff}').unwrap_or(body);
    Ok(Parts { time_ns, host, app, procid, msgid, structured, body, malformed })
}

/// Reads what is behind `<PRI>`, in the many ways that are called RFC 3164: with a year or without, with RFC 3339's time, with a
/// host or, as on local sockets, without.
fn rfc3164<'a>(text: &'a str, zone: &TimeZone, now: Timestamp) -> Parts<'a> {
    let text = text.trim_start_matches(' ');
    let Some((time_ns, rest)) = any_time(text, zone, now) else {
        let malformed = Some("expected a time as in RFC 3164, RFC 5424 or RFC 3339");
        return Parts { malformed, ..tagged(text) };
    };
    let rest = rest.trim_start_matches([' ', ':']);
    let is_host = |word: &&str| {
        !word.is_empty()
            && !word.ends_with(':')
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'))
    };
    let (host, rest) = match rest.split_once(' ').filter(|(word, _)| is_host(word)) {
        Some((host, rest)) => (Some(host), rest),
        None => (None, rest),
    };
    Parts { time_ns: Some(time_ns), host: host.filter(|host| *host != "-"), ..tagged(rest) }
}

/// Reads `program[process]: ` before the text, if it is there.
fn tagged(text: &str) -> Parts<'_> {
    let all = Parts { body: text, ..Parts::default() };
    let end = text.bytes().take(TAG_BYTES_MAX + 1).position(|byte| matches!(byte, b':' | b'[' | b' '));
    let Some((app, rest)) = end.filter(|end| *end > 0).and_then(|end| text.split_at_checked(end)) else { return all };
    let (procid, rest) = match rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((procid, rest)) if !procid.contains(' ') => (Some(procid).filter(|id| !id.is_empty()), rest),
        Some(_) => return all,
        None => (None, rest),
    };
    let Some(body) = rest.strip_prefix(':') else { return all };
    Parts { app: Some(app), procid, body: body.strip_prefix(' ').unwrap_or(body), ..Parts::default() }
}

fn rfc3339(text: &str) -> Option<i64> {
    // `T` and a zone are demanded: of a text alone, no one may say that it is a time.
    let is_one = text.as_bytes().get(10).is_some_and(|byte| matches!(byte, b'T' | b't'));
    nanoseconds(is_one.then(|| text.parse::<Timestamp>().ok())??)
}

fn nanoseconds(at: Timestamp) -> Option<i64> {
    i64::try_from(at.as_nanosecond()).ok()
}

/// Reads a time and returns what is behind it.
fn any_time<'a>(text: &'a str, zone: &TimeZone, now: Timestamp) -> Option<(i64, &'a str)> {
    let (first, tail) = text.split_once(' ')?;
    if let Some(time_ns) = rfc3339(first) {
        return Some((time_ns, tail));
    }
    // Clocks that are not set have a star or a dot before, as Cisco's devices write it.
    let text = text.trim_start_matches(['*', '.']);
    let (month, rest) = text.split_once(' ')?;
    let month = i8::try_from(MONTHS.iter().position(|name| *name == month)? + 1).ok()?;
    let (day, rest) = rest.trim_start_matches(' ').split_once(' ')?;
    let day: i8 = day.parse().ok()?;
    let (word, tail) = word(rest)?;
    let (year, clock, tail) = match word.parse::<i16>() {
        Ok(year) if word.len() == 4 => {
            let (clock, tail) = self::word(tail)?;
            (Some(year), clock, tail)
        }
        _ => match self::word(tail).map(|(word, tail)| (word.trim_end_matches(':').parse(), tail)) {
            Some((Ok(year @ 1970..=9999), tail)) => (Some(year), word, tail),
            _ => (None, word, tail),
        },
    };
    let (hour, minute, second, nano) = time_of_day(clock.trim_end_matches(':'))?;
    let at = |year: i16| {
        let at = DateTime::new(year, month, day, hour, minute, second, nano).ok()?;
        Some(at.to_zoned(zone.clone()).ok()?.timestamp())
    };
    let at = match year {
        Some(year) => at(year)?,
        None => {
            let latest = now.saturating_add(AHEAD_MAX).ok()?;
            let this = now.to_zoned(zone.clone()).year();
            // The 29th of February may be eight years back.
            (this - 8..=this + 1).rev().filter_map(at).find(|at| *at <= latest)?
        }
    };
    Some((nanoseconds(at)?, tail))
}

/// Splits a word off; the text may end with it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ');
    Some(text.split_once(' ').unwrap_or((text, ""))).filter(|(word, _)| !word.is_empty())
}

/// Reads `hh:mm:ss` with a fraction or without; a leap second is the second before it.
fn time_of_day(text: &str) -> Option<(i8, i8, i8, i32)> {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
    let mut parts = whole.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nano = format!("{fraction:0<9}").parse().ok()?;
    Some((hour, minute, second.min(59), nano))
}

#[cfg(test)]
mod tests;
