//! Walks a tree of nodes and remembers every problem with its place.

use std::time::Duration;

use model::config::{Node, Problem, Span, Tree, parse_duration};

use super::Implicit;

/// Reads nodes; what is wrong is remembered and read as absent, so that reading goes on.
#[derive(Default)]
pub(super) struct Reader {
    problems: Vec<Problem>,
    pub(super) implicit: Vec<Implicit>,
}

/// An object's keys, and where it stands.
pub(super) struct Object<'a> {
    pub(super) path: String,
    pub(super) span: Span,
    entries: &'a [(String, Span, Node)],
}

impl<'a> Object<'a> {
    /// Returns the node under `key`, unless it is null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(k, _, node)| k == key && node.tree != Tree::Null).map(|(_, _, node)| node)
    }

    pub(super) fn entries(&self) -> &'a [(String, Span, Node)] {
        self.entries
    }

    pub(super) fn below(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }
}

impl Reader {
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Implicit>) {
        (self.problems, self.implicit)
    }

    pub(super) fn report(&mut self, span: Span, path: &str, message: impl Into<String>, suggestion: Option<String>) {
        self.problems.push(Problem { span, path: path.to_owned(), message: message.into(), suggestion });
    }

    /// Takes a node for an object, and refuses the keys that are neither `known` nor, by their own words, `later`.
    pub(super) fn object<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        known: &[&str],
        later: &[&str],
    ) -> Option<Object<'a>> {
        let object = self.map(node, path)?;
        for (key, span, _) in object.entries {
            let below = object.below(key);
            if later.contains(&key.as_str()) {
                self.report(*span, &below, format!("{key} is not supported yet"), Some("remove the key".to_owned()));
            } else if !known.contains(&key.as_str()) {
                let suggestion = nearest(key, known).map(|near| format!("did you mean {near}?"));
                let suggestion = suggestion.or_else(|| Some("remove the key".to_owned()));
                self.report(*span, &below, format!("unknown key, expected one of {}", known.join(", ")), suggestion);
            }
        }
        Some(object)
    }

    /// Takes a node for an object with any keys.
    pub(super) fn map<'a>(&mut self, node: &'a Node, path: &str) -> Option<Object<'a>> {
        if let Tree::Map(entries) = &node.tree {
            Some(Object { path: path.to_owned(), span: node.span, entries })
        } else {
            self.report(node.span, path, "expected keys with values", Some("write {KEY: VALUE}".to_owned()));
            None
        }
    }

    pub(super) fn list<'a>(&mut self, object: &Object<'a>, key: &str) -> &'a [Node] {
        match object.get(key).map(|node| (&node.tree, node.span)) {
            None => &[],
            Some((Tree::List(items), _)) => items,
            Some((_, span)) => {
                self.report(span, &object.below(key), "expected a list", Some("start each item with a dash".into()));
                &[]
            }
        }
    }

    pub(super) fn text(&mut self, object: &Object<'_>, key: &str) -> Option<String> {
        let node = object.get(key)?;
        self.scalar(node, &object.below(key))
    }

    /// Reads a scalar as Go's YAML reader gives a string: a number is its text.
    pub(super) fn scalar(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.tree {
            Tree::Text(text) => Some(text.clone()),
            Tree::Int(int) => Some(int.to_string()),
            Tree::Float(float) => Some(float.to_string()),
            Tree::Bool(bool) => Some(bool.to_string()),
            Tree::Null | Tree::List(_) | Tree::Map(_) => {
                self.report(node.span, path, "expected text", Some("write one text".to_owned()));
                None
            }
        }
    }

    pub(super) fn bool(&mut self, object: &Object<'_>, key: &str) -> Option<bool> {
        let node = object.get(key)?;
        if let Tree::Bool(bool) = node.tree {
            return Some(bool);
        }
        self.report(node.span, &object.below(key), "expected true or false", Some("write true".to_owned()));
        None
    }

    pub(super) fn duration(&mut self, object: &Object<'_>, key: &str) -> Option<Duration> {
        let node = object.get(key)?;
        let found = match &node.tree {
            Tree::Text(text) => parse_duration(text).ok(),
            Tree::Int(0) => Some(Duration::ZERO),
            _ => None,
        };
        if found.is_none() {
            let suggestion = Some("write a number and a unit such as 30s, 5m or 4h".to_owned());
            self.report(node.span, &object.below(key), "expected a duration", suggestion);
        }
        found
    }

    /// Reads a duration that must not be nothing.
    pub(super) fn interval(&mut self, object: &Object<'_>, key: &str) -> Option<Duration> {
        let found = self.duration(object, key)?;
        if found.is_zero() {
            let span = object.get(key).map_or(object.span, |node| node.span);
            self.report(
                span,
                &object.below(key),
                format!("{key} cannot be zero"),
                Some("write a number and a unit such as 5m".to_owned()),
            );
            return None;
        }
        Some(found)
    }
}

/// Returns the one of `words` that `word` was most likely meant to be, if it is near.
pub(crate) fn nearest<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    words.iter().map(|known| (distance(word, known), *known)).min().filter(|(far, _)| *far <= 2).map(|(_, near)| near)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
