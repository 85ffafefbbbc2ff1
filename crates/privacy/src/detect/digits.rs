//! A run of digit groups with what stands between them: read once, judged by every detector of numbers.

/// What stands between two groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// One character, or two spaces.
    One(u8),
    /// Parentheses, with or without spaces and dashes.
    Parenthesis,
    /// Anything else within three characters: groups on either side hardly belong together.
    Mixed,
}

/// Most groups of one run that are looked at together; a longer run is read in pieces.
const GROUPS_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    start: usize,
    end: usize,
    /// What stands before it; `Mixed` for the first.
    gap: Gap,
}

/// Groups of ASCII digits with at most three separators between them. Never empty.
#[derive(Debug)]
pub(crate) struct Digits {
    groups: [Group; GROUPS_MAX],
    len: usize,
}

impl Digits {
    /// Reads the run whose first digit is at `start`.
    pub(crate) fn read(bytes: &[u8], start: usize) -> Self {
        const EMPTY: Group = Group { start: 0, end: 0, gap: Gap::Mixed };
        let mut digits = Self { groups: [EMPTY; GROUPS_MAX], len: 1 };
        let mut end = start + run_len(bytes, start);
        digits.groups[0] = Group { start, end, gap: Gap::Mixed };
        while digits.len < GROUPS_MAX {
            let gap_len = separators(bytes, end);
            let next = end + gap_len;
            if gap_len == 0 || gap_len > 3 || !bytes.get(next).is_some_and(u8::is_ascii_digit) {
                break;
            }
            let gap = read_gap(bytes.get(end..next).unwrap_or_default());
            end = next + run_len(bytes, next);
            digits.groups[digits.len] = Group { start: next, end, gap };
            digits.len += 1;
        }
        digits
    }

    /// Returns how many digits the groups from `first` on have.
    pub(crate) fn total_from(&self, first: usize) -> usize {
        (first..self.len).map(|i| self.width(i)).sum()
    }

    /// Tells whether the run may go on behind the last group that was read.
    pub(crate) const fn is_cut(&self) -> bool {
        self.len == GROUPS_MAX
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Returns where group `index` starts.
    pub(crate) const fn start(&self, index: usize) -> usize {
        self.groups[index].start
    }

    /// Returns where group `index` ends.
    pub(crate) const fn end(&self, index: usize) -> usize {
        self.groups[index].end
    }

    /// Returns how many digits group `index` has.
    pub(crate) const fn width(&self, index: usize) -> usize {
        self.groups[index].end - self.groups[index].start
    }

    /// Returns what stands before group `index`.
    pub(crate) const fn gap(&self, index: usize) -> Gap {
        self.groups[index].gap
    }

    /// Tells whether the groups from `first` have these widths and one kind of separator between them, and whether
    /// they stand alone: neither side goes on with a digit behind the same dash or dot, or with a letter.
    pub(crate) fn has_shape(&self, bytes: &[u8], first: usize, widths: &[usize]) -> bool {
        let end = first + widths.len();
        if end > self.len || !widths.iter().enumerate().all(|(i, width)| self.width(first + i) == *width) {
            return false;
        }
        let mut gaps = (first + 1..end).map(|i| self.gap(i));
        let gap = gaps.next();
        if gap == Some(Gap::Mixed) || !gaps.all(|other| Some(other) == gap) {
            return false;
        }
        self.stands_alone(bytes, first, end - 1)
    }

    /// Tells whether groups `first..=last` are a number of their own.
    pub(crate) fn stands_alone(&self, bytes: &[u8], first: usize, last: usize) -> bool {
        let tight = |gap: Gap| matches!(gap, Gap::One(b'-' | b'.' | b'_' | b'/'));
        if first > 0 && tight(self.gap(first)) || last + 1 < self.len && tight(self.gap(last + 1)) {
            return false;
        }
        self.is_bounded(bytes, first, last)
    }

    /// Tells whether no letter touches groups `first..=last`, and no hexadecimal word through a dash (a UUID).
    pub(crate) fn is_bounded(&self, bytes: &[u8], first: usize, last: usize) -> bool {
        let before = self.start(first).checked_sub(1).and_then(|i| bytes.get(i));
        let after = bytes.get(self.end(last));
        if before.is_some_and(u8::is_ascii_alphanumeric) || after.is_some_and(u8::is_ascii_alphanumeric) {
            return false;
        }
        let dash_word = |dash: Option<&u8>, beyond: Option<&u8>| {
            dash == Some(&b'-') && beyond.is_some_and(u8::is_ascii_hexdigit) && self.width(first) > 2
        };
        let beyond_before = self.start(first).checked_sub(2).and_then(|i| bytes.get(i));
        !(dash_word(before, beyond_before) || dash_word(after, bytes.get(self.end(last) + 1)))
    }

    /// Copies the digits of groups `first..=last` into `into` and returns how many there are, or `None` if they do
    /// not fit.
    pub(crate) fn collect(&self, bytes: &[u8], first: usize, last: usize, into: &mut [u8]) -> Option<usize> {
        let mut len = 0;
        for index in first..=last {
            let group = bytes.get(self.start(index)..self.end(index))?;
            into.get_mut(len..len + group.len())?.copy_from_slice(group);
            len += group.len();
        }
        Some(len)
    }
}

/// Returns how many digits stand at `at`.
#[inline]
pub(crate) fn run_len(bytes: &[u8], at: usize) -> usize {
    let mut end = at;
    while bytes.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    end - at
}

/// Tells whether another group of the same run follows the one that ends at `end`.
pub(crate) fn goes_on(bytes: &[u8], end: usize) -> bool {
    let gap = separators(bytes, end);
    gap < 4 && bytes.get(end + gap).is_some_and(u8::is_ascii_digit)
}

/// Returns how many separators stand at `at`, four at most.
#[inline]
fn separators(bytes: &[u8], at: usize) -> usize {
    let mut len = 0;
    while len < 4 && bytes.get(at + len).is_some_and(|b| is_separator(*b)) {
        len += 1;
    }
    len
}

pub(crate) const fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'/' | b'_' | b'(' | b')')
}

fn read_gap(gap: &[u8]) -> Gap {
    match gap {
        [one @ (b' ' | b'-' | b'.' | b'/' | b'_')] => Gap::One(*one),
        b"  " => Gap::One(b' '),
        _ if gap.iter().any(|b| matches!(b, b'(' | b')')) => Gap::Parenthesis,
        _ => Gap::Mixed,
    }
}

/// Tells whether the digits in `number` satisfy Luhn's check (ISO/IEC 7812-1 annex B).
pub(crate) fn luhn(number: &[u8]) -> bool {
    let sum: u32 = number
        .iter()
        .rev()
        .enumerate()
        .map(|(i, digit)| {
            let value = u32::from(digit - b'0') << (i % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_gaps_are_read() {
        let text = b"06 12.34 (0)6 - 7 .. 8x";
        let digits = Digits::read(text, 0);
        let read: Vec<_> = (0..digits.len()).map(|i| (digits.width(i), digits.gap(i))).collect();
        assert_eq!(
            read,
            [
                (2, Gap::Mixed),
                (2, Gap::One(b' ')),
                (2, Gap::One(b'.')),
                (1, Gap::Parenthesis),
                (1, Gap::Parenthesis),
                (1, Gap::Mixed),
            ]
        );
        let long = "1 ".repeat(100);
        assert_eq!(Digits::read(long.as_bytes(), 0).len(), GROUPS_MAX);
    }

    #[test]
    fn a_number_stands_alone_or_is_part_of_another() {
        for (text, alone) in [
            ("1234", true),
            ("1234 5", true),
            ("1234-5", false),
            ("1234x", false),
            ("1234-abcd", false),
            ("1234-xyz", true),
            ("1234.", true),
        ] {
            assert_eq!(Digits::read(text.as_bytes(), 0).stands_alone(text.as_bytes(), 0, 0), alone, "{text}");
        }
    }

    #[test]
    fn luhn_is_that_of_iso_7812() {
        assert!(luhn(b"4242424242424242") && luhn(b"79927398713"));
        assert!(!luhn(b"4242424242424241"));
    }
}
