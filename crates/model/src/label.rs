//! Labels: sorted names and values, in the Prometheus data model.

use std::collections::BTreeMap;

/// Names and values in ascending order of name: what identifies an alert.
pub type Labels = BTreeMap<String, String>;

/// What labels can do in Prometheus' model.
pub trait LabelSet {
    /// Returns the value of `name`, or the empty string: an absent label equals an empty one.
    fn value(&self, name: &str) -> &str;

    /// Returns `{a="1", b="2"}`, values escaped, in a stable order.
    fn text(&self) -> String;

    /// Returns the 64-bit FNV-1a hash of names and values as Prometheus computes it (`model/fnv.go`,
    /// `labelSetToFingerprint`), so that `amtool` shows the fingerprints it expects.
    fn fingerprint(&self) -> u64;
}

impl LabelSet for Labels {
    fn value(&self, name: &str) -> &str {
        self.get(name).map_or("", String::as_str)
    }

    fn text(&self) -> String {
        let body: Vec<String> = self
            .iter()
            .map(|(name, value)| {
                format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
            })
            .collect();
        format!("{{{}}}", body.join(", "))
    }

    fn fingerprint(&self) -> u64 {
        const SEPARATOR: u8 = 0xFF;
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |byte: u8| {
            hash ^= u64::from(byte);
            hash = hash.wrapping_mul(0x0100_0000_01b3);
        };
        for (name, value) in self {
            name.bytes().for_each(&mut add);
            add(SEPARATOR);
            value.bytes().for_each(&mut add);
            add(SEPARATOR);
        }
        hash
    }
}

/// Tells whether `name` may name a label: `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_escapes_and_orders() {
        let labels = Labels::from([("b".into(), "x\"y\\\n".into()), ("a".into(), "1".into())]);
        assert_eq!(labels.text(), r#"{a="1", b="x\"y\\\n"}"#);
        assert_eq!((labels.value("a"), labels.value("z")), ("1", ""));
    }

    #[test]
    fn fingerprints_are_those_of_prometheus() {
        // common/model/signature_test.go: the empty set is the FNV offset.
        assert_eq!(Labels::new().fingerprint(), 14_695_981_039_346_656_037);
        let labels =
            Labels::from([("name".into(), "garland, briggs".into()), ("fear".into(), "love is not enough".into())]);
        assert_eq!(labels.fingerprint(), 5_799_056_148_416_392_346);
    }

    #[test]
    fn label_names_follow_the_grammar() {
        assert!(is_label_name("_a1"));
        for bad in ["", "1a", "a-b", "é"] {
            assert!(!is_label_name(bad), "{bad}");
        }
    }
}
