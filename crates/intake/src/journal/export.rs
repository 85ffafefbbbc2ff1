//! systemd's Journal Export Format, read piece by piece as it comes: entries of fields, each a line `NAME=value` or, where
//! its value may hold anything, a line `NAME`, eight bytes of length, the value and a line feed. A blank line ends an entry.

use memchr::memchr;
use model::limits::{
    JOURNAL_ENTRY_BYTES_MAX, JOURNAL_FIELD_LENGTH_MAX, JOURNAL_FIELDS_MAX, JOURNAL_LARGE_BYTES_MAX,
    JOURNAL_SMALL_BYTES_MAX,
};

/// Longest name of a field, as systemd bounds it.
const NAME_BYTES_MAX: usize = 64;
/// What is said of an entry with a line that is no field.
const NO_FIELD: &str = "expected fields whose names are capital letters, digits and underscores";

/// An entry as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Names and values, in their order; a name may come several times.
    pub(super) fields: Vec<(String, Vec<u8>)>,
    /// Bytes of names and values.
    pub(super) bytes: usize,
    /// Whether it was larger than an entry may be, and a part of it is gone.
    pub(super) is_cut: bool,
    /// Why it can never be an event.
    pub(super) wrong: Option<&'static str>,
    /// Bytes of values that are not small.
    large: usize,
}

/// What came is no journal, and where it goes on cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// A field would be larger than a journal can hold.
    #[error("expected a journal in export format: the length of a field is beyond all bounds")]
    Length,
    /// A field does not end where its length says.
    #[error("expected a journal in export format: no line feed stands behind a field with a length")]
    End,
    /// The last entry is not whole.
    #[error("the last entry is not whole")]
    Half,
}

/// What comes next.
#[derive(Debug, Default)]
enum Next {
    /// A line.
    #[default]
    Line,
    /// Eight bytes: the length of a field.
    Length(String),
    /// The value of a field: so many bytes are to come, of which the first are kept.
    Value { name: String, left: u64 },
    /// The line feed behind it.
    Feed,
}

/// Takes bytes and gives entries.
#[derive(Debug, Default)]
pub(super) struct Reader {
    next: Next,
    /// What came of the line, the length or the value.
    pending: Vec<u8>,
    /// How much of it there was, kept or not.
    came: u64,
    entry: Entry,
}

impl Reader {
    /// Takes what came next. Entries that are whole are added to `entries`.
    pub(super) fn take(&mut self, mut bytes: &[u8], entries: &mut Vec<Entry>) -> Result<(), Broken> {
        while !bytes.is_empty() {
            bytes = match std::mem::take(&mut self.next) {
                Next::Line => self.line(bytes, entries),
                Next::Length(name) => self.length(name, bytes)?,
                Next::Value { name, left } => self.value(name, left, bytes),
                Next::Feed => bytes.strip_prefix(b"\n").ok_or(Broken::End)?,
            };
        }
        Ok(())
    }

    /// Takes the end: the blank line behind the last entry may be missing, nothing else.
    pub(super) fn end(mut self, entries: &mut Vec<Entry>) -> Result<(), Broken> {
        if !matches!(self.next, Next::Line) || self.came > 0 {
            return Err(Broken::Half);
        }
        self.finish(entries);
        Ok(())
    }

    fn line<'a>(&mut self, bytes: &'a [u8], entries: &mut Vec<Entry>) -> &'a [u8] {
        let end = memchr(b'\n', bytes);
        let (line, rest) = bytes.split_at_checked(end.unwrap_or(bytes.len())).unwrap_or((bytes, &[]));
        self.keep(line);
        if end.is_none() {
            return rest;
        }
        let line = std::mem::take(&mut self.pending);
        let came = std::mem::take(&mut self.came);
        if came == 0 {
            self.finish(entries);
        } else if let Some(equals) = memchr(b'=', &line) {
            let (name, value) = line.split_at_checked(equals).unwrap_or_default();
            let is_cut = came > line.len() as u64;
            match name_of(name) {
                Some(name) => self.entry.add(name, value.get(1..).unwrap_or_default(), is_cut),
                None => self.entry.wrong = Some(NO_FIELD),
            }
        } else if let Some(name) = name_of(&line) {
            self.next = Next::Length(name);
        } else {
            // What follows is taken for lines, where the next entry is found again.
            self.entry.wrong = Some(NO_FIELD);
        }
        rest.get(1..).unwrap_or_default()
    }

    fn length<'a>(&mut self, name: String, bytes: &'a [u8]) -> Result<&'a [u8], Broken> {
        let missing = size_of::<u64>() - self.pending.len();
        let (part, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        self.pending.extend_from_slice(part);
        let Some(length) = self.pending.as_slice().first_chunk() else {
            self.next = Next::Length(name);
            return Ok(rest);
        };
        let left = u64::from_le_bytes(*length);
        self.pending.clear();
        if left > JOURNAL_FIELD_LENGTH_MAX {
            return Err(Broken::Length);
        }
        if left == 0 {
            return Ok(self.value(name, 0, rest)); // it is whole at once
        }
        self.next = Next::Value { name, left };
        Ok(rest)
    }

    fn value<'a>(&mut self, name: String, left: u64, bytes: &'a [u8]) -> &'a [u8] {
        let whole = usize::try_from(left).ok().filter(|left| *left <= bytes.len());
        let (part, rest) = bytes.split_at_checked(whole.unwrap_or(bytes.len())).unwrap_or((bytes, &[]));
        self.keep(part);
        if whole.is_none() {
            self.next = Next::Value { name, left: left - part.len() as u64 };
            return rest;
        }
        let value = std::mem::take(&mut self.pending);
        let is_cut = std::mem::take(&mut self.came) > value.len() as u64;
        self.entry.add(name, &value, is_cut);
        self.next = Next::Feed;
        rest
    }

    /// Keeps as much as an entry may have of a line or a value.
    fn keep(&mut self, bytes: &[u8]) {
        self.came += bytes.len() as u64;
        let room = (NAME_BYTES_MAX + 1 + JOURNAL_LARGE_BYTES_MAX).saturating_sub(self.pending.len());
        self.pending.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn finish(&mut self, entries: &mut Vec<Entry>) {
        let entry = std::mem::take(&mut self.entry);
        if !entry.fields.is_empty() || entry.wrong.is_some() {
            entries.push(entry);
        }
    }
}

impl Entry {
    fn add(&mut self, name: String, value: &[u8], is_cut: bool) {
        self.is_cut |= is_cut;
        let small = value.len() <= JOURNAL_SMALL_BYTES_MAX;
        let most = if small {
            JOURNAL_ENTRY_BYTES_MAX.saturating_sub(self.bytes + name.len())
        } else {
            JOURNAL_LARGE_BYTES_MAX.saturating_sub(self.large + name.len())
        };
        let kept = value.get(..most).unwrap_or(value);
        self.is_cut |= kept.len() < value.len();
        if self.fields.len() >= JOURNAL_FIELDS_MAX || (kept.is_empty() && !value.is_empty()) {
            self.is_cut = true;
            return;
        }
        let bytes = name.len() + kept.len();
        self.bytes += bytes;
        if !small {
            self.large += bytes;
        }
        self.fields.push((name, kept.to_vec()));
    }

    /// Returns the first value of a field.
    pub(super) fn first(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_slice())
    }
}

/// Returns a name as systemd has them.
fn name_of(bytes: &[u8]) -> Option<String> {
    let is_one = (1..=NAME_BYTES_MAX).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
        && !bytes.first().is_some_and(u8::is_ascii_digit);
    is_one.then(|| String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value, b"\n"].concat()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Entry>, Broken> {
        let (mut reader, mut entries) = (Reader::default(), Vec::new());
        reader.take(bytes, &mut entries)?;
        reader.end(&mut entries)?;
        Ok(entries)
    }

    fn texts(entry: &Entry) -> Vec<(&str, String)> {
        entry.fields.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value).into_owned())).collect()
    }

    #[test]
    fn fields_come_as_lines_and_with_a_length() {
        let multi = binary("MESSAGE", b"one\ntwo\n\nthree=3");
        let bytes =
            [b"__CURSOR=s=1;i=2\nPRIORITY=3\n", multi.as_slice(), &binary("EMPTY", b""), b"\n\n\nMESSAGE=b\nX=\n"];
        let entries = read(&bytes.concat()).expect("reads");
        let pair = |name, value: &str| (name, value.to_owned());
        assert_eq!(entries.len(), 2);
        assert_eq!(
            texts(&entries[0]),
            [
                pair("__CURSOR", "s=1;i=2"),
                pair("PRIORITY", "3"),
                pair("MESSAGE", "one\ntwo\n\nthree=3"),
                pair("EMPTY", "")
            ]
        );
        assert_eq!(texts(&entries[1]), [pair("MESSAGE", "b"), pair("X", "")]);
        assert_eq!(entries[1].first("MESSAGE"), Some(b"b".as_slice()));
        assert!(entries.iter().all(|entry| entry.wrong.is_none() && !entry.is_cut));
        assert_eq!(read(b"\n\n"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_field_spoils_its_entry_alone() {
        let entries = read(b"MESSAGE=a\n\nhello there\nmessage=b\n\n1A=x\n\nMESSAGE=c\n\n").expect("reads");
        let wrong: Vec<bool> = entries.iter().map(|entry| entry.wrong.is_some()).collect();
        assert_eq!(wrong, [false, true, true, false]);
    }

    #[test]
    fn what_is_too_large_is_cut_and_small_fields_find_room() {
        let huge = vec![b'x'; JOURNAL_ENTRY_BYTES_MAX * 3];
        let line = [b"TEXT=", huge.as_slice(), b"\n"].concat();
        let many: String = (0..JOURNAL_FIELDS_MAX + 9).map(|n| format!("F{n}=v\n")).collect();
        let bytes =
            [binary("MESSAGE", &huge), line, b"PRIORITY=3\n".to_vec(), many.into_bytes(), b"\nMESSAGE=b\n\n".to_vec()];
        let entries = read(&bytes.concat()).expect("reads");
        let large = &entries[0];
        assert!(large.is_cut && large.bytes <= JOURNAL_ENTRY_BYTES_MAX, "{}", large.bytes);
        assert_eq!(large.first("PRIORITY"), Some(b"3".as_slice()));
        assert_eq!(large.fields.len(), JOURNAL_FIELDS_MAX);
        assert_eq!(large.first("MESSAGE").map(<[u8]>::len), Some(JOURNAL_LARGE_BYTES_MAX - "MESSAGE".len()));
        assert!(!entries[1].is_cut);
    }

    #[test]
    fn where_nothing_can_be_known_the_whole_is_broken() {
        assert_eq!(read(b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff"), Err(Broken::Length));
        assert_eq!(read(b"MESSAGE\n\x01\0\0\0\0\0\0\0ab"), Err(Broken::End));
        for half in [
            b"MESSAGE=a\n\nMESS".as_slice(),
            b"MESSAGE\n\x01\0",
            b"MESSAGE\n\x02\0\0\0\0\0\0\0a",
            b"MESSAGE\n\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(read(half), Err(Broken::Half), "{half:?}");
        }
    }

    proptest! {
        /// However the bytes are cut into pieces, the entries are the same.
        #[test]
        fn pieces_make_the_same_entries(
            values in prop::collection::vec(("[A-Z_]{1,5}", prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..12),
            cuts in prop::collection::vec(1_usize..9, 1..200),
        ) {
            let mut bytes = Vec::new();
            for (name, value, ends) in &values {
                bytes.extend_from_slice(&binary(name, value));
                if *ends {
                    bytes.push(b'\n');
                }
            }
            let whole = read(&bytes).expect("reads");
            let (mut reader, mut entries, mut rest) = (Reader::default(), Vec::new(), bytes.as_slice());
            for cut in cuts.iter().cycle() {
                let (piece, tail) = rest.split_at_checked(*cut).unwrap_or((rest, &[]));
                reader.take(piece, &mut entries).expect("reads");
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            reader.end(&mut entries).expect("reads");
            prop_assert_eq!(&entries, &whole);
            let fields: usize = whole.iter().map(|entry| entry.fields.len()).sum();
            prop_assert_eq!(fields, values.len());
        }

        #[test]
        fn noise_is_refused_and_bounded(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(entries) = read(&noise) {
                let bytes: usize = entries.iter().map(|entry| entry.bytes).sum();
                prop_assert!(bytes <= noise.len());
            }
        }
    }
}
