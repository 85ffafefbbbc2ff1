//! Bodies as they come: plain, gzip or deflate, and never larger than their bound when unpacked.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use model::limits::INTAKE_BODY_BYTES_MAX;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip, RFC 1952.
    Gzip,
    /// zlib, RFC 1950: what HTTP calls deflate.
    Deflate,
}

impl Encoding {
    /// Reads a `Content-Encoding`; `None` for one that is not supported.
    #[must_use]
    pub fn of(header: Option<&[u8]>) -> Option<Self> {
        let word = header.unwrap_or(b"identity").trim_ascii();
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if word.is_empty() || is("identity") => Some(Self::Identity),
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () => None,
        }
    }
}

/// Why a body cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecoded {
    /// It is larger than its bound when unpacked.
    #[error("the body is larger than {INTAKE_BODY_BYTES_MAX} bytes when unpacked")]
    TooLarge,
    /// It is not what its header says.
    #[error("the body is not what its Content-Encoding says")]
    Broken,
}

impl Undecoded {
    /// Returns the HTTP status that says so.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::Broken => 400,
        }
    }
}

/// Unpacks a body.
pub(crate) fn decode(encoding: Encoding, body: Bytes) -> Result<Bytes, Undecoded> {
    let unpack = |reader: &mut dyn Read| {
        let mut out = Vec::new();
        let bound = INTAKE_BODY_BYTES_MAX as u64 + 1;
        reader.take(bound).read_to_end(&mut out).map_err(|_| Undecoded::Broken)?;
        if out.len() > INTAKE_BODY_BYTES_MAX { Err(Undecoded::TooLarge) } else { Ok(Bytes::from(out)) }
    };
    match encoding {
        Encoding::Identity if body.len() > INTAKE_BODY_BYTES_MAX => Err(Undecoded::TooLarge),
        Encoding::Identity => Ok(body),
        Encoding::Gzip => unpack(&mut MultiGzDecoder::new(&*body)),
        Encoding::Deflate => unpack(&mut ZlibDecoder::new(&*body)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("packs");
        encoder.finish().expect("packs").into()
    }

    #[test]
    fn bodies_are_unpacked_as_their_header_says() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"text").expect("packs");
        let zlib = zlib.finish().expect("packs");
        for (header, body) in [
            (None, Bytes::from_static(b"text")),
            (Some("identity"), Bytes::from_static(b"text")),
            (Some(" GZIP "), gzip(b"text")),
            (Some("x-gzip"), [gzip(b"te"), gzip(b"xt")].concat().into()),
            (Some("deflate"), zlib.into()),
        ] {
            let encoding = Encoding::of(header.map(str::as_bytes)).expect("is supported");
            assert_eq!(decode(encoding, body).as_deref(), Ok(&b"text"[..]), "{header:?}");
        }
        assert_eq!(Encoding::of(Some(b"br")), None);
    }

    #[test]
    fn a_bomb_and_noise_are_refused() {
        let bomb = gzip(&vec![0; INTAKE_BODY_BYTES_MAX + 1]);
        assert!(bomb.len() < 1 << 20);
        assert_eq!(decode(Encoding::Gzip, bomb), Err(Undecoded::TooLarge));
        let large = Bytes::from(vec![b' '; INTAKE_BODY_BYTES_MAX + 1]);
        assert_eq!(decode(Encoding::Identity, large), Err(Undecoded::TooLarge));
        assert_eq!(decode(Encoding::Gzip, Bytes::from_static(b"text")), Err(Undecoded::Broken));
        let cut = gzip(b"some text");
        assert_eq!(decode(Encoding::Gzip, cut.slice(..cut.len() - 4)), Err(Undecoded::Broken));
    }
}
