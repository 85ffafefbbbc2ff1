//! Messages out of a stream of bytes, as RFC 6587 tells of: counted (`11 <34>1 - ...`) or ended by a line feed. Which of
//! both a frame is, its first bytes say, for senders change their mind in one connection.

use std::mem::take;

use bytes::Bytes;
use memchr::{memchr, memchr2};
use model::limits::SYSLOG_MESSAGE_BYTES_MAX;

use super::Message;

/// Most digits of a count.
const DIGITS_MAX: usize = 10;

/// Takes frames apart. Holds one message of the largest size at most, and what it was given last.
#[derive(Debug, Default)]
pub struct Framer {
    pending: Vec<u8>,
    skip: Skip,
}

/// What is passed over, because its message is longer than one may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Skip {
    #[default]
    Nothing,
    Bytes(u64),
    Line,
}

/// How a frame begins.
enum Head {
    /// More bytes are needed to tell.
    Unknown,
    /// Counted: how long the count is, and what it says.
    Counted(usize, u64),
    Line,
}

impl Framer {
    /// Takes bytes and appends the messages that are whole.
    pub fn push(&mut self, bytes: &[u8], messages: &mut Vec<Message>) {
        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(used) = self.step(at, messages) {
            at += used;
        }
        self.pending.drain(..at);
    }

    /// Takes what is left as the last message: its sender has gone.
    pub fn end(&mut self, messages: &mut Vec<Message>) {
        let skip = take(&mut self.skip);
        let pending = take(&mut self.pending);
        let message = match head(&pending) {
            Head::Counted(prefix, _) => pending.get(prefix..).unwrap_or_default(),
            Head::Line | Head::Unknown => pending.as_slice(),
        };
        if skip == Skip::Nothing {
            emit(message, false, messages);
        }
    }

    /// Returns how many bytes from `at` on were used; `None` where more are needed.
    fn step(&mut self, at: usize, messages: &mut Vec<Message>) -> Option<usize> {
        let rest = self.pending.get(at..).filter(|rest| !rest.is_empty())?;
        match self.skip {
            Skip::Bytes(left) => {
                let used = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - used as u64;
                self.skip = if left == 0 { Skip::Nothing } else { Skip::Bytes(left) };
                return Some(used);
            }
            Skip::Line => {
                let end = memchr(b'\n', rest);
                if end.is_some() {
                    self.skip = Skip::Nothing;
                }
                return Some(end.map_or(rest.len(), |end| end + 1));
            }
            Skip::Nothing => {}
        }
        match head(rest) {
            Head::Unknown => None,
            Head::Counted(prefix, count) => {
                let len = usize::try_from(count).unwrap_or(usize::MAX).min(SYSLOG_MESSAGE_BYTES_MAX);
                let message = rest.get(prefix..prefix + len)?;
                let left = count - len as u64;
                emit(message, left > 0, messages);
                if left > 0 {
                    self.skip = Skip::Bytes(left);
                }
                Some(prefix + len)
            }
            Head::Line => {
                let window = rest.get(..=SYSLOG_MESSAGE_BYTES_MAX).unwrap_or(rest);
                if let Some(end) = memchr2(b'\n', 0, window) {
                    emit(rest.get(..end)?, false, messages);
                    return Some(end + 1);
                }
                let message = rest.get(..SYSLOG_MESSAGE_BYTES_MAX).filter(|_| rest.len() > SYSLOG_MESSAGE_BYTES_MAX)?;
                emit(message, true, messages);
                self.skip = Skip::Line;
                Some(SYSLOG_MESSAGE_BYTES_MAX)
            }
        }
    }
}

fn emit(message: &[u8], is_cut: bool, messages: &mut Vec<Message>) {
    // Keep-alives of some senders, and the second half of CR LF LF.
    if !message.trim_ascii().is_empty() {
        messages.push(Message { bytes: Bytes::copy_from_slice(message), is_cut });
    }
}

/// A count is digits, a space and the `<` of a priority: a line that begins with a number is no counted frame.
fn head(bytes: &[u8]) -> Head {
    let digits = bytes.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > DIGITS_MAX || bytes.first() == Some(&b'0') {
        return Head::Line;
    }
    match (bytes.get(digits), bytes.get(digits + 1)) {
        (None, _) | (Some(b' '), None) => Head::Unknown,
        (Some(b' '), Some(b'<')) => {
            let count = bytes.iter().take(digits).fold(0, |count, byte| count * 10 + u64::from(byte - b'0'));
            Head::Counted(digits + 1, count)
        }
        _ => Head::Line,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes out of `parts`, given one after the other; what is cut has a `~` behind it.
    fn framed(parts: &[&[u8]]) -> Vec<String> {
        let (mut framer, mut messages) = (Framer::default(), Vec::new());
        for part in parts {
            framer.push(part, &mut messages);
        }
        framer.end(&mut messages);
        let text = |message: Message| {
            let text = String::from_utf8_lossy(&message.bytes).into_owned();
            if message.is_cut { text + "~" } else { text }
        };
        messages.into_iter().map(text).collect()
    }

    #[test]
    fn both_framings_are_told_apart_frame_by_frame() {
        let stream = b"5 <1>a\n<2>b\r\n\n4 <3>c<4>d\x007 apples\n2026-11-28 late\n12345678901 <5>\n0 <6>\n3 <7>";
        let expected =
            ["<1>a\n", "<2>b\r", "<3>c", "<4>d", "7 apples", "2026-11-28 late", "12345678901 <5>", "0 <6>", "<7>"];
        assert_eq!(framed(&[stream]), expected);
        assert_eq!(framed(&[b"9 <1>half"]), ["<1>half"], "what is left is the last message");
        assert_eq!(framed(&[b"12"]), ["12"]);
        assert!(framed(&[b"\n\n \r\n"]).is_empty());
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_comes_after_it_is_not() {
        let long = "x".repeat(SYSLOG_MESSAGE_BYTES_MAX + 1);
        let cut = format!("<1>{}~", "x".repeat(SYSLOG_MESSAGE_BYTES_MAX - 3));
        let counted = format!("{} <1>{long}<2>b\n", long.len() + 3);
        assert_eq!(framed(&[counted.as_bytes()]), [cut.as_str(), "<2>b"]);
        let line = format!("<1>{long}\n<2>b\n");
        assert_eq!(framed(&[line.as_bytes()]), [cut.as_str(), "<2>b"]);
        let parts: Vec<&[u8]> = line.as_bytes().chunks(1_000).collect();
        assert_eq!(framed(&parts), [cut.as_str(), "<2>b"]);
        assert_eq!(framed(&[format!("<1>{long}").as_bytes()]), [cut.as_str()], "the rest of it is no message");
        assert_eq!(framed(&[b"9999999999 <1>", &[b'x'; 1 << 17]]).len(), 1);
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            messages in prop::collection::vec(("<[0-9]{1,3}>[ -~]{0,40}", any::<bool>()), 0..20),
            size in 1_usize..30,
        ) {
            let mut stream = Vec::new();
            for (message, counted) in &messages {
                let frame =
                    if *counted { format!("{} {message}", message.len()) } else { format!("{message}\n") };
                stream.extend(frame.into_bytes());
            }
            let parts: Vec<&[u8]> = stream.chunks(size).collect();
            let expected: Vec<String> = messages.into_iter().map(|(message, _)| message).collect();
            prop_assert_eq!(framed(&parts), expected);
        }

        #[test]
        fn noise_is_bounded_and_the_same_however_it_is_cut(
            noise in prop::collection::vec(prop::sample::select(&b"019 <>\n\0x"[..]), 0..200),
            size in 1_usize..20,
        ) {
            let parts: Vec<&[u8]> = noise.chunks(size).collect();
            prop_assert_eq!(framed(&parts), framed(&[&noise]));
            let mut framer = Framer::default();
            framer.push(&noise, &mut Vec::new());
            prop_assert!(framer.pending.len() <= SYSLOG_MESSAGE_BYTES_MAX + DIGITS_MAX + 1);
        }
    }
}
