//! RFC 5424's structured data: `[id name="value" ...]`, one behind the other, or `-`.

use std::collections::BTreeMap;

use model::Value;

/// Reads structured data and returns what is behind it: elements by id, each with its values by name. A name that comes
/// twice, which the RFC allows, has a list.
pub(super) fn read(text: &str) -> Result<(BTreeMap<String, Value>, &str), &'static str> {
    const EXPECTED: &str = "expected structured data as in RFC 5424, or -";
    let mut elements = BTreeMap::new();
    if let Some(rest) = text.strip_prefix('-') {
        return if rest.is_empty() || rest.starts_with(' ') { Ok((elements, rest)) } else { Err(EXPECTED) };
    }
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix('[') {
        let end = inner.find([' ', ']']).filter(|end| *end > 0).ok_or(EXPECTED)?;
        let (id, mut tail) = inner.split_at_checked(end).ok_or(EXPECTED)?;
        let mut values = BTreeMap::new();
        rest = loop {
            tail = tail.trim_start_matches(' ');
            if let Some(rest) = tail.strip_prefix(']') {
                break rest;
            }
            let (name, quoted) = tail.split_once("=\"").ok_or(EXPECTED)?;
            if name.is_empty() || name.contains([' ', ']', '"']) {
                return Err(EXPECTED);
            }
            let (value, behind) = unquote(quoted).ok_or(EXPECTED)?;
            add(&mut values, name, value);
            tail = behind;
        };
        elements.insert(id.to_owned(), Value::Map(values.into_iter().collect()));
    }
    if elements.is_empty() { Err(EXPECTED) } else { Ok((elements, rest)) }
}

fn add(values: &mut BTreeMap<String, Value>, name: &str, value: String) {
    match values.get_mut(name) {
        None => {
            values.insert(name.to_owned(), Value::Text(value));
        }
        Some(Value::List(list)) => list.push(Value::Text(value)),
        Some(one) => *one = Value::List(vec![one.clone(), Value::Text(value)]),
    }
}

/// Reads up to the quote that is not escaped. A backslash before anything but a quote, a backslash or a bracket stands for
/// itself, as the RFC says.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\' | ']'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => return None,
            },
            other => value.push(other),
        }
    }
    None
}
