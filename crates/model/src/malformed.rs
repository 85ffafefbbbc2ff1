//! The one refusal of every codec here: which structure, and why, without a byte of its content.

/// Bytes or values that the format does not allow. Nothing was written when it is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("cannot accept {what}: {why}")]
pub struct Malformed {
    /// Which structure: `entry`, `payload`, `note`, `tile path` ...
    pub what: &'static str,
    /// Which rule it breaks.
    pub why: &'static str,
}

impl Malformed {
    /// Says that `what` breaks the rule `why`.
    #[must_use]
    pub const fn new(what: &'static str, why: &'static str) -> Self {
        Self { what, why }
    }
}

/// Reads a structure from the front of a byte string; every read is checked.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`; refusals speak of `what`.
    #[must_use]
    pub const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// Returns what was not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Says that the structure breaks the rule `why`.
    #[must_use]
    pub const fn fail(&self, why: &'static str) -> Malformed {
        Malformed::new(self.what, why)
    }

    /// Takes `len` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.fail("ends too early"))?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes `N` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.fail("ends too early"))?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes a byte.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|bytes| bytes[0])
    }

    /// Takes a big-endian number of 16 bits.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// Takes a big-endian number of 32 bits.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// Takes a big-endian number of 64 bits.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// Says that nothing may follow.
    ///
    /// # Errors
    /// When something does.
    pub const fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.fail("has trailing bytes")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_never_reads_past_the_end() {
        let mut reader = Reader::new("thing", &[1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 9]);
        assert_eq!((reader.u8(), reader.u16(), reader.u32(), reader.u64()), (Ok(1), Ok(2), Ok(3), Ok(4)));
        assert_eq!(reader.finish(), Err(Malformed::new("thing", "has trailing bytes")));
        assert_eq!(reader.take(2), Err(Malformed::new("thing", "ends too early")));
        assert_eq!(reader.take(1), Ok(&[9_u8][..]));
        assert_eq!((reader.finish(), reader.rest().len()), (Ok(()), 0));
        assert!(reader.u8().is_err());
        assert_eq!(Malformed::new("entry", "is too long").to_string(), "cannot accept entry: is too long");
    }
}
