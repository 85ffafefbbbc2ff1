//! YAML text → [`Node`] tree, from the parser's events, because only events say where duplicate keys and aliases stand.
//!
//! Bounds hold before anything is built: bytes, depth, and the number of nodes after aliases are expanded, so that a
//! "billion laughs" file ends as a problem with a place.

use std::collections::HashMap;

use model::config::{Node, Problem, Span, Tree};
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

/// Largest configuration file.
pub(crate) const FILE_BYTES_MAX: usize = 16 << 20;
/// Deepest nesting.
const DEPTH_MAX: usize = 64;
/// Most nodes.
const NODES_MAX: usize = 4 << 20;
/// Most nodes that anchors keep and aliases repeat.
const REPEATED_NODES_MAX: usize = 1 << 18;

/// Reads one document that must be without fault. An empty file is an empty map.
///
/// # Errors
/// All problems of [`read`].
pub(crate) fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    match read(text) {
        (Some(root), problems) if problems.is_empty() => Ok(root),
        (_, problems) => Err(problems),
    }
}

/// Reads one document as far as it can be understood: a duplicate key or an unknown tag keeps nobody from looking at the
/// rest. There is no tree where the text stops being YAML, or exceeds a bound.
pub(crate) fn read(text: &str) -> (Option<Node>, Vec<Problem>) {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file exceeds {FILE_BYTES_MAX} bytes");
        return (None, vec![problem(Span { line: 1, column: 1 }, "", message)]);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    let fatal = builder.run(&mut parser).err();
    let whole = fatal.is_none();
    builder.problems.extend(fatal);
    builder.problems.sort();
    let empty = Node { span: Span { line: 1, column: 1 }, tree: Tree::Map(Vec::new()) };
    let root = builder.root.filter(|root| root.tree != Tree::Null).unwrap_or(empty);
    (whole.then_some(root), builder.problems)
}

fn problem(span: Span, path: &str, message: impl Into<String>) -> Problem {
    Problem { span, path: path.to_owned(), message: message.into(), suggestion: None }
}

fn advised(span: Span, path: &str, message: String, suggestion: &str) -> Problem {
    Problem { suggestion: Some(suggestion.to_owned()), ..problem(span, path, message) }
}

/// A collection that is not complete yet.
struct Open {
    span: Span,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<(String, Span, Node)>, key: Option<(String, Span)>, merged: Vec<Node> },
}

#[derive(Default)]
struct Builder {
    stack: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    root: Option<Node>,
    nodes: usize,
    repeated: usize,
    documents: usize,
    problems: Vec<Problem>,
}

impl Builder {
    fn run<'input>(&mut self, parser: &mut Parser<'input, StrInput<'input>>) -> Result<(), Problem> {
        while let Some(event) = parser.next_event() {
            let (event, place) = event.map_err(|error| {
                problem(span_of(error.marker()), &self.path(), format!("cannot be read as YAML: {}", error.info()))
            })?;
            self.take(event, span_of(&place.start))?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(problem(span, "", "a second document starts here, expected one per file"));
                }
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                let tree = self.scalar(&text, style, tag.as_deref(), span);
                self.complete(Node { span, tree }, anchor, 1, Some(&text))
            }
            Event::SequenceStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", span);
                self.open(Open { span, anchor, items: Items::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", span);
                let items = Items::Map { entries: Vec::new(), key: None, merged: Vec::new() };
                self.open(Open { span, anchor, items })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn open(&mut self, open: Open) -> Result<(), Problem> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(problem(open.span, &self.path(), format!("nested deeper than {DEPTH_MAX} levels")));
        }
        if let Some(Open { items: Items::Map { key: None, .. }, .. }) = self.stack.last() {
            return Err(problem(open.span, &self.path(), "a key is a list or a map, expected text"));
        }
        self.stack.push(open);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let Some(Open { span, anchor, items }) = self.stack.pop() else { return Ok(()) };
        let tree = match items {
            Items::List(items) => Tree::List(items),
            Items::Map { entries, merged, .. } => Tree::Map(self.merge(entries, merged)),
        };
        let node = Node { span, tree };
        let weight = if anchor == 0 { 1 } else { weigh(&node) };
        self.complete(node, anchor, weight, None)
    }

    /// `<<` gives keys that the map does not set itself; of several sources the first wins (YAML 1.1 merge key).
    fn merge(&mut self, mut entries: Vec<(String, Span, Node)>, merged: Vec<Node>) -> Vec<(String, Span, Node)> {
        let mut sources = Vec::new();
        for node in merged {
            match node.tree {
                Tree::List(items) => sources.extend(items),
                _ => sources.push(node),
            }
        }
        for source in sources {
            let Tree::Map(more) = source.tree else {
                self.problems.push(problem(source.span, &self.path(), "expected a map to merge after <<"));
                continue;
            };
            for entry in more {
                if !entries.iter().any(|(key, _, _)| *key == entry.0) {
                    entries.push(entry);
                }
            }
        }
        entries
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Problem> {
        let Some(weight) = self.anchors.get(&anchor).map(|(_, weight)| *weight) else {
            return Err(problem(span, &self.path(), "an alias to what contains it"));
        };
        // Weighed before it is copied: the bound holds on what would be built.
        self.repeat(weight, span)?;
        match self.anchors.get(&anchor).cloned() {
            Some((node, weight)) => self.complete(node, 0, weight, None),
            None => Ok(()),
        }
    }

    fn repeat(&mut self, weight: usize, span: Span) -> Result<(), Problem> {
        self.repeated = self.repeated.saturating_add(weight);
        if self.repeated > REPEATED_NODES_MAX {
            let message = format!("anchors and aliases repeat more than {REPEATED_NODES_MAX} nodes");
            return Err(problem(span, &self.path(), message));
        }
        Ok(())
    }

    /// Puts a finished node where it belongs: as a key, a value, an item, or the root.
    fn complete(&mut self, node: Node, anchor: usize, weight: usize, text: Option<&str>) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(weight);
        if self.nodes > NODES_MAX {
            return Err(problem(node.span, &self.path(), format!("more than {NODES_MAX} nodes")));
        }
        if anchor != 0 {
            self.repeat(weight, node.span)?;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        match self.stack.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Map { entries, key, merged }) => match key.take() {
                None => {
                    let name = match (&node.tree, text) {
                        (Tree::Text(name), _) => name.clone(),
                        // `404:` and `true:` are keys as they are written.
                        (Tree::List(_) | Tree::Map(_), _) | (_, None) => {
                            return Err(problem(node.span, &self.path(), "a key is not text"));
                        }
                        (_, Some(text)) => text.to_owned(),
                    };
                    let first = entries.iter().find(|(known, _, _)| *known == name).map(|(_, span, _)| *span);
                    *key = Some((name.clone(), node.span));
                    if let Some(first) = first {
                        let path = self.path();
                        let message = format!("the key stands here twice, first in line {}", first.line);
                        self.problems.push(advised(node.span, &path, message, "keep one of them"));
                    }
                }
                Some((name, _)) if name == "<<" => merged.push(node),
                Some((name, span)) => entries.push((name, span, node)),
            },
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Tree {
        match tag {
            None if style == ScalarStyle::Plain => plain(text),
            None => Tree::Text(text.to_owned()),
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Tree::Text(text.to_owned()),
            Some(tag) if tag.is_yaml_core_schema() => plain(text),
            Some(tag) => {
                let message = format!("unknown tag {tag}, expected none");
                self.problems.push(advised(span, &self.path(), message, "remove the tag"));
                plain(text)
            }
        }
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, expected: &str, span: Span) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == expected)
        {
            let message = format!("unknown tag {tag}, expected none");
            self.problems.push(advised(span, &self.path(), message, "remove the tag"));
        }
    }

    /// The dotted path of what is being read.
    fn path(&self) -> String {
        let parts: Vec<String> = self
            .stack
            .iter()
            .filter_map(|open| match &open.items {
                Items::List(items) => Some(items.len().to_string()),
                Items::Map { key, .. } => key.as_ref().map(|(name, _)| name.clone()),
            })
            .collect();
        parts.join(".")
    }
}

fn span_of(marker: &saphyr_parser::Marker) -> Span {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span { line: number(marker.line()).max(1), column: number(marker.col()).saturating_add(1) }
}

fn weigh(node: &Node) -> usize {
    match &node.tree {
        Tree::List(items) => items.iter().map(weigh).fold(1, usize::saturating_add),
        Tree::Map(entries) => entries.iter().map(|(_, _, node)| weigh(node)).fold(1, usize::saturating_add),
        _ => 1,
    }
}

/// Reads an unquoted scalar by the core schema of YAML 1.2: `yes` and `on` are text.
fn plain(text: &str) -> Tree {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Tree::Null,
        "true" | "True" | "TRUE" => return Tree::Bool(true),
        "false" | "False" | "FALSE" => return Tree::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Tree::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Tree::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Tree::Float(f64::NAN),
        _ => {}
    }
    let radix =
        |digits: &str, radix| i64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with(['+', '-']));
    if let Some(int) = text.strip_prefix("0x").and_then(|digits| radix(digits, 16)) {
        return Tree::Int(int);
    }
    if let Some(int) = text.strip_prefix("0o").and_then(|digits| radix(digits, 8)) {
        return Tree::Int(int);
    }
    if let Ok(int) = text.parse::<i64>() {
        return Tree::Int(int);
    }
    let numeric = text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse::<f64>() {
        Ok(float) if numeric => Tree::Float(float),
        _ => Tree::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> serde_json::Value {
        parse(text).map_err(|problems| format!("{problems:?}")).expect("reads").to_json()
    }

    fn problems(text: &str) -> Vec<String> {
        parse(text).expect_err("must be refused").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        for (text, expected) in [
            ("~", serde_json::Value::Null),
            ("TRUE", true.into()),
            ("false", false.into()),
            ("yes", "yes".into()),
            ("0x1F", 31.into()),
            ("0o17", 15.into()),
            ("0x-1", "0x-1".into()),
            ("-7", (-7).into()),
            ("1.5e3", 1500.0.into()),
            ("99999999999999999999", 1e20.into()),
            ("1.2.3.4", "1.2.3.4".into()),
            ("e", "e".into()),
            ("30s", "30s".into()),
            ("'12'", "12".into()),
            ("!!str 12", "12".into()),
            ("!!int 12", 12.into()),
        ] {
            assert_eq!(json(&format!("a: {text}"))["a"], expected, "{text}");
        }
        for (text, float) in [(".inf", f64::INFINITY), ("-.inf", f64::NEG_INFINITY)] {
            assert_eq!(plain(text), Tree::Float(float));
        }
        assert!(matches!(plain(".nan"), Tree::Float(nan) if nan.is_nan()));
    }

    #[test]
    fn places_count_from_one_in_characters() {
        let node = parse("é: x\nb:\n  - ü: 1\n").expect("reads");
        assert_eq!(node.at("é").map(|n| n.span), Some(Span { line: 1, column: 4 }));
        assert_eq!(node.at("b.0.ü").map(|n| n.span), Some(Span { line: 3, column: 8 }));
        let Tree::Map(entries) = &node.tree else { panic!("expected a map") };
        assert_eq!(entries.iter().map(|(k, s, _)| (k.as_str(), s.line)).collect::<Vec<_>>(), [("é", 1), ("b", 2)]);
    }

    #[test]
    fn empty_files_are_empty_maps() {
        for text in ["", "# only a comment\n", "---\n", "\u{feff}", "~"] {
            assert_eq!(json(text), serde_json::json!({}), "{text:?}");
        }
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let text = "base: &b {interval: 30s, timeout: 5s}\na:\n  <<: *b\n  timeout: 1s\nc: {<<: [*b, {x: 1}]}\nd: *b\n";
        assert_eq!(
            json(text),
            serde_json::json!({
                "base": {"interval": "30s", "timeout": "5s"},
                "a": {"timeout": "1s", "interval": "30s"},
                "c": {"interval": "30s", "timeout": "5s", "x": 1},
                "d": {"interval": "30s", "timeout": "5s"},
            })
        );
        assert_eq!(json("404: a\ntrue: b")["404"], "a");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert_eq!(
            problems("a: 1\nb: {c: 1, c: 2}\na: 2\n"),
            [
                "2:11: b.c: the key stands here twice, first in line 2 (keep one of them)",
                "3:1: a: the key stands here twice, first in line 1 (keep one of them)"
            ]
        );
        for (text, place, expected) in [
            ("a: !custom 1", "1:4: a:", "unknown tag"),
            ("a: !custom [1]", "1:4: a:", "unknown tag"),
            ("a: 1\n---\nb: 1", "2:1:", "second document"),
            ("a:\n\t- b", "2:", "YAML"),
            ("a: *nothing", "1:4:", "YAML"),
            ("a: {<<: 1}", "1:9:", "expected a map to merge"),
            ("a: &x [*x]", "1:8:", "alias to what contains it"),
            ("{[1]: 2}", "1:2:", "a key is a list or a map"),
            ("x: &x [1]\n*x : 1", "1:4:", "a key is not text"),
            ("a: 'b", "", "YAML"),
        ] {
            let all = problems(text).join("\n");
            assert!(all.starts_with(place) && all.contains(expected), "{text:?}: {all}");
        }
    }

    #[test]
    fn depth_size_and_laughter_are_bounded() {
        let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
        assert!(problems(&deep)[0].contains("nested deeper"), "{:?}", problems(&deep));
        let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let list = vec![format!("*a{}", i - 1); 10].join(",");
            laughs.push_str(&format!("a{i}: &a{i} [{list}]\n"));
        }
        assert!(problems(&laughs)[0].contains("nodes"), "{:?}", problems(&laughs));
        assert!(problems(&" ".repeat(FILE_BYTES_MAX + 1))[0].contains("exceeds"));
    }
}
