//! Deterministic CBOR (RFC 8949 section 4.2.1) for maps and lists: the same value is always the same bytes.
//!
//! Only what [`Value`] can hold: integers of 64 bits, text, bytes, arrays, maps with text keys, false, true,
//! null and floats in their shortest form. The decoder refuses whatever the encoder would not have written.

use crate::Value;
use crate::limits::VALUE_DEPTH_MAX;
use crate::malformed::{Malformed, Reader};
use crate::map::Map;

const WHAT: &str = "CBOR";
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

/// Appends `value` to `out`. A whole number from 0 is written as unsigned whether it is held as `U64` or `I64`.
///
/// # Errors
/// When lists and maps are nested deeper than `limits::VALUE_DEPTH_MAX`. `out` then holds a part of the value.
pub fn encode(out: &mut Vec<u8>, value: &Value) -> Result<(), Malformed> {
    write(out, value, VALUE_DEPTH_MAX)
}

fn write(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), Malformed> {
    let deeper = || depth.checked_sub(1).ok_or(Malformed::new(WHAT, "is nested too deeply"));
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(false) => out.push(0xf4),
        Value::Bool(true) => out.push(0xf5),
        Value::U64(n) => write_head(out, UNSIGNED, *n),
        Value::I64(n) if *n >= 0 => write_head(out, UNSIGNED, n.unsigned_abs()),
        Value::I64(n) => write_head(out, NEGATIVE, !n.cast_unsigned()),
        Value::F64(n) => write_float(out, *n),
        Value::Bytes(bytes) => {
            write_head(out, BYTES, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
        Value::Text(text) => {
            write_head(out, TEXT, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        Value::List(items) => {
            let depth = deeper()?;
            write_head(out, ARRAY, items.len() as u64);
            for item in items {
                write(out, item, depth)?;
            }
        }
        Value::Map(map) => {
            let depth = deeper()?;
            write_head(out, MAP, map.len() as u64);
            write_pairs(out, map, depth)?;
        }
    }
    Ok(())
}

/// Writes the pairs of a map in the bytewise order of their encoded keys: the length comes first in their encoding, and
/// of one length they ascend already.
fn write_pairs(out: &mut Vec<u8>, map: &Map, depth: usize) -> Result<(), Malformed> {
    /// Up to here looking for the next length costs less than a list to sort.
    const FEW: usize = 16;
    if map.len() > FEW {
        let mut pairs: Vec<_> = map.iter().collect();
        pairs.sort_by_key(|(key, _)| key.len());
        return pairs.into_iter().try_for_each(|(key, value)| write_pair(out, key, value, depth));
    }
    let mut next = map.keys().map(String::len).min();
    while let Some(len) = next {
        next = None;
        for (key, value) in map.iter() {
            if key.len() == len {
                write_pair(out, key, value, depth)?;
            } else if key.len() > len {
                next = Some(next.map_or(key.len(), |next| next.min(key.len())));
            }
        }
    }
    Ok(())
}

fn write_pair(out: &mut Vec<u8>, key: &str, value: &Value, depth: usize) -> Result<(), Malformed> {
    write_head(out, TEXT, key.len() as u64);
    out.extend_from_slice(key.as_bytes());
    write(out, value, depth)
}

fn write_head(out: &mut Vec<u8>, major: u8, n: u64) {
    let major = major << 5;
    if n < 24 {
        out.push(major | n.to_le_bytes()[0]);
    } else if let Ok(n) = u8::try_from(n) {
        out.extend_from_slice(&[major | 24, n]);
    } else if let Ok(n) = u16::try_from(n) {
        out.push(major | 25);
        out.extend_from_slice(&n.to_be_bytes());
    } else if let Ok(n) = u32::try_from(n) {
        out.push(major | 26);
        out.extend_from_slice(&n.to_be_bytes());
    } else {
        out.push(major | 27);
        out.extend_from_slice(&n.to_be_bytes());
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the narrower float is used only where it equals the wider one")]
fn write_float(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(&[0xf9, 0x7e, 0x00]);
        return;
    }
    let single = value as f32;
    if f64::from(single).to_bits() != value.to_bits() {
        out.push(0xfb);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Some(half) = half_of(single) {
        out.push(0xf9);
        out.extend_from_slice(&half.to_be_bytes());
    } else {
        out.push(0xfa);
        out.extend_from_slice(&single.to_be_bytes());
    }
}

/// Returns the bits of the binary16 that equals `single`, if there is one.
fn half_of(single: f32) -> Option<u16> {
    let bits = single.to_bits();
    let sign = u16::try_from(bits >> 16).ok()? & 0x8000;
    let exponent = i32::try_from(bits >> 23 & 0xff).ok()? - 127;
    let mantissa = bits & 0x7f_ffff;
    let half = match exponent {
        128 if mantissa == 0 => 0x7c00,
        -127 if mantissa == 0 => 0,
        // Normal: 10 bits of mantissa, exponent in -14..=15.
        -14..=15 if mantissa.trailing_zeros() >= 13 => {
            u16::try_from(exponent + 15).ok()? << 10 | u16::try_from(mantissa >> 13).ok()?
        }
        // Subnormal: the value is a multiple of 2^-24.
        -24..=-15 => {
            let full = mantissa | 0x80_0000;
            let shift = u32::try_from(-1 - exponent).ok()?;
            if full.trailing_zeros() < shift {
                return None;
            }
            u16::try_from(full >> shift).ok()?
        }
        _ => return None,
    };
    Some(sign | half)
}

fn float_of_half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let mantissa = f64::from(bits & 0x3ff);
    match bits >> 10 & 0x1f {
        0 => sign * mantissa * 2_f64.powi(-24),
        31 if mantissa == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        exponent => sign * (1024.0 + mantissa) * 2_f64.powi(i32::from(exponent) - 25),
    }
}

/// Decodes exactly one value.
///
/// # Errors
/// When the bytes are not what [`encode`] writes: longer forms than needed, indefinite lengths, tags, keys that are not
/// text or do not ascend, integers beyond 64 bits signed, nesting beyond `limits::VALUE_DEPTH_MAX`, trailing bytes.
pub fn decode(bytes: &[u8]) -> Result<Value, Malformed> {
    let mut reader = Reader::new(WHAT, bytes);
    let value = read(&mut reader, VALUE_DEPTH_MAX)?;
    reader.finish()?;
    Ok(value)
}

fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Value, Malformed> {
    let initial = reader.u8()?;
    let (major, info) = (initial >> 5, initial & 0x1f);
    if major == 7 {
        return read_simple(reader, info);
    }
    let n = read_argument(reader, info)?;
    let deeper = || depth.checked_sub(1).ok_or(Malformed::new(WHAT, "is nested too deeply"));
    Ok(match major {
        UNSIGNED => Value::U64(n),
        NEGATIVE => {
            let n = i64::try_from(n).map_err(|_| reader.fail("has a number below the least of 64 bits"))?;
            Value::I64(!n)
        }
        BYTES => Value::Bytes(take(reader, n)?.to_vec()),
        TEXT => Value::Text(text(reader, n)?.to_owned()),
        ARRAY => {
            let depth = deeper()?;
            let mut items = Vec::new();
            for _ in 0..n {
                items.push(read(reader, depth)?);
            }
            Value::List(items)
        }
        MAP => Value::Map(read_map(reader, n, deeper()?)?),
        _ => return Err(reader.fail("has a tag")),
    })
}

fn read_map(reader: &mut Reader<'_>, pairs: u64, depth: usize) -> Result<Map, Malformed> {
    let mut entries = Vec::new();
    let mut last: Option<&str> = None;
    for _ in 0..pairs {
        let initial = reader.u8()?;
        if initial >> 5 != TEXT {
            return Err(reader.fail("has a key that is not text"));
        }
        let len = read_argument(reader, initial & 0x1f)?;
        let key = text(reader, len)?;
        if last.is_some_and(|last| (last.len(), last) >= (key.len(), key)) {
            return Err(reader.fail("has keys that do not ascend"));
        }
        last = Some(key);
        entries.push((key.to_owned(), read(reader, depth)?));
    }
    Ok(entries.into())
}

fn read_simple(reader: &mut Reader<'_>, info: u8) -> Result<Value, Malformed> {
    let (raw, value): (&[u8], f64) = match info {
        20 => return Ok(Value::Bool(false)),
        21 => return Ok(Value::Bool(true)),
        22 => return Ok(Value::Null),
        25 => {
            let raw = reader.array()?;
            (raw, float_of_half(u16::from_be_bytes(*raw)))
        }
        26 => {
            let raw = reader.array()?;
            (raw, f64::from(f32::from_be_bytes(*raw)))
        }
        27 => {
            let raw = reader.array()?;
            (raw, f64::from_be_bytes(*raw))
        }
        _ => return Err(reader.fail("has a simple value other than false, true and null")),
    };
    // The shortest form and the one NaN: whatever would be written otherwise is refused.
    let mut ours = Vec::with_capacity(9);
    write_float(&mut ours, value);
    if ours.get(1..) != Some(raw) {
        return Err(reader.fail("has a float that is not in its one form"));
    }
    Ok(Value::F64(value))
}

fn read_argument(reader: &mut Reader<'_>, info: u8) -> Result<u64, Malformed> {
    let (n, least) = match info {
        0..24 => return Ok(u64::from(info)),
        24 => (u64::from(reader.u8()?), 24),
        25 => (u64::from(reader.u16()?), 1 << 8),
        26 => (u64::from(reader.u32()?), 1 << 16),
        27 => (reader.u64()?, 1 << 32),
        _ => return Err(reader.fail("has a reserved or indefinite length")),
    };
    if n < least { Err(reader.fail("has a number in a longer form than needed")) } else { Ok(n) }
}

fn take<'a>(reader: &mut Reader<'a>, len: u64) -> Result<&'a [u8], Malformed> {
    reader.take(usize::try_from(len).unwrap_or(usize::MAX))
}

fn text<'a>(reader: &mut Reader<'a>, len: u64) -> Result<&'a str, Malformed> {
    std::str::from_utf8(take(reader, len)?).map_err(|_| Malformed::new(WHAT, "has text that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).expect("is hex")).collect()
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<u64>().prop_map(Value::U64),
            (0_u64..300).prop_map(Value::U64),
            (i64::MIN..0).prop_map(Value::I64),
            any::<f64>().prop_filter("NaN is not equal to itself", |v| !v.is_nan()).prop_map(Value::F64),
            any::<f32>().prop_filter("NaN is not equal to itself", |v| !v.is_nan()).prop_map(|v| Value::F64(v.into())),
            any::<u16>().prop_map(float_of_half).prop_filter("NaN", |v| !v.is_nan()).prop_map(Value::F64),
            ".{0,30}".prop_map(Value::Text),
            proptest::collection::vec(any::<u8>(), 0..30).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(5, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
                proptest::collection::btree_map(".{0,5}", inner, 0..24)
                    .prop_map(|map| Value::Map(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_survive_the_round_trip(value in any_value()) {
            let mut bytes = Vec::new();
            encode(&mut bytes, &value).expect("is not deep");
            prop_assert_eq!(decode(&bytes).expect("decodes"), value);
        }

        #[test]
        fn what_is_read_is_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Ok(value) = decode(&bytes) {
                let mut again = Vec::new();
                encode(&mut again, &value).expect("was not deep");
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn the_examples_of_rfc_8949_appendix_a_agree() {
        for (text, value) in [
            ("00", Value::U64(0)),
            ("17", Value::U64(23)),
            ("1818", Value::U64(24)),
            ("1903e8", Value::U64(1_000)),
            ("1a000f4240", Value::U64(1_000_000)),
            ("1b000000e8d4a51000", Value::U64(1_000_000_000_000)),
            ("1bffffffffffffffff", Value::U64(u64::MAX)),
            ("20", Value::I64(-1)),
            ("3903e7", Value::I64(-1_000)),
            ("3b7fffffffffffffff", Value::I64(i64::MIN)),
            ("f90000", Value::F64(0.0)),
            ("f98000", Value::F64(-0.0)),
            ("f93c00", Value::F64(1.0)),
            ("fb3ff199999999999a", Value::F64(1.1)),
            ("f97bff", Value::F64(65_504.0)),
            ("fa47c35000", Value::F64(100_000.0)),
            ("fa7f7fffff", Value::F64(3.402_823_466_385_288_6e38)),
            ("fb7e37e43c8800759c", Value::F64(1.0e300)),
            ("f90001", Value::F64(5.960_464_477_539_063e-8)),
            ("f90400", Value::F64(0.000_061_035_156_25)),
            ("f9c400", Value::F64(-4.0)),
            ("f97c00", Value::F64(f64::INFINITY)),
            ("f9fc00", Value::F64(f64::NEG_INFINITY)),
            ("f4", Value::Bool(false)),
            ("f5", Value::Bool(true)),
            ("f6", Value::Null),
            ("4401020304", Value::Bytes(vec![1, 2, 3, 4])),
            ("62c3bc", Value::from("\u{fc}")),
            ("83010203", Value::List(vec![Value::U64(1), Value::U64(2), Value::U64(3)])),
            (
                "a26161016162820203",
                Value::Map(
                    [
                        ("a".to_owned(), Value::U64(1)),
                        ("b".to_owned(), Value::List(vec![Value::U64(2), Value::U64(3)])),
                    ]
                    .into(),
                ),
            ),
            // Shorter keys come first, whatever their letters.
            ("a2617a00626161f6", Value::Map([("aa".to_owned(), Value::Null), ("z".to_owned(), Value::U64(0))].into())),
        ] {
            let mut bytes = Vec::new();
            encode(&mut bytes, &value).expect("encodes");
            assert_eq!(bytes, hex(text), "{text}");
            assert_eq!(decode(&bytes), Ok(value), "{text}");
        }
        let mut nan = Vec::new();
        encode(&mut nan, &Value::F64(f64::NAN)).expect("encodes");
        encode(&mut nan, &Value::I64(7)).expect("encodes");
        assert_eq!(nan, hex("f97e0007"));
        assert!(matches!(decode(&hex("f97e00")), Ok(Value::F64(v)) if v.is_nan()));
    }

    #[test]
    fn other_forms_of_the_same_value_are_refused() {
        for (text, why) in [
            ("", "ends too early"),
            ("1800", "has a number in a longer form than needed"),
            ("190017", "has a number in a longer form than needed"),
            ("1a0000ffff", "has a number in a longer form than needed"),
            ("1b00000000ffffffff", "has a number in a longer form than needed"),
            ("1c", "has a reserved or indefinite length"),
            ("9fff", "has a reserved or indefinite length"),
            ("3b8000000000000000", "has a number below the least of 64 bits"),
            ("c000", "has a tag"),
            ("f7", "has a simple value other than false, true and null"),
            ("f820", "has a simple value other than false, true and null"),
            ("f97e01", "has a float that is not in its one form"),
            ("fa3f800000", "has a float that is not in its one form"),
            ("fa7fc00000", "has a float that is not in its one form"),
            ("fb3ff0000000000000", "has a float that is not in its one form"),
            ("fb0000000000000001", ""),
            ("61ff", "has text that is not UTF-8"),
            ("62", "ends too early"),
            ("5bffffffffffffffff", "ends too early"),
            ("9bffffffffffffffff", "ends too early"),
            ("a10000", "has a key that is not text"),
            ("a2616100616100", "has keys that do not ascend"),
            ("a262616100617a00", "has keys that do not ascend"),
            ("0000", "has trailing bytes"),
        ] {
            let result = decode(&hex(text));
            if why.is_empty() {
                assert!(result.is_ok(), "{text}");
            } else {
                assert_eq!(result, Err(Malformed::new(WHAT, why)), "{text}");
            }
        }
    }

    #[test]
    fn nesting_has_a_bound_on_both_sides() {
        let nest = |depth: usize| (0..depth).fold(Value::Null, |inner, _| Value::List(vec![inner]));
        let mut bytes = Vec::new();
        encode(&mut bytes, &nest(VALUE_DEPTH_MAX)).expect("is at the bound");
        assert!(decode(&bytes).is_ok());
        assert!(encode(&mut Vec::new(), &nest(VALUE_DEPTH_MAX + 1)).is_err());
        assert!(encode(&mut Vec::new(), &Value::Map([("a".to_owned(), nest(VALUE_DEPTH_MAX))].into())).is_err());
        bytes.insert(0, 0x81);
        assert_eq!(decode(&bytes), Err(Malformed::new(WHAT, "is nested too deeply")));
        assert_eq!(decode(&vec![0x81; 100_000]), Err(Malformed::new(WHAT, "is nested too deeply")));
    }
}
