//! Holds a configuration tree against the tables of the crates and finds everything that is wrong at once.
//!
//! What comes out is the same tree in one spelling: references replaced, paths absolute, words of an enumeration as
//! the table writes them. Messages never repeat a value that came through a reference.

use std::path::Path;

use model::config::{FieldSpec, Node, Problem, Span, Spec, Tree, Ty, parse_duration, parse_size};
use model::limits;

use super::reference::{self, Resolved, Sources};
use super::suggest::nearest;

/// How a problem about a secret that stands in the open begins: its line is not shown.
pub(crate) const SECRET_IN_THE_OPEN: &str = "a secret stands in the open";

/// Validates `node` as `ty` and returns it in one spelling. `base` is the directory of the file.
pub(crate) fn validate(
    node: &Node,
    ty: &Ty,
    path: &str,
    base: &Path,
    sources: &dyn Sources,
    problems: &mut Vec<Problem>,
) -> Node {
    Validator { base, sources, problems }.value(node, ty, path, node.span)
}

struct Validator<'a> {
    base: &'a Path,
    sources: &'a dyn Sources,
    problems: &'a mut Vec<Problem>,
}

/// A text after references, and whether it may be shown.
struct Text {
    value: String,
    shown: bool,
    whole_reference: bool,
}

impl Validator<'_> {
    fn report(&mut self, span: Span, path: &str, message: impl Into<String>, suggestion: Option<String>) {
        self.problems.push(Problem { span, path: path.to_owned(), message: message.into(), suggestion });
    }

    /// `at` is where people look for the value: its key, where it has one.
    fn value(&mut self, node: &Node, ty: &Ty, path: &str, at: Span) -> Node {
        let tree = match ty {
            Ty::List(item) => self.list(node, item, path),
            Ty::OneOrMore(item) => match &node.tree {
                Tree::List(_) => self.list(node, item, path),
                _ => return self.value(node, item, path, at),
            },
            Ty::Map(item) => self.map(node, item, path),
            Ty::Object(spec) => self.object(node, spec.fields, path, at),
            Ty::Tagged { tag, common, variants } => self.tagged(node, (tag, common, variants), path, at),
            Ty::Any => return self.any(node, path),
            _ => self.scalar(node, ty, path),
        };
        Node { span: node.span, tree }
    }

    fn list(&mut self, node: &Node, item: &Ty, path: &str) -> Tree {
        match &node.tree {
            Tree::Null => Tree::List(Vec::new()),
            Tree::List(items) => Tree::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, node)| {
                        let value = self.value(node, item, &join(path, &i.to_string()), node.span);
                        or_stand_in(value, item)
                    })
                    .collect(),
            ),
            other => {
                let suggestion = Some("start each item with a dash".to_owned());
                self.report(node.span, path, format!("expected a list, found {}", kind_of(other)), suggestion);
                Tree::List(Vec::new())
            }
        }
    }

    fn map(&mut self, node: &Node, item: &Ty, path: &str) -> Tree {
        let entries = match &node.tree {
            Tree::Null => return Tree::Map(Vec::new()),
            Tree::Map(entries) => entries,
            other => {
                let message = format!("expected names with values, found {}", kind_of(other));
                self.report(node.span, path, message, Some("write {NAME: VALUE}".to_owned()));
                return Tree::Map(Vec::new());
            }
        };
        if entries.len() > limits::CHECKS_MAX {
            self.report(node.span, path, format!("more than {} entries", limits::CHECKS_MAX), None);
        }
        let mut out = Vec::with_capacity(entries.len());
        for (key, span, node) in entries {
            let path = join(path, key);
            if key.is_empty() || key.len() > limits::NAME_BYTES_MAX || key.chars().any(char::is_control) {
                let message = format!("expected a name of 1 to {} bytes", limits::NAME_BYTES_MAX);
                self.report(*span, &path, message, Some("write a name such as web-1".to_owned()));
            }
            let value = self.value(node, item, &path, *span);
            out.push((key.clone(), *span, or_stand_in(value, item)));
        }
        Tree::Map(out)
    }

    fn object(&mut self, node: &Node, fields: &'static [FieldSpec], path: &str, at: Span) -> Tree {
        let fields: Vec<&FieldSpec> = fields.iter().collect();
        self.fields(node, &fields, &[], path, at)
    }

    /// `tolerated` are keys that another variant knows: reported elsewhere, through the tag.
    fn fields(&mut self, node: &Node, fields: &[&FieldSpec], tolerated: &[&str], path: &str, at: Span) -> Tree {
        let entries: &[(String, Span, Node)] = match &node.tree {
            Tree::Null => &[],
            Tree::Map(entries) => entries,
            other => {
                let message = format!("expected keys with values, found {}", kind_of(other));
                self.report(node.span, path, message, Some("write {KEY: VALUE}".to_owned()));
                return Tree::Map(Vec::new());
            }
        };
        let mut out = Vec::with_capacity(entries.len());
        for (key, span, node) in entries {
            let below = join(path, key);
            match fields.iter().find(|field| field.key == key) {
                Some(field) if node.tree == Tree::Null && !takes_null(&field.ty) => {
                    if field.required {
                        self.report(*span, &below, format!("expected {}, found nothing", describe(&field.ty)), None);
                    }
                }
                Some(field) => {
                    let value = self.value(node, &field.ty, &below, *span);
                    // What could not be used is absent rather than wrong a second time for its owner.
                    if value.tree != Tree::Null || matches!(field.ty, Ty::Any) {
                        out.push((key.clone(), *span, value));
                    }
                }
                None if tolerated.contains(&key.as_str()) => {}
                None => {
                    let known = fields.iter().map(|field| field.key);
                    let suggestion = nearest(key, known.clone()).map(|near| format!("did you mean {near}?"));
                    let suggestion = suggestion.or_else(|| Some("remove the key".to_owned()));
                    let known: Vec<&str> = known.collect();
                    self.report(*span, &below, format!("unknown key, expected {}", words(&known)), suggestion);
                }
            }
        }
        for field in fields.iter().filter(|field| field.required) {
            if !entries.iter().any(|(key, _, _)| key == field.key) {
                let message = format!("the key {} is missing, expected {}", field.key, describe(&field.ty));
                let suggestion = example(&field.ty).map(|example| format!("add `{}: {example}`", field.key));
                self.report(at, &join(path, field.key), message, suggestion);
            }
            if !out.iter().any(|(key, _, _)| key == field.key)
                && let Some(tree) = stand_in(&field.ty)
            {
                out.push((field.key.to_owned(), at, Node { span: at, tree }));
            }
        }
        Tree::Map(out)
    }

    fn tagged(
        &mut self,
        node: &Node,
        (tag, common, variants): (&str, &'static Spec, &'static [(&'static str, &'static Spec)]),
        path: &str,
        at: Span,
    ) -> Tree {
        let words_known: Vec<&str> = variants.iter().map(|(word, _)| *word).collect();
        let mut fields: Vec<&FieldSpec> = common.fields.iter().filter(|field| field.key != tag).collect();
        let word = node.get(tag).and_then(|node| match &node.tree {
            Tree::Text(text) => Some((node.span, text.as_str())),
            _ => None,
        });
        let found = word.and_then(|(_, word)| variants.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)));
        let mut tolerated = vec![tag];
        match (found, word) {
            (Some((_, spec)), _) => fields.extend(spec.fields),
            (None, word) => {
                tolerated.extend(variants.iter().flat_map(|(_, spec)| spec.fields).map(|field| field.key));
                if matches!(node.tree, Tree::Map(_) | Tree::Null) {
                    let span = word.map_or_else(|| node.get(tag).map_or(at, |node| node.span), |(span, _)| span);
                    let suggestion = match word {
                        Some((_, word)) => {
                            nearest(word, words_known.iter().copied()).map(|near| format!("did you mean {near}?"))
                        }
                        None => likely(node, variants).map(|word| format!("add `{tag}: {word}`")),
                    };
                    let suggestion =
                        suggestion.or_else(|| Some(format!("for example `{tag}: {}`", words_known.first()?)));
                    let expected = words(&words_known);
                    let message = match word {
                        Some((_, word)) => format!("unknown {tag} {word}, expected {expected}"),
                        None => format!("the key {tag} is missing, expected {expected}"),
                    };
                    self.report(span, &join(path, tag), message, suggestion);
                }
            }
        }
        let tree = self.fields(node, &fields, &tolerated, path, at);
        match (tree, found, word) {
            (Tree::Map(mut entries), Some((word, _)), Some((span, _))) => {
                entries.insert(0, (tag.to_owned(), span, Node { span, tree: Tree::Text((*word).to_owned()) }));
                Tree::Map(entries)
            }
            (tree, _, _) => tree,
        }
    }

    fn any(&mut self, node: &Node, path: &str) -> Node {
        let tree = match &node.tree {
            Tree::Text(text) => Tree::Text(self.text(text, path, node.span).value),
            Tree::List(items) => Tree::List(
                items.iter().enumerate().map(|(i, node)| self.any(node, &join(path, &i.to_string()))).collect(),
            ),
            Tree::Map(entries) => Tree::Map(
                entries
                    .iter()
                    .map(|(key, span, node)| (key.clone(), *span, self.any(node, &join(path, key))))
                    .collect(),
            ),
            other => other.clone(),
        };
        Node { span: node.span, tree }
    }

    fn text(&mut self, text: &str, path: &str, span: Span) -> Text {
        match reference::resolve(text, self.sources) {
            Ok(Resolved::Literal(value)) => Text { value, shown: true, whole_reference: false },
            Ok(Resolved::Mixed(value)) => Text { value, shown: false, whole_reference: false },
            Ok(Resolved::Whole(value)) => Text { value, shown: false, whole_reference: true },
            Err(broken) => {
                self.report(span, path, broken.why, Some(broken.suggestion));
                Text { value: String::new(), shown: false, whole_reference: true }
            }
        }
    }

    fn scalar(&mut self, node: &Node, ty: &Ty, path: &str) -> Tree {
        let before = self.problems.len();
        let (tree, shown) = match &node.tree {
            Tree::Text(text) => {
                let text = self.text(text, path, node.span);
                if self.problems.len() > before {
                    return Tree::Null;
                }
                if matches!(ty, Ty::Secret) && !text.whole_reference {
                    let suggestion = Some("write ${file:PATH} or ${env:NAME}".to_owned());
                    let message = format!("{SECRET_IN_THE_OPEN}, expected a reference to it");
                    self.report(node.span, path, message, suggestion);
                    return Tree::Null;
                }
                if matches!(ty, Ty::Cel) && !text.shown {
                    // It would be in each result, and in what people are sent.
                    let message = "a condition is shown with its results, so it cannot hold a reference";
                    self.report(node.span, path, message, Some("write the value itself".to_owned()));
                    return Tree::Null;
                }
                (Tree::Text(text.value), text.shown)
            }
            tree => (tree.clone(), true),
        };
        match admit(&tree, ty, self.base) {
            Ok(tree) => tree,
            Err(Wrong { why, suggestion }) => {
                let found = match &tree {
                    Tree::Text(text) if shown && text.chars().count() <= 40 => format!("`{text}`"),
                    Tree::Text(_) if shown => "a longer text".to_owned(),
                    Tree::Text(_) => "another text behind the reference".to_owned(),
                    other => kind_of(other),
                };
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                let message = format!("expected {}, found {found}{why}", describe(ty));
                let suggestion = suggestion.filter(|_| shown).or_else(|| instance(ty));
                self.report(node.span, path, message, suggestion);
                Tree::Null
            }
        }
    }
}

/// Returns the only variant whose required keys are all there, where one is missing its tag.
fn likely(node: &Node, variants: &[(&'static str, &'static Spec)]) -> Option<&'static str> {
    let fits = |spec: &Spec| {
        let mut required = spec.fields.iter().filter(|field| field.required).peekable();
        required.peek().is_some() && required.all(|field| node.get(field.key).is_some())
    };
    let mut fitting = variants.iter().filter(|(_, spec)| fits(spec));
    let (word, _) = fitting.next()?;
    fitting.next().is_none().then_some(*word)
}

/// Returns a value of the type for one that is missing or cannot be used: its owner reads all the rest, so that one problem
/// hides no other. What the owner finds wrong with it is not said, since the tables said it at the same path, and with
/// any problem nothing comes in force.
fn stand_in(ty: &Ty) -> Option<Tree> {
    let text = |text: &str| Tree::Text(text.to_owned());
    Some(match ty {
        Ty::Text | Ty::Secret => text("stand-in"),
        Ty::Bool => Tree::Bool(false),
        Ty::Int { min, .. } => Tree::Int(*min),
        Ty::Float { min, .. } => Tree::Float(*min),
        Ty::Duration { min_ms, max_ms } => text(&duration_text(30_000.clamp(*min_ms, *max_ms))),
        Ty::Size => text("64MiB"),
        Ty::Url(schemes) => text(&format!("{}://stand-in.invalid/", schemes.first().unwrap_or(&"https"))),
        Ty::Address => text("stand-in.invalid:1"),
        Ty::Path => text("/stand-in"),
        Ty::Enum(known) => text(known.first()?),
        Ty::Cel => text("true"),
        Ty::Regex => text("."),
        Ty::TimeZone => text("UTC"),
        Ty::List(_) | Ty::OneOrMore(_) => Tree::List(Vec::new()),
        Ty::Map(_) => Tree::Map(Vec::new()),
        Ty::Object(_) | Ty::Tagged { .. } | Ty::Any => return None,
    })
}

/// Puts a stand-in where a list or a map would have a hole.
fn or_stand_in(value: Node, ty: &Ty) -> Node {
    match (&value.tree, stand_in(ty)) {
        (Tree::Null, Some(tree)) => Node { span: value.span, tree },
        _ => value,
    }
}

/// Says what could stand there, where it is not plain what was meant.
fn instance(ty: &Ty) -> Option<String> {
    match ty {
        Ty::Bool
        | Ty::Int { .. }
        | Ty::Duration { .. }
        | Ty::Size
        | Ty::Url(_)
        | Ty::Address
        | Ty::Enum(_)
        | Ty::TimeZone => example(ty).map(|example| format!("for example {example}")),
        Ty::Float { min, max } => Some(format!("for example {}", f64::midpoint(*min, *max))),
        Ty::Regex => Some("put a backslash before a sign that stands for itself".to_owned()),
        Ty::OneOrMore(item) => instance(item),
        _ => None,
    }
}

/// A value that could stand there.
fn example(ty: &Ty) -> Option<String> {
    Some(match ty {
        Ty::Secret => "${file:PATH}".to_owned(),
        Ty::Bool => "true".to_owned(),
        Ty::Int { min, .. } => min.to_string(),
        Ty::Duration { min_ms, max_ms } => duration_text(30_000.clamp(*min_ms, *max_ms)),
        Ty::Size => "64MiB".to_owned(),
        Ty::Url(schemes) => format!("{}://HOST", schemes.first().unwrap_or(&"https")),
        Ty::Address => "HOST:PORT".to_owned(),
        Ty::Path => "PATH".to_owned(),
        Ty::Enum(known) => (*known.first()?).to_owned(),
        Ty::TimeZone => "Europe/Paris".to_owned(),
        Ty::List(item) => format!("[{}]", example(item)?),
        Ty::OneOrMore(item) => example(item)?,
        Ty::Text => "TEXT".to_owned(),
        Ty::Cel | Ty::Regex | Ty::Float { .. } | Ty::Map(_) | Ty::Object(_) | Ty::Tagged { .. } | Ty::Any => {
            return None;
        }
    })
}

/// Why a scalar is not what the table says.
#[derive(Default)]
struct Wrong {
    why: Option<String>,
    suggestion: Option<String>,
}

impl Wrong {
    fn because(why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), suggestion: None }
    }

    fn write(suggestion: impl std::fmt::Display) -> Self {
        Self { why: None, suggestion: Some(format!("write {suggestion}")) }
    }
}

/// Returns the scalar in one spelling if it is of the type.
fn admit(tree: &Tree, ty: &Ty, base: &Path) -> Result<Tree, Wrong> {
    match (ty, tree) {
        (Ty::Text | Ty::Secret | Ty::Cel, Tree::Text(_)) | (Ty::Bool, Tree::Bool(_)) => Ok(tree.clone()),
        (Ty::Text | Ty::Cel | Ty::Path | Ty::Regex, Tree::Int(int)) => Err(Wrong::write(format!("\"{int}\""))),
        (Ty::Text | Ty::Cel | Ty::Path | Ty::Regex, Tree::Float(_)) => Err(Wrong::write("it in quotes")),
        (Ty::Text | Ty::Cel, Tree::Bool(bool)) => Err(Wrong::write(format!("\"{bool}\""))),
        (Ty::Bool, Tree::Text(text)) => Err(match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" | "oui" | "true" => Wrong::write("true"),
            "no" | "off" | "n" | "non" | "false" => Wrong::write("false"),
            _ => Wrong::default(),
        }),
        (Ty::Int { min, max }, Tree::Int(int)) => within(min <= int && int <= max, tree),
        // A reference is text, whatever it stands for.
        (Ty::Int { min, max }, Tree::Text(text)) => match text.trim().parse::<i64>() {
            Ok(int) if *min <= int && int <= *max => Ok(Tree::Int(int)),
            _ => Err(Wrong::default()),
        },
        #[expect(clippy::cast_precision_loss, reason = "bounds of configuration are small")]
        (Ty::Float { min, max }, Tree::Int(int)) => within(*min <= *int as f64 && *int as f64 <= *max, tree),
        (Ty::Float { min, max }, Tree::Float(float)) => within(min <= float && float <= max, tree),
        (Ty::Duration { min_ms, max_ms }, _) => duration(tree, *min_ms, *max_ms),
        (Ty::Size, Tree::Int(int)) if *int >= 0 => Ok(Tree::Text(int.to_string())),
        (Ty::Size, Tree::Text(text)) => parse_size(text).map(|_| tree.clone()).map_err(|_| Wrong::default()),
        (Ty::Url(schemes), Tree::Text(text)) => address_of_web(text, schemes).map(|()| tree.clone()),
        (Ty::Address, Tree::Text(text)) => host_and_port(text).map(|()| tree.clone()),
        (Ty::Path, Tree::Text(text)) if !text.is_empty() => Ok(Tree::Text(reference::rebase(base, text))),
        (Ty::Enum(known), Tree::Text(text)) => match known.iter().find(|word| word.eq_ignore_ascii_case(text)) {
            Some(word) => Ok(Tree::Text((*word).to_owned())),
            None => Err(nearest(text, known.iter().copied()).map_or_else(Wrong::default, Wrong::write)),
        },
        (Ty::Regex, Tree::Text(text)) => {
            regex::Regex::new(text).map(|_| tree.clone()).map_err(|error| Wrong::because(last_line(&error.to_string())))
        }
        (Ty::TimeZone, Tree::Text(text)) => jiff::tz::TimeZone::get(text).map(|_| tree.clone()).map_err(|_| Wrong {
            why: Some("the zone is not known".to_owned()),
            suggestion: nearest_zone(text).map(|zone| format!("write {zone}")),
        }),
        _ => Err(Wrong::default()),
    }
}

/// Returns the zone that a text nearly names, or whose last part it is: `Europe/Pariss`, `Paris`.
fn nearest_zone(text: &str) -> Option<String> {
    let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let of_city = |zone: &&String| zone.rsplit_once('/').is_some_and(|(_, city)| city.eq_ignore_ascii_case(text));
    let mut of_city = known.iter().filter(of_city);
    match (of_city.next(), of_city.next()) {
        (Some(zone), None) => Some(zone.clone()),
        _ => nearest(text, known.iter().map(String::as_str)).map(str::to_owned),
    }
}

fn within(ok: bool, tree: &Tree) -> Result<Tree, Wrong> {
    if ok { Ok(tree.clone()) } else { Err(Wrong::default()) }
}

fn duration(tree: &Tree, min_ms: u64, max_ms: u64) -> Result<Tree, Wrong> {
    let text = match tree {
        Tree::Text(text) => text.clone(),
        Tree::Int(0) => "0s".to_owned(),
        Tree::Int(seconds) if *seconds > 0 => return Err(Wrong::write(format!("{seconds}s"))),
        _ => return Err(Wrong::default()),
    };
    let parsed = parse_duration(&text)
        .map_err(|_| Wrong { why: None, suggestion: spelt(&text).or_else(|| with_unit(&text)) })?;
    let ms = u64::try_from(parsed.as_millis()).unwrap_or(u64::MAX);
    if (min_ms..=max_ms).contains(&ms) {
        return Ok(Tree::Text(text));
    }
    let nearest = duration_text(ms.clamp(min_ms, max_ms));
    Err(Wrong { why: Some("it is out of bounds".to_owned()), suggestion: Some(format!("write {nearest}")) })
}

/// Returns how a duration that was written in words is written: `5 minutes` is `5m`.
fn spelt(text: &str) -> Option<String> {
    let folded: String = text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
    let digits = folded.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = folded.split_at_checked(digits)?;
    let unit = match unit {
        "ms" | "msec" | "millis" | "milliseconds" | "millisecondes" => "ms",
        "" | "s" | "sec" | "secs" | "second" | "seconds" | "seconde" | "secondes" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" | "heure" | "heures" => "h",
        "d" | "day" | "days" | "j" | "jour" | "jours" => "d",
        "w" | "week" | "weeks" | "semaine" | "semaines" => "w",
        _ => return None,
    };
    let written = format!("{number}{unit}");
    parse_duration(&written).is_ok().then(|| format!("write {written}"))
}

/// Says which units a number with another one could have: `2x` is `2s`, `2m` or `2h`.
fn with_unit(text: &str) -> Option<String> {
    let digits: String = text.trim().chars().take_while(char::is_ascii_digit).take(9).collect();
    (!digits.is_empty()).then(|| format!("write {digits}s, {digits}m or {digits}h"))
}

fn address_of_web(text: &str, schemes: &[&str]) -> Result<(), Wrong> {
    let url = url::Url::parse(text).map_err(|error| {
        let with_scheme = schemes.first().map(|scheme| format!("{scheme}://{text}"));
        match with_scheme.filter(|whole| url::Url::parse(whole).is_ok() && !text.contains("://") && !text.is_empty()) {
            Some(whole) => Wrong::write(whole),
            None => Wrong::because(error.to_string()),
        }
    })?;
    if !schemes.is_empty() && !schemes.contains(&url.scheme()) {
        let suggestion = nearest(url.scheme(), schemes.iter().copied()).map(|near| format!("did you mean {near}?"));
        return Err(Wrong { why: Some(format!("the scheme is {}", url.scheme())), suggestion });
    }
    if url.scheme().starts_with("http") && url.host_str().is_none_or(str::is_empty) {
        return Err(Wrong::because("it names no host"));
    }
    Ok(())
}

/// Tells whether a text names a host and a port.
pub(crate) fn is_address(text: &str) -> bool {
    host_and_port(text).is_ok()
}

fn host_and_port(text: &str) -> Result<(), Wrong> {
    if let Ok(url) = url::Url::parse(text)
        && let (Some(host), Some(port)) = (url.host_str().filter(|host| !host.is_empty()), url.port_or_known_default())
    {
        let suggestion = Some(format!("write {host}:{port}"));
        return Err(Wrong { why: Some("it is a URL".to_owned()), suggestion });
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        let is_port = text.parse::<u16>().is_ok();
        let whole = if is_port { format!("127.0.0.1:{text}") } else { format!("{text}:PORT") };
        let plain = !text.is_empty() && !text.contains(['/', '[', ']', ' ', '@']);
        let why = if is_port { "it names no host" } else { "it names no port" };
        return Err(Wrong { why: Some(why.to_owned()), suggestion: plain.then(|| format!("write {whole}")) });
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good_host = match bracketed {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '/', '[', ']', ' ']),
    };
    if !good_host && host.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(Wrong::write(format!("[{host}]:{port}")));
    }
    match (good_host, port.parse::<u16>()) {
        (true, Ok(_)) => Ok(()),
        (true, Err(_)) => Err(Wrong {
            why: Some("the port is no number from 0 to 65535".to_owned()),
            suggestion: Some(format!("write {host}:PORT")),
        }),
        (false, _) if host.is_empty() => {
            Err(Wrong { why: Some("it names no host".to_owned()), suggestion: Some(format!("write 127.0.0.1:{port}")) })
        }
        (false, _) => Err(Wrong::default()),
    }
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn takes_null(ty: &Ty) -> bool {
    matches!(ty, Ty::List(_) | Ty::Map(_) | Ty::Object(_) | Ty::Tagged { .. } | Ty::Any)
}

fn kind_of(tree: &Tree) -> String {
    match tree {
        Tree::Null => "nothing".to_owned(),
        Tree::Bool(bool) => bool.to_string(),
        Tree::Int(int) => int.to_string(),
        Tree::Float(float) => float.to_string(),
        Tree::Text(_) => "text".to_owned(),
        Tree::List(_) => "a list".to_owned(),
        Tree::Map(_) => "keys with values".to_owned(),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn words(known: &[&str]) -> String {
    const SHOWN_MAX: usize = 40;
    match known {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        many if many.len() > SHOWN_MAX => format!("one of {} words", many.len()),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
    }
}

/// Says in words what a type takes.
pub(crate) fn describe(ty: &Ty) -> String {
    match ty {
        Ty::Text => "text".to_owned(),
        Ty::Secret => "${file:PATH} or ${env:NAME}".to_owned(),
        Ty::Bool => "true or false".to_owned(),
        Ty::Int { min, max } => format!("a whole number from {min} to {max}"),
        Ty::Float { min, max } => format!("a number from {min} to {max}"),
        Ty::Duration { min_ms, max_ms } => {
            format!("a duration such as 30s, from {} to {}", duration_text(*min_ms), duration_text(*max_ms))
        }
        Ty::Size => "a size such as 64MiB".to_owned(),
        Ty::Url([]) => "a URL".to_owned(),
        Ty::Url(schemes) => format!("a URL that starts with {}", words(schemes)),
        Ty::Address => "host:port".to_owned(),
        Ty::Path => "a path".to_owned(),
        Ty::Enum(known) => words(known),
        Ty::Cel => "a CEL expression".to_owned(),
        Ty::Regex => "a regular expression".to_owned(),
        Ty::TimeZone => "a time zone such as Europe/Paris".to_owned(),
        Ty::List(item) => format!("a list of {}", plural(item)),
        Ty::OneOrMore(item) => format!("{}, or a list of them", describe(item)),
        Ty::Map(item) => format!("names, each with {}", describe(item)),
        Ty::Object(spec) => format!("{} (keys with values)", spec.name),
        Ty::Tagged { common, .. } => format!("{} (keys with values)", common.name),
        Ty::Any => "any value".to_owned(),
    }
}

fn plural(ty: &Ty) -> String {
    match ty {
        Ty::Text => "texts".to_owned(),
        Ty::Object(spec) | Ty::Tagged { common: spec, .. } => format!("{} objects", spec.name),
        other => describe(other),
    }
}

/// Writes milliseconds as people do: `1h30m`, `250ms`.
pub(crate) fn duration_text(ms: u64) -> String {
    const UNITS: [(u64, &str); 5] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let mut rest = ms;
    let mut out = String::new();
    for (unit, name) in UNITS {
        if rest >= unit {
            out.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::reference::tests::Fixed;
    use super::super::yaml;
    use super::*;

    static INNER: Spec = Spec {
        name: "inner",
        doc: "An inner object.",
        fields: &[
            FieldSpec::required("must", Ty::Text, "Must be there."),
            FieldSpec::optional("may", Ty::Bool, "", "."),
        ],
    };
    static COMMON: Spec = Spec {
        name: "check",
        doc: "A check.",
        fields: &[
            FieldSpec::optional("interval", Ty::Duration { min_ms: 1_000, max_ms: 86_400_000 }, "1m", "How often."),
            FieldSpec::optional("retries", Ty::Int { min: 0, max: 10 }, "0", "How many."),
        ],
    };
    static HTTP: Spec = Spec {
        name: "http",
        doc: "Over HTTP.",
        fields: &[
            FieldSpec::required("url", Ty::Url(&["http", "https"]), "Where."),
            FieldSpec::optional("password", Ty::Secret, "", "Secret."),
            FieldSpec::optional("ca_file", Ty::Path, "", "Path."),
        ],
    };
    static TCP: Spec =
        Spec { name: "tcp", doc: "Over TCP.", fields: &[FieldSpec::required("address", Ty::Address, "Where.")] };
    static ROOT: Spec = Spec {
        name: "root",
        doc: "All.",
        fields: &[
            FieldSpec::optional("inner", Ty::Object(&INNER), "", "."),
            FieldSpec::optional("level", Ty::Enum(&["info", "warning"]), "", "."),
            FieldSpec::optional("ratio", Ty::Float { min: 0.0, max: 1.0 }, "", "."),
            FieldSpec::optional("size", Ty::Size, "", "."),
            FieldSpec::optional("zone", Ty::TimeZone, "", "."),
            FieldSpec::optional("regex", Ty::Regex, "", "."),
            FieldSpec::optional("cel", Ty::Cel, "", "."),
            FieldSpec::optional("words", Ty::List(&Ty::Text), "", "."),
            FieldSpec::optional("some", Ty::OneOrMore(&Ty::Text), "", "."),
            FieldSpec::optional("free", Ty::Any, "", "."),
            FieldSpec::optional(
                "checks",
                Ty::Map(&Ty::Tagged { tag: "kind", common: &COMMON, variants: &[("http", &HTTP), ("tcp", &TCP)] }),
                "",
                ".",
            ),
        ],
    };

    fn run(text: &str) -> (serde_json::Value, Vec<Problem>) {
        let node = yaml::parse(text).expect("is YAML");
        let sources = Fixed(&[("PW", "hunter2"), ("N", "3"), ("BAD", "hunter2")]);
        let mut problems = Vec::new();
        let out = validate(&node, &Ty::Object(&ROOT), "", Path::new("/etc"), &sources, &mut problems);
        problems.sort();
        (out.to_json(), problems)
    }

    #[expect(clippy::needless_pass_by_value, reason = "expect! makes a value")]
    fn check(text: &str, expected: Expect) {
        let (_, problems) = run(text);
        expected.assert_eq(&problems.iter().map(|p| format!("{p}\n")).collect::<String>());
    }

    #[test]
    fn a_good_tree_comes_out_in_one_spelling() {
        let (json, problems) =
            run("inner: {must: x}\nlevel: WARNING\nratio: 1\nsize: 64MiB\nzone: Europe/Paris\nregex: a+\n\
             cel: status == 200\nwords: [a, b]\nsome: one\nfree: {a: [1, '${env:N}'], b: null}\n\
             checks:\n  a: {kind: HTTP, url: 'https://x/', password: '${env:PW}', ca_file: ca.pem, interval: 0.5h}\n  \
             b: {kind: tcp, address: '[::1]:22', retries: '${env:N}'}\n");
        assert_eq!(problems, []);
        assert_eq!(
            json,
            serde_json::json!({
                "inner": {"must": "x"}, "level": "warning", "ratio": 1, "size": "64MiB", "zone": "Europe/Paris",
                "regex": "a+", "cel": "status == 200", "words": ["a", "b"], "some": "one",
                "free": {"a": [1, "3"], "b": null},
                "checks": {
                    "a": {"kind": "http", "url": "https://x/", "password": "hunter2", "ca_file": "/etc/ca.pem",
                          "interval": "0.5h"},
                    "b": {"kind": "tcp", "address": "[::1]:22", "retries": 3},
                },
            })
        );
    }

    #[test]
    fn commented_out_parts_are_empty() {
        let (json, problems) = run("checks:\nwords:\nlevel:\nsize: 12\n");
        assert_eq!(problems, []);
        assert_eq!(json, serde_json::json!({"checks": {}, "words": [], "size": "12"}));
    }

    #[test]
    fn all_problems_come_at_once_with_suggestions() {
        check(
            "inner: {mst: 1}\nlevel: warn\nratio: 2\nsize: much\nzone: Paris\nregex: '('\ncel: 1\nwords: a\nextra: 1\n\
             checks:\n  a:\n    kind: htp\n    url: x\n    intervall: 5s\n  b: {url: x}\n  \
             c: {kind: http, url: example.org, interval: 30, retries: 11, address: x}\n  \
             d: {kind: tcp, address: '::1:22'}\n  e: 5\n  f: {kind: tcp, address: nowhere}\n  '': {kind: tcp, address: a:1}\n",
            expect![[r#"
                1:1: inner.must: the key must is missing, expected text (add `must: TEXT`)
                1:9: inner.mst: unknown key, expected must or may (did you mean must?)
                2:8: level: expected info or warning, found `warn` (write warning)
                3:8: ratio: expected a number from 0 to 1, found 2 (for example 0.5)
                4:7: size: expected a size such as 64MiB, found `much` (for example 64MiB)
                5:7: zone: expected a time zone such as Europe/Paris, found `Paris`: the zone is not known (write Europe/Paris)
                6:8: regex: expected a regular expression, found `(`: unclosed group (put a backslash before a sign that stands for itself)
                7:6: cel: expected a CEL expression, found 1 (write "1")
                8:8: words: expected a list, found text (start each item with a dash)
                9:1: extra: unknown key, expected inner, level, ratio, size, zone, regex, cel, words, some, free or checks (remove the key)
                12:11: checks.a.kind: unknown kind htp, expected http or tcp (did you mean http?)
                14:5: checks.a.intervall: unknown key, expected interval or retries (did you mean interval?)
                15:3: checks.b.kind: the key kind is missing, expected http or tcp (add `kind: http`)
                16:24: checks.c.url: expected a URL that starts with http or https, found `example.org` (write http://example.org)
                16:47: checks.c.interval: expected a duration such as 30s, from 1s to 1d, found 30 (write 30s)
                16:60: checks.c.retries: expected a whole number from 0 to 10, found 11 (for example 0)
                16:64: checks.c.address: unknown key, expected interval, retries, url, password or ca_file (remove the key)
                17:27: checks.d.address: expected host:port, found `::1:22` (write [::1]:22)
                18:6: checks.e: expected keys with values, found 5 (write {KEY: VALUE})
                19:27: checks.f.address: expected host:port, found `nowhere`: it names no port (write nowhere:PORT)
                20:3: checks.: expected a name of 1 to 128 bytes (write a name such as web-1)
            "#]],
        );
    }

    #[test]
    fn secrets_in_the_open_are_refused_and_never_repeated() {
        check(
            "checks:\n  a: {kind: http, url: 'ftp://u:${env:PW}@h/', password: hunter2}\n  \
             b: {kind: http, url: '${env:BAD}', password: 'x${env:PW}'}\n  \
             c: {kind: http, url: 'http://h', password: '${env:NONE}', retries: '${env:BAD}'}\n  \
             d: {kind: http, url: 'http://h', password: 5}\n",
            expect![[r#"
                2:24: checks.a.url: expected a URL that starts with http or https, found another text behind the reference: the scheme is ftp (for example http://HOST)
                2:58: checks.a.password: a secret stands in the open, expected a reference to it (write ${file:PATH} or ${env:NAME})
                3:24: checks.b.url: expected a URL that starts with http or https, found another text behind the reference (for example http://HOST)
                3:48: checks.b.password: a secret stands in the open, expected a reference to it (write ${file:PATH} or ${env:NAME})
                4:46: checks.c.password: the environment has no NONE (set NONE where Dihya is started, or write ${file:PATH})
                4:70: checks.c.retries: expected a whole number from 0 to 10, found another text behind the reference (for example 0)
                5:46: checks.d.password: expected ${file:PATH} or ${env:NAME}, found 5
            "#]],
        );
        check(
            "cel: body.contains(\"${env:PW}\")\n",
            expect![[r#"
                1:6: cel: a condition is shown with its results, so it cannot hold a reference (write the value itself)
            "#]],
        );
        let (_, problems) = run("checks: {a: {kind: http, url: '${env:BAD}', password: hunter2}}");
        assert!(!format!("{problems:?}").contains("hunter2"));
    }

    #[test]
    fn types_are_told_apart() {
        check(
            "inner: [1]\nlevel: {}\nratio: .nan\nsize: -1\nzone: 5\nregex: 1\ncel: true\nwords: {a: 1}\nsome: [1, 1.5]\nchecks: []\n",
            expect![[r#"
                1:8: inner: expected keys with values, found a list (write {KEY: VALUE})
                2:8: level: expected info or warning, found keys with values (for example info)
                3:8: ratio: expected a number from 0 to 1, found NaN (for example 0.5)
                4:7: size: expected a size such as 64MiB, found -1 (for example 64MiB)
                5:7: zone: expected a time zone such as Europe/Paris, found 5 (for example Europe/Paris)
                6:8: regex: expected a regular expression, found 1 (write "1")
                7:6: cel: expected a CEL expression, found true (write "true")
                8:8: words: expected a list, found keys with values (start each item with a dash)
                9:8: some.0: expected text, found 1 (write "1")
                9:11: some.1: expected text, found 1.5 (write it in quotes)
                10:9: checks: expected names with values, found a list (write {NAME: VALUE})
            "#]],
        );
        check(
            "inner: {must: true, may: yes}\nsome: 5\nwords: [null]\n",
            expect![[r#"
            1:15: inner.must: expected text, found true (write "true")
            1:26: inner.may: expected true or false, found `yes` (write true)
            2:7: some: expected text, found 5 (write "5")
            3:9: words.0: expected text, found nothing
        "#]],
        );
        check(
            "inner: {must: }\nchecks:\n  a: {kind: 5}\n  b: {kind: http, url: 'http://'}\n  c:\n",
            expect![[r#"
            1:9: inner.must: expected text, found nothing
            3:13: checks.a.kind: the key kind is missing, expected http or tcp (for example `kind: http`)
            4:24: checks.b.url: expected a URL that starts with http or https, found `http://`: empty host (for example http://HOST)
            5:3: checks.c.kind: the key kind is missing, expected http or tcp (for example `kind: http`)
        "#]],
        );
    }

    #[test]
    fn urls_addresses_and_durations_have_reasons() {
        let admit = |ty: &Ty, text: &str| {
            admit(&Tree::Text(text.into()), ty, Path::new("/")).map_err(|w| (w.why.is_some(), w.suggestion))
        };
        let web = Ty::Url(&["http", "https"]);
        assert_eq!(admit(&web, "example.org/x"), Err((false, Some("write http://example.org/x".into()))));
        assert_eq!(admit(&web, "htp://x"), Err((true, Some("did you mean http?".into()))));
        assert_eq!(admit(&web, ""), Err((true, None)));
        assert!(admit(&Ty::Url(&[]), "postgres://h/db").is_ok());
        assert_eq!(admit(&Ty::Address, "::1:22"), Err((false, Some("write [::1]:22".into()))));
        for bad in ["h", "h:x", ":1", "h:99999", "[x]:1"] {
            assert!(admit(&Ty::Address, bad).is_err(), "{bad}");
        }
        for (bad, good) in [
            ("h", "h:PORT"),
            ("8970", "127.0.0.1:8970"),
            ("h:x", "h:PORT"),
            (":1", "127.0.0.1:1"),
            ("https://h.example/x", "h.example:443"),
        ] {
            assert_eq!(admit(&Ty::Address, bad), Err((true, Some(format!("write {good}")))), "{bad}");
        }
        let short = Ty::Duration { min_ms: 1_000, max_ms: 5_400_000 };
        assert_eq!(admit(&short, "2h"), Err((true, Some("write 1h30m".into()))));
        for (bad, good) in
            [("5 minutes", "5m"), ("30 S", "30s"), ("1 heure", "1h"), ("1.5hours", "1.5h"), ("90", "90s")]
        {
            assert_eq!(admit(&short, bad), Err((false, Some(format!("write {good}")))), "{bad}");
        }
        assert_eq!(admit(&short, "soon"), Err((false, None)));
        assert_eq!(admit(&short, "2x"), Err((false, Some("write 2s, 2m or 2h".into()))));
        assert_eq!(admit(&Ty::TimeZone, "Europe/Pariss"), Err((true, Some("write Europe/Paris".into()))));
        assert!(admit(&short, "1h30m").is_ok());
        assert_eq!(describe(&short), "a duration such as 30s, from 1s to 1h30m");
        assert_eq!(duration_text(0), "0s");
        assert_eq!(describe(&Ty::OneOrMore(&Ty::Bool)), "true or false, or a list of them");
        assert_eq!(describe(&Ty::List(&Ty::Text)), "a list of texts");
        static OBJECT: Ty = Ty::Object(&INNER);
        assert_eq!(describe(&Ty::List(&OBJECT)), "a list of inner objects");
        assert_eq!(describe(&Ty::Map(&Ty::Url(&[]))), "names, each with a URL");
        assert_eq!(describe(&Ty::List(&Ty::Any)), "a list of any value");
        assert_eq!(words(&[]), "nothing");
        assert_eq!(words(&["a"; 41]), "one of 41 words");
    }
}
