//! One typed value of a field, as the ledger commits to it.

use crate::map::Map;

/// A typed value. Maps and lists are encoded as deterministic CBOR (RFC 8949 section 4.2.1) where bytes are needed.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value: only inside maps and lists.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number from 0.
    U64(u64),
    /// A whole number below 0 (or any that a schema declares signed).
    I64(i64),
    /// A binary64 number; all NaN are one.
    F64(f64),
    /// UTF-8 text, unchanged.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name.
    Map(Map),
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(bool) => Self::Bool(bool),
            serde_json::Value::Number(number) => number
                .as_u64()
                .map(Self::U64)
                .or_else(|| number.as_i64().map(Self::I64))
                .unwrap_or_else(|| Self::F64(number.as_f64().unwrap_or(f64::NAN))),
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(map) => Self::Map(map.into_iter().map(|(k, v)| (k, Self::from(v))).collect()),
        }
    }
}

impl From<Value> for serde_json::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(bool) => Self::Bool(bool),
            Value::U64(n) => n.into(),
            Value::I64(n) => n.into(),
            Value::F64(n) => serde_json::Number::from_f64(n).map_or(Self::Null, Self::Number),
            Value::Text(text) => Self::String(text),
            // JSON has no bytes; hexadecimal keeps them readable and loses nothing.
            Value::Bytes(bytes) => Self::String(bytes.iter().map(|b| format!("{b:02x}")).collect()),
            Value::List(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Value::Map(map) => Self::Object(map.into_iter().map(|(k, v)| (k, Self::from(v))).collect()),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_become_hexadecimal_and_nan_becomes_null() {
        assert_eq!(serde_json::Value::from(Value::Bytes(vec![0, 255])), serde_json::json!("00ff"));
        assert_eq!(serde_json::Value::from(Value::F64(f64::NAN)), serde_json::Value::Null);
    }

    proptest! {
        #[test]
        fn json_survives_the_round_trip(n in any::<i64>(), u in any::<u64>(), t in ".*", b in any::<bool>(), f in -1e9..1e9) {
            let json = serde_json::json!({"n": n, "u": u, "t": [t, null], "b": {"b": b}, "f": f});
            let back = serde_json::Value::from(Value::from(json.clone()));
            prop_assert_eq!(back, json);
        }
    }
}
