//! Bodies that were compressed although we asked for none: unpacked as far as the bound, so that a bomb ends there.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderValue;
use model::limits::PROBE_DECODED_BYTES_MAX;

/// Returns the body as it was before its content encoding.
///
/// # Errors
/// When it unpacks to more than `limits::PROBE_DECODED_BYTES_MAX`, is damaged, or is of an encoding that we do not have.
pub(super) fn decode(encoding: Option<&HeaderValue>, body: Vec<u8>) -> Result<Vec<u8>, String> {
    let encoding = encoding.map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase());
    match encoding.as_deref() {
        None | Some("" | "identity") => Ok(body),
        Some("gzip" | "x-gzip") => unpack(MultiGzDecoder::new(body.as_slice())),
        // Some servers send zlib, as RFC 9110 has it, some the bare stream.
        Some("deflate") if is_zlib(&body) => unpack(ZlibDecoder::new(body.as_slice())),
        Some("deflate") => unpack(DeflateDecoder::new(body.as_slice())),
        Some(_) => Err("the body has a content encoding that was not asked for".to_owned()),
    }
}

fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [cmf, flg, ..] if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flg)) % 31 == 0)
}

fn unpack(packed: impl Read) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let most = PROBE_DECODED_BYTES_MAX as u64 + 1;
    match packed.take(most).read_to_end(&mut plain) {
        Ok(_) if plain.len() > PROBE_DECODED_BYTES_MAX => {
            Err(format!("the body unpacks to more than {PROBE_DECODED_BYTES_MAX} bytes"))
        }
        Ok(_) => Ok(plain),
        Err(_) => Err("the compressed body is damaged".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn pack(plain: &[u8], encoding: &str) -> Vec<u8> {
        let level = Compression::best();
        match encoding {
            "gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(plain).and_then(|()| encoder.finish()).expect("packs")
            }
            "zlib" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(plain).and_then(|()| encoder.finish()).expect("packs")
            }
            _ => {
                let mut encoder = DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(plain).and_then(|()| encoder.finish()).expect("packs")
            }
        }
    }

    #[test]
    fn what_was_packed_is_unpacked_up_to_the_bound() {
        let header = HeaderValue::from_static;
        for (encoding, packed) in [("gzip", "gzip"), ("X-GZIP ", "gzip"), ("deflate", "zlib"), ("deflate", "deflate")] {
            assert_eq!(decode(Some(&header(encoding)), pack(b"hello", packed)), Ok(b"hello".to_vec()), "{encoding}");
        }
        assert_eq!(decode(None, b"x".to_vec()), Ok(b"x".to_vec()));
        assert_eq!(decode(Some(&header("identity")), b"x".to_vec()), Ok(b"x".to_vec()));
        let bomb = pack(&vec![0; 8 << 20], "gzip");
        assert!(bomb.len() < 100_000);
        let error = decode(Some(&header("gzip")), bomb).expect_err("refused");
        assert!(error.contains("unpacks to more than"), "{error}");
        for (encoding, body) in [("gzip", &b"nope"[..]), ("br", b"x"), ("deflate", b"\xff\xff\xff")] {
            assert!(decode(Some(&header(encoding)), body.to_vec()).is_err(), "{encoding}");
        }
    }
}
