//! The shapes of RFC 4251 section 5 and the unencrypted packets of RFC 4253 section 6.

use crate::connect::TimedStream;
use crate::kind::service::Broken;

/// Longest packet: RFC 4253 section 6.1 asks for 35,000.
const PACKET_BYTES_MAX: usize = 35_000;
/// Most names of a list that are kept.
const NAMES_MAX: usize = 128;

/// Takes values off a message.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        self.0 = rest;
        Some(text)
    }
}

/// Writes a text with its length.
pub(super) fn string(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("invariant: what we send is far below 4 GiB");
    [&length.to_be_bytes()[..], text].concat()
}

/// Writes an unsigned number: no leading zeros, and one where the first bit would make it negative.
pub(super) fn mpint(number: &[u8]) -> Vec<u8> {
    let digits = unpadded(number);
    let negative = digits.first().is_some_and(|first| *first >= 0x80);
    string(&[if negative { &[0][..] } else { &[] }, digits].concat())
}

/// A number without leading zeros.
pub(super) fn unpadded(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.split_at_checked(zeros).map_or(&[], |(_, digits)| digits)
}

/// Reads names with commas between them.
pub(super) fn name_list(text: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))?;
    Some(text.split(',').filter(|name| !name.is_empty()).take(NAMES_MAX).map(str::to_owned).collect())
}

/// `length 4 | padding length 1 | message | padding`, in all a multiple of eight, of which at least four are padding.
pub(super) async fn send(stream: &mut TimedStream, message: &[u8]) -> Result<(), Broken> {
    let padding = 4 + (8 - (5 + message.len() + 4) % 8) % 8;
    let length = u32::try_from(1 + message.len() + padding).expect("invariant: what we send is far below 4 GiB");
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).expect("invariant: at most eleven"));
    packet.extend_from_slice(message);
    packet.resize(packet.len() + padding, 0);
    Ok(stream.send(&packet).await?)
}

pub(super) async fn receive(stream: &mut TimedStream) -> Result<Vec<u8>, Broken> {
    let mut head = [0; 5];
    stream.receive_exact(&mut head).await?;
    let [a, b, c, d, padding] = head;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if !(2..=PACKET_BYTES_MAX).contains(&length) || usize::from(padding) + 2 > length {
        return Err(Broken::Garbled("a packet of impossible length"));
    }
    let mut message = vec![0; length - 1];
    stream.receive_exact(&mut message).await?;
    message.truncate(length - 1 - usize::from(padding));
    Ok(message)
}
