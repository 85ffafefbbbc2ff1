//! The event that an entry of a journal is, under OpenTelemetry's names where it has some.

use model::{Event, Value};
use sha2::{Digest, Sha256};

use super::export::Entry;
use crate::syslog::{self, FACILITIES, SEVERITIES, text_of};

/// The attribute that says of which journal an entry is: one boot of one machine, by a name of ours.
pub(super) const ID: &str = "journald.id";
/// The attribute that says which entry of it.
pub(super) const NUMBER: &str = "journald.seqnum";

/// What is said of an entry that was cut.
const CUT: &str = "expected 256 KiB at most, the rest is gone";
const _: () = assert!(model::limits::JOURNAL_ENTRY_BYTES_MAX == 256 << 10, "the text names the bound");
/// What is said of a time that is none.
const NO_TIME: &str = "expected a time in microseconds since 1970, up to 2262";

/// OpenTelemetry's names of fields that have one, and those by which other tools call the rest.
const NAMES: [(&str, &str); 21] = [
    ("_SYSTEMD_UNIT", "systemd.unit"),
    ("_SYSTEMD_USER_UNIT", "systemd.user_unit"),
    ("_SYSTEMD_SLICE", "systemd.slice"),
    ("_PID", "process.pid"),
    ("_UID", "process.user.id"),
    ("_COMM", "process.executable.name"),
    ("_EXE", "process.executable.path"),
    ("_CMDLINE", "process.command_line"),
    ("SYSLOG_PID", "syslog.procid"),
    ("MESSAGE_ID", "journald.message_id"),
    ("ERRNO", "journald.errno"),
    ("TID", "thread.id"),
    ("CODE_FILE", "code.file.path"),
    ("CODE_LINE", "code.line.number"),
    ("CODE_FUNC", "code.function.name"),
    ("CONTAINER_ID_FULL", "container.id"),
    ("CONTAINER_NAME", "container.name"),
    ("CONTAINER_TAG", "container.tag"),
    ("IMAGE_NAME", "container.image.name"),
    ("_KERNEL_DEVICE", "journald.kernel_device"),
    ("_KERNEL_SUBSYSTEM", "journald.kernel_subsystem"),
];
/// Those of them that are numbers.
const NUMBERS: [&str; 4] = ["process.pid", "thread.id", "code.line.number", "journald.errno"];
/// Fields that are left out: what is said otherwise, and the machine's id, which systemd asks to keep confidential.
const LEFT_OUT: [&str; 8] = [
    "MESSAGE",
    "_MACHINE_ID",
    "_HOSTNAME",
    "_SOURCE_REALTIME_TIMESTAMP",
    "_SOURCE_MONOTONIC_TIMESTAMP",
    "_SOURCE_BOOTTIME_TIMESTAMP",
    "SYSLOG_RAW",
    "SYSLOG_TIMESTAMP",
];

/// Which entry of which journal an entry is: what systemd numbers without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The journal, one boot of one machine, by a name that says nothing of either.
    pub(super) journal: String,
    /// Its number in it.
    pub(super) number: u64,
}

impl Place {
    /// Reads where an entry stands, if it says so. Boots are told apart: machines that were copied from one image number
    /// their entries alike.
    pub(super) fn of(entry: &Entry, key: &[u8; 32]) -> Option<Self> {
        let cursor = std::str::from_utf8(entry.first("__CURSOR")?).ok()?;
        let part = |name: &str| cursor.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let is_id = |text: &&str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (file, boot) = (part("s").filter(is_id)?, part("b").filter(is_id)?);
        let number = u64::from_str_radix(part("i")?, 16).ok()?;
        let hash = Sha256::new().chain_update(key).chain_update(file).chain_update(boot).finalize();
        // Letters alone, which no one takes for a number or a key.
        let letters = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from(b'a' + half));
        Some(Self { journal: hash.iter().take(6).flat_map(letters).collect(), number })
    }
}

/// Makes the event of an entry.
///
/// # Errors
/// Why it can never be one.
pub(super) fn event(
    entry: &Entry,
    place: Option<&Place>,
    stream: &str,
    observed_ns: i64,
) -> Result<Event, &'static str> {
    if let Some(wrong) = entry.wrong {
        return Err(wrong);
    }
    if entry.fields.iter().all(|(name, _)| name.starts_with("__")) {
        return Err("the entry has no field");
    }
    let message = entry.first("MESSAGE").map(text_of).unwrap_or_default();
    let mut event = syslog::said(&message, stream.to_owned(), observed_ns);
    let mut malformed = entry.is_cut.then_some(CUT);
    if event.time_ns.is_none() {
        // When it was said, else when it was taken down.
        let times = ["_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"].into_iter().filter_map(|of| entry.first(of));
        let read: Vec<_> = times.map(time_of).collect();
        event.time_ns = read.iter().copied().flatten().next();
        malformed = malformed.or(read.contains(&None).then_some(NO_TIME));
    }
    let priority = entry.first("PRIORITY").and_then(number);
    let severity = priority.and_then(|number| SEVERITIES.get(usize::try_from(number).ok()?).copied());
    if event.severity == 0 {
        event.severity = severity.unwrap_or(0);
    }
    sender(entry, &mut event);
    for (name, value) in &entry.fields {
        let is_read = name == "PRIORITY" && severity.is_some();
        if name.starts_with("__") || is_read || LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        add(&mut event, name, value);
    }
    if let Some(place) = place {
        event.attributes.insert(ID.to_owned(), Value::from(place.journal.as_str()));
        event.attributes.insert(NUMBER.to_owned(), Value::U64(place.number));
    }
    if let Some(malformed) = malformed {
        event.attributes.insert("journald.malformed".to_owned(), malformed.into());
    }
    Ok(event)
}

/// Names who sent it: the host, and the program, else the unit.
fn sender(entry: &Entry, event: &mut Event) {
    let unit = || Some(text_of(entry.first("_SYSTEMD_UNIT")?).trim_end_matches(".service").to_owned());
    let program = entry.first("SYSLOG_IDENTIFIER").map(|name| text_of(name).into_owned()).or_else(unit);
    let host = entry.first("_HOSTNAME").map(|name| text_of(name).into_owned());
    for (name, text) in [("host.name", host), ("service.name", program)] {
        if let Some(text) = text.filter(|text| !text.is_empty() && !event.resource.contains_key(name)) {
            event.resource.insert(name.to_owned(), Value::Text(text));
        }
    }
}

/// Adds a field among the attributes. One that comes several times is a list.
fn add(event: &mut Event, name: &str, value: &[u8]) {
    let hexadecimal = |digits: usize| value.len() == digits && value.iter().all(u8::is_ascii_hexdigit);
    match name {
        "SYSLOG_IDENTIFIER" => return,
        "TRACE_ID" if event.trace_id.is_none() && hexadecimal(32) => {
            event.trace_id = Some(text_of(value).to_ascii_lowercase());
            return;
        }
        "SPAN_ID" if event.span_id.is_none() && hexadecimal(16) => {
            event.span_id = Some(text_of(value).to_ascii_lowercase());
            return;
        }
        _ => {}
    }
    let known = NAMES.iter().find(|(of, _)| *of == name).map(|(_, known)| (*known).to_owned());
    let facility = || FACILITIES.get(usize::try_from(number(value)?).ok()?).copied();
    let (name, value) = match (known, name.strip_prefix('_')) {
        (Some(known), _) => {
            let of_it = number(value).filter(|_| NUMBERS.contains(&known.as_str())).map(Value::U64);
            (known, of_it.unwrap_or_else(|| Value::Text(text_of(value).into_owned())))
        }
        (None, None) if name == "SYSLOG_FACILITY" && facility().is_some() => {
            ("syslog.facility".to_owned(), Value::from(facility().unwrap_or_default()))
        }
        // What journald itself vouches for; names of programs have no dot, so none of theirs is taken for one.
        (None, Some(trusted)) => {
            (format!("journald.{}", trusted.to_ascii_lowercase()), Value::Text(text_of(value).into_owned()))
        }
        (None, None) => (name.to_ascii_lowercase(), Value::Text(text_of(value).into_owned())),
    };
    match event.attributes.get_mut(&name) {
        Some(Value::List(values)) => values.push(value),
        Some(before) if *before == value => {}
        Some(before) => *before = Value::List(vec![std::mem::replace(before, Value::Null), value]),
        None => {
            event.attributes.insert(name, value);
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn time_of(micros: &[u8]) -> Option<i64> {
    i64::try_from(number(micros)?).ok()?.checked_mul(1_000)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::export::Reader;
    use super::*;

    pub(in super::super) const CURSOR: &str = "s=9a5495863f6c42d6b2c5d0025895bae8;i=1f;b=0123456789abcdef0123456789abcdef;m=3e8;t=60a24181e4000;x=9c6909212438926b";

    fn entry(text: &str) -> Entry {
        let mut entries = Vec::new();
        Reader::default().take(text.as_bytes(), &mut entries).expect("reads");
        entries.remove(0)
    }

    fn made(text: &str) -> Event {
        let entry = entry(&format!("{text}\n\n"));
        event(&entry, Place::of(&entry, &[7; 32]).as_ref(), "journal", 7).expect("is one")
    }

    #[test]
    fn an_entry_has_opentelemetrys_names() {
        let event = made(&format!(
            "__CURSOR={CURSOR}\n__REALTIME_TIMESTAMP=1795773600500001\n_SOURCE_REALTIME_TIMESTAMP=1795773600500000\n\
             _MACHINE_ID=ffffffffffffffffffffffffffffffff\nPRIORITY=3\nSYSLOG_FACILITY=10\nSYSLOG_IDENTIFIER=sshd\n\
             _HOSTNAME=web-1\n_PID=812\n_SYSTEMD_UNIT=ssh.service\n_TRANSPORT=syslog\nMESSAGE=no route\nORDER_ID=7\n\
             CODE_LINE=12\nTAG=a\nTAG=b\nTAG=c\nTRACE_ID=0AF7651916CD43DD8448EB211C80319C\nSPAN_ID=b7ad6b7169203331"
        ));
        assert_eq!((event.stream.as_str(), event.severity, event.observed_ns), ("journal", 17, 7));
        assert_eq!(event.time_ns, Some(1_795_773_600_500_000_000), "when it was said");
        assert_eq!(event.body, Some("no route".into()));
        assert_eq!(event.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(event.span_id.as_deref(), Some("b7ad6b7169203331"));
        let sender: Vec<_> = event.resource.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        assert_eq!(sender, [("host.name", "web-1".into()), ("service.name", "sshd".into())]);
        let mut names: Vec<_> = event.attributes.keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected = [
            "code.line.number",
            "journald.id",
            "journald.seqnum",
            "journald.transport",
            "order_id",
            "process.pid",
            "syslog.facility",
            "systemd.unit",
            "tag",
        ];
        assert_eq!(names, expected);
        let of = |name: &str| event.attributes.get(name).cloned().expect("is there");
        assert_eq!((of("process.pid"), of("syslog.facility")), (Value::U64(812), "authpriv".into()));
        assert_eq!(of("tag"), Value::List(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(of(NUMBER), Value::U64(31));
        assert!(matches!(of(ID), Value::Text(id) if id.len() == 12 && id.bytes().all(|b| b.is_ascii_lowercase())));
    }

    #[test]
    fn what_a_program_says_in_json_is_taken_apart() {
        let event = made(
            "PRIORITY=6\nMESSAGE={\"level\":\"error\",\"msg\":\"broken\",\"user\":{\"id\":7}}\n_SYSTEMD_UNIT=app.service",
        );
        assert_eq!((event.severity, event.body.clone()), (17, Some("broken".into())));
        assert!(event.attributes.contains_key("user"));
        assert_eq!(event.resource.get("service.name"), Some(&"app".into()), "the unit, where no program has a name");
        assert_eq!(event.attributes.get(ID), None, "it says not where it stands");
    }

    #[test]
    fn what_is_not_as_it_should_be_is_kept_and_said() {
        let year_9999 = "253402300799000000";
        let event = made(&format!("MESSAGE=x\n__REALTIME_TIMESTAMP={year_9999}\nPRIORITY=high"));
        assert_eq!((event.time_ns, event.severity), (None, 0));
        assert_eq!(event.attributes.get("journald.malformed"), Some(&NO_TIME.into()));
        assert_eq!(event.attributes.get("priority"), Some(&"high".into()));
        let mut latin = entry("MESSAGE=x\n\n");
        latin.fields = vec![("MESSAGE".into(), b"caf\xe9".to_vec()), ("RAW".into(), vec![0, 0xff])];
        latin.is_cut = true;
        let event = super::event(&latin, None, "journal", 7).expect("is one");
        assert_eq!(event.body, Some("café".into()));
        assert_eq!(event.attributes.get("raw"), Some(&"\0ÿ".into()));
        assert_eq!(event.attributes.get("journald.malformed"), Some(&CUT.into()));
    }

    #[test]
    fn what_is_no_entry_is_refused_with_a_reason() {
        for text in ["__REALTIME_TIMESTAMP=1\n\n", "what is this\n\n"] {
            assert!(event(&entry(text), None, "journal", 7).is_err(), "{text}");
        }
    }

    #[test]
    fn an_entry_is_known_by_its_journal_its_boot_and_its_number() {
        let place = |cursor: &str| Place::of(&entry(&format!("__CURSOR={cursor}\nMESSAGE=x\n\n")), &[7; 32]);
        let one = place(CURSOR).expect("says it");
        assert_eq!(one.number, 0x1f);
        assert_eq!(place(&CURSOR.replace("m=3e8", "m=3e9")), Some(one.clone()));
        assert_ne!(place(&CURSOR.replace("b=0", "b=1")).expect("says it").journal, one.journal);
        assert_ne!(place(&CURSOR.replace("s=9", "s=8")).expect("says it").journal, one.journal);
        for wrong in ["", "s=1;i=1;b=1", "i=zz", &CURSOR.replace("i=1f", "i=11111111111111111")] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }
}
