//! IP addresses. Those of declared targets are kept by the redactor, which knows the declarations; here it is only told
//! what is an address and what is a version number, a MAC address or a scope operator.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::digits::{Digits, Gap};
use super::lexicon::bit;
use super::{Hit, Type, cue};

/// Products whose version follows a slash, as in a User-Agent.
const PRODUCTS: [&str; 16] = [
    "chrome",
    "chromium",
    "crios",
    "headlesschrome",
    "edg",
    "edge",
    "edga",
    "opr",
    "opera",
    "safari",
    "version",
    "firefox",
    "applewebkit",
    "yabrowser",
    "samsungbrowser",
    "openssl",
];

/// Looks at four groups from `group` on as an IPv4 address.
pub(crate) fn v4(bytes: &[u8], digits: &Digits, group: usize) -> Option<Hit> {
    let dotted = (group + 1..group + 4).all(|i| i < digits.len() && digits.gap(i) == Gap::One(b'.'));
    if !dotted || digits.width(group) > 3 {
        return None;
    }
    let after = group + 4 < digits.len() && digits.gap(group + 4) == Gap::One(b'.');
    let before = group > 0 && digits.gap(group) == Gap::One(b'.');
    if after || before {
        // Five or more numbers are an object identifier or a version.
        return None;
    }
    let range = digits.start(group)..digits.end(group + 3);
    if bytes.get(range.end).is_some_and(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let mut octets = [0_u8; 4];
    for (octet, index) in octets.iter_mut().zip(group..) {
        // Of five digits and more the number might wrap into the range again.
        let digits = bytes.get(digits.start(index)..digits.end(index)).filter(|digits| digits.len() <= 16)?;
        *octet = u8::try_from(super::form::number(digits)).ok()?;
    }
    Quad { range, octets }.hit(bytes)
}

/// Four numbers below 256 with dots between them.
pub(crate) struct Quad {
    pub(crate) range: std::ops::Range<usize>,
    octets: [u8; 4],
}

impl Quad {
    /// Returns the address if it is neither this machine's nor a version.
    pub(crate) fn hit(&self, bytes: &[u8]) -> Option<Hit> {
        let address = Ipv4Addr::from(self.octets);
        let nobodys = address.is_loopback() || address.is_unspecified() || self.octets[0] == 255;
        (!nobodys && !is_version(bytes, &self.range, self.octets)).then(|| Hit::new(self.range.clone(), Type::Ipv4))
    }

    pub(crate) const fn is_loopback(&self) -> bool {
        self.octets[0] == 127
    }
}

/// Reads the quad at `at` if no other number is near it: what most addresses are.
pub(crate) fn alone(bytes: &[u8], at: usize) -> Option<Quad> {
    let (mut octets, mut end) = ([0_u8; 4], at);
    for (i, octet) in octets.iter_mut().enumerate() {
        if i > 0 {
            if bytes.get(end) != Some(&b'.') {
                return None;
            }
            end += 1;
        }
        let (mut value, first) = (0_u16, end);
        while let Some(digit) = bytes.get(end).filter(|b| b.is_ascii_digit() && end - first < 4) {
            value = value * 10 + u16::from(digit - b'0');
            end += 1;
        }
        if end == first || end - first > 3 {
            return None;
        }
        *octet = u8::try_from(value).ok()?;
    }
    if super::digits::goes_on(bytes, end) || bytes.get(end).is_some_and(u8::is_ascii_alphabetic) {
        return None;
    }
    Some(Quad { range: at..end, octets })
}

/// Tells whether an IPv4 address stands at `at` although a letter is in front of it.
pub(crate) fn v4_after_letter(bytes: &[u8], at: usize) -> bool {
    let digits = Digits::read(bytes, at);
    v4(bytes, &digits, 0).is_some() && !matches!(bytes.get(at.wrapping_sub(1)), Some(b'v' | b'V'))
}

fn is_version(bytes: &[u8], range: &std::ops::Range<usize>, octets: [u8; 4]) -> bool {
    let head = bytes.get(range.start.saturating_sub(24)..range.start).unwrap_or_default();
    match bytes.get(range.end..).unwrap_or_default() {
        // `2.3.19.1+dfsg1`, `1.2.5.1~rc1`, `1.2.5.1-2`: a package's revision.
        [b'+' | b'~', next, ..] if next.is_ascii_alphanumeric() => return true,
        [b'-', next, ..] if next.is_ascii_digit() && octets[0] < 10 => return true,
        _ => {}
    }
    match head.last() {
        Some(b'v' | b'V') => return true,
        Some(b'/') => {
            let name = head.strip_suffix(b"/").unwrap_or(head);
            let product = name.rsplit(|b| !b.is_ascii_alphanumeric()).next().unwrap_or_default();
            return PRODUCTS.iter().any(|known| product.eq_ignore_ascii_case(known.as_bytes()));
        }
        // `libfoo-1.2.3.4.tar.gz`, `foo_1.2.3.4-1_amd64.deb`
        Some(b'-' | b'_') if !head.to_ascii_lowercase().ends_with(b"ip-") => {
            let tail = bytes.get(range.end..).unwrap_or_default();
            let name = matches!(tail, [b'.' | b'-' | b'_' | b'~' | b'+', next, ..] if next.is_ascii_alphanumeric());
            return name;
        }
        _ => {}
    }
    octets.iter().all(|octet| *octet < 100) && cue::precedes(head, 0, head.len(), bit::VERSION)
}

/// Looks around the `:` at `at` for an IPv6 address.
pub(crate) fn v6(bytes: &[u8], floor: usize, at: usize) -> Option<Hit> {
    if !may_be_v6(bytes, at) {
        return None;
    }
    let is_part = |b: u8| b.is_ascii_hexdigit() || b == b':' || b == b'.';
    let mut start = at;
    while start > floor && at - start < 5 && bytes[start - 1].is_ascii_hexdigit() {
        start -= 1;
    }
    let before = start.checked_sub(1).and_then(|i| bytes.get(i));
    if at - start > 4 || before.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_')) {
        return None;
    }
    let len = bytes.iter().skip(start).take(46).take_while(|b| is_part(**b)).count();
    let mut run = bytes.get(start..start + len)?;
    while run.ends_with(b".") || (run.ends_with(b":") && !run.ends_with(b"::")) {
        run = run.get(..run.len() - 1)?;
    }
    let colons = run.iter().filter(|b| **b == b':').count();
    if colons < 2 || (colons < 6 && !run.windows(2).any(|pair| pair == b"::")) {
        return None;
    }
    let end = start + run.len();
    if bytes.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
        return None;
    }
    let address: Ipv6Addr = std::str::from_utf8(run).ok()?.parse().ok()?;
    let shown = is_routable(address) && !run.split(|b| *b == b':').all(|group| group.len() == 2);
    shown.then(|| Hit::new(start..end, Type::Ipv6))
}

/// Tells cheaply whether the `:` at `at` can be the first of an address: two together, or six in all.
fn may_be_v6(bytes: &[u8], at: usize) -> bool {
    let (mut colons, mut digits, mut i) = (1, 0, at + 1);
    loop {
        match bytes.get(i) {
            Some(b':') if digits == 0 => return true,
            Some(b':') => {
                colons += 1;
                if colons >= 6 {
                    return true;
                }
                digits = 0;
            }
            Some(b) if b.is_ascii_hexdigit() && digits < 4 => digits += 1,
            _ => return false,
        }
        i += 1;
    }
}

/// Tells whether an address is of a range in use: what else parses (`a::b`, `::1`) is code or this machine.
fn is_routable(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    let mapped = address.to_ipv4_mapped().is_some_and(|v4| !v4.is_loopback() && !v4.is_unspecified());
    matches!(first, 0x2000..=0x3FFF | 0xFC00..=0xFDFF | 0xFE80..=0xFEBF | 0xFF00..=0xFFFF | 0x64) || mapped
}

#[cfg(test)]
mod tests {
    use crate::detect::corpus::{Gen, Odd, recall};
    use crate::detect::find;

    fn found(text: &str) -> Vec<&str> {
        find(text).into_iter().map(|hit| text.get(hit.range).expect("at characters")).collect()
    }

    #[test]
    fn addresses_are_told_from_what_looks_like_them() {
        for (text, expected) in [
            ("from 203.0.113.9:443 to 10.0.0.1/24", vec!["203.0.113.9", "10.0.0.1"]),
            ("ip192.168.1.77 gone", vec!["192.168.1.77"]),
            ("host/10.1.2.3:80", vec!["10.1.2.3"]),
            ("ip-10.1.2.3", vec!["10.1.2.3"]),
            ("[2001:db8::1]:443, fe80::1%eth0", vec!["2001:db8::1", "fe80::1"]),
            ("peer 2001:0db8:85a3:0000:0000:8a2e:0370:7334: reset", vec!["2001:0db8:85a3:0000:0000:8a2e:0370:7334"]),
            ("::ffff:203.0.113.9 said", vec!["::ffff:203.0.113.9"]),
            ("127.0.0.1 0.0.0.0 255.255.255.0 ::1 ::", vec![]),
            ("Chrome/120.0.0.0 v1.2.3.4 version 1.2.3.4", vec![]),
            ("conf:all 1.2.5.1-2 1:2.3.19.1+dfsg1-2.1 1.2.3.4~rc1", vec![]),
            ("10.1.2.3-5 and 10.1.2.3-eth0", vec!["10.1.2.3", "10.1.2.3"]),
            ("libfoo-1.2.3.4.tar.gz foo_1.2.3.4-1_amd64.deb", vec![]),
            ("oid 1.3.6.1.4.1.311 and 300.1.1.1 and 1.2.3", vec![]),
            ("std::vector a::b cafe::f00d 12:34:56", vec![]),
            ("key 04:ab:04:ab:04:ab:04:ab", vec![]),
            ("2001:db8::zz", vec![]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        for (seed, generate) in [(1, Gen::ipv4 as fn(&Gen) -> String), (2, Gen::ipv6)] {
            let plain = recall(seed, 1_000, Odd::None, generate);
            let odd = recall(seed + 10, 1_000, Odd::Any, generate);
            assert!(plain >= 0.98, "plain {plain}");
            assert!(odd >= 0.90, "odd {odd}");
        }
    }
}
