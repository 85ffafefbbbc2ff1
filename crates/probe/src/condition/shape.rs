//! What can be said of a condition before anything was seen: whether its functions are there and its values comparable.
//!
//! Where the type of a value is not known (a document, a column, what a function returns) nothing is said: a condition
//! that could hold is never refused.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::{Context, ExecutionError, Value};

use super::{ENV, Path, Step, VALUE_BYTES_MAX, cut, path_of};
use crate::config::{Issue, distance};
use crate::fact::{FactSpec, Shape};

/// The functions and macros that are told where one is misspelt.
const FUNCTIONS: [&str; 32] = [
    "all",
    "bool",
    "charAt",
    "contains",
    "double",
    "duration",
    "endsWith",
    "exists",
    "exists_one",
    "filter",
    "format",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getSeconds",
    "has",
    "indexOf",
    "int",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "map",
    "matches",
    "replace",
    "size",
    "split",
    "startsWith",
    "string",
    "substring",
    "timestamp",
    "trim",
    "upperAscii",
];

/// Finds what is wrong with a condition on such facts.
pub(super) fn check(condition: &IdedExpr, facts: &[FactSpec]) -> Vec<Issue> {
    let mut reading = Reading { facts, locals: Vec::new(), issues: Vec::new() };
    let shape = reading.shape(condition);
    reading.wants_flag(condition, shape);
    let mut issues = reading.issues;
    issues.dedup();
    issues
}

struct Reading<'a> {
    facts: &'a [FactSpec],
    locals: Vec<String>,
    issues: Vec<Issue>,
}

impl Reading<'_> {
    fn shape(&mut self, expr: &IdedExpr) -> Shape {
        if let Some(path) = path_of(expr) {
            let shape = self.path(&path);
            return if matches!(&expr.expr, Expr::Select(select) if select.test) { Shape::Flag } else { shape };
        }
        match &expr.expr {
            Expr::Literal(literal) => of_literal(literal),
            Expr::Call(call) => self.call(call),
            Expr::Select(select) => {
                self.shape(&select.operand);
                if select.test { Shape::Flag } else { Shape::Any }
            }
            Expr::List(list) => {
                let shapes: Vec<_> = list.elements.iter().map(|element| self.shape(element)).collect();
                let is_text = !shapes.is_empty() && shapes.iter().all(|shape| *shape == Shape::Text);
                if is_text { Shape::Texts } else { Shape::Any }
            }
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr)),
            Expr::Struct(made) => self.entries(made.entries.iter().map(|entry| &entry.expr)),
            Expr::Comprehension(comprehension) => {
                self.shape(&comprehension.iter_range);
                let known = self.locals.len();
                self.locals.extend([comprehension.iter_var.clone(), comprehension.accu_var.clone()]);
                self.locals.extend(comprehension.iter_var2.clone());
                let parts = [
                    &comprehension.accu_init,
                    &comprehension.loop_cond,
                    &comprehension.loop_step,
                    &comprehension.result,
                ];
                for part in parts {
                    self.shape(part);
                }
                self.locals.truncate(known);
                Shape::Any
            }
            Expr::Ident(_) | Expr::Unspecified => Shape::Any,
        }
    }

    fn entries<'e>(&mut self, entries: impl Iterator<Item = &'e EntryExpr>) -> Shape {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => {
                    self.shape(&field.value);
                }
                EntryExpr::MapEntry(entry) => {
                    self.shape(&entry.key);
                    self.shape(&entry.value);
                }
            }
        }
        Shape::Any
    }

    fn path(&mut self, path: &Path) -> Shape {
        if self.locals.contains(&path.root) || path.root.starts_with('@') {
            return Shape::Any;
        }
        let fact = self.facts.iter().find(|fact| fact.name == path.root);
        let mut shape = match fact {
            Some(fact) => fact.shape,
            None if path.root == "timing" => Shape::Named(&Shape::Time),
            None => return Shape::Any,
        };
        for (at, step) in path.steps.iter().enumerate() {
            shape = match (shape, step) {
                (Shape::Any, _) => return Shape::Any,
                (Shape::Named(of), Step::Field(_)) => *of,
                (Shape::Texts, Step::Index(_)) => Shape::Text,
                (Shape::Keys(keys), Step::Field(field)) => match keys.iter().find(|(key, _)| key == field) {
                    Some((_, shape)) => *shape,
                    None => {
                        let known: Vec<_> = keys.iter().map(|(key, _)| *key).collect();
                        let issue = Issue::new("", format!("there is no {}", path.name(at + 1)));
                        let suggestion = match nearest(field, &known) {
                            Some(near) => format!("did you mean {}.{near}?", path.name(at)),
                            None => format!("{} has {}", path.name(at), known.join(", ")),
                        };
                        self.issues.push(issue.suggest(suggestion));
                        return Shape::Any;
                    }
                },
                (shape, _) => {
                    let message = format!("{} is {} and has no parts", path.name(at), shape.noun());
                    self.issues.push(Issue::new("", message).suggest(format!("write {}", path.name(at))));
                    return Shape::Any;
                }
            };
        }
        shape
    }

    fn call(&mut self, call: &CallExpr) -> Shape {
        let name = call.func_name.as_str();
        let target = call.target.as_ref().map(|target| self.shape(target));
        let shapes: Vec<_> = call.args.iter().map(|arg| self.shape(arg)).collect();
        match (name, call.args.as_slice(), shapes.as_slice()) {
            (
                operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS,
                [left, right],
                [a, b],
            ) => {
                self.compare((left, *a), (right, *b));
                Shape::Flag
            }
            (operators::IN, [left, right], [a, b]) => {
                if let Expr::List(list) = &right.expr {
                    for element in &list.elements {
                        let shape =
                            if let Expr::Literal(literal) = &element.expr { of_literal(literal) } else { Shape::Any };
                        self.compare((left, *a), (element, shape));
                    }
                } else if *b == Shape::Texts {
                    self.compare((left, *a), (right, Shape::Text));
                }
                Shape::Flag
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, args, shapes) => {
                for (arg, shape) in args.iter().zip(shapes) {
                    self.wants_flag(arg, *shape);
                }
                Shape::Flag
            }
            // Operators are named by signs.
            _ if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => Shape::Any,
            _ => {
                self.wants_function(name, target.is_some());
                returned(name)
            }
        }
    }

    fn wants_flag(&mut self, expr: &IdedExpr, shape: Shape) {
        if !matches!(shape, Shape::Flag | Shape::Any) {
            let message = format!("{} is {}, not true or false", subject(expr), shape.noun());
            self.issues.push(Issue::new("", message).suggest("compare it, as in `status == 200`"));
        }
    }

    fn compare(&mut self, (left, a): (&IdedExpr, Shape), (right, b): (&IdedExpr, Shape)) {
        let comparable = [Shape::Flag, Shape::Number, Shape::Text, Shape::Time, Shape::Texts];
        if a == b || !comparable.contains(&a) || !comparable.contains(&b) {
            return;
        }
        // What is read is what is meant; what is written beside it is what is mended.
        let is_left = path_of(left).is_some() || (path_of(right).is_none() && matches!(right.expr, Expr::Literal(_)));
        let (read, of, with) = if is_left { (left, a, b) } else { (right, b, a) };
        let message = format!("{} is {} and cannot be compared with {}", subject(read), of.noun(), with.noun());
        self.issues.push(Issue::new("", message).suggest(format!("compare it with {}", of.example())));
    }

    fn wants_function(&mut self, name: &str, of_value: bool) {
        if is_there(name, of_value) {
            return;
        }
        let issue = Issue::new("", format!("there is no function {}", cut(name, VALUE_BYTES_MAX)));
        let suggestion = match nearest(name, &FUNCTIONS) {
            _ if is_there(name, !of_value) && of_value => format!("write {name}(VALUE)"),
            _ if is_there(name, !of_value) => format!("write VALUE.{name}()"),
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", FUNCTIONS.join(", ")),
        };
        self.issues.push(issue.suggest(suggestion));
    }
}

/// Tells whether there is such a function: a call without its arguments fails for want of them, or for want of it.
fn is_there(name: &str, of_value: bool) -> bool {
    let call = if of_value { format!("''.{name}()") } else { format!("{name}()") };
    let Ok(program) = ENV.compile(&call) else { return false };
    let context = Context::with_env(std::sync::Arc::clone(&ENV));
    !matches!(Value::resolve(program.expression(), &context), Err(ExecutionError::UndeclaredReference(_)))
}

fn of_literal(literal: &LiteralValue) -> Shape {
    match literal {
        LiteralValue::Boolean(_) => Shape::Flag,
        LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => Shape::Number,
        LiteralValue::String(_) => Shape::Text,
        LiteralValue::Null | LiteralValue::Bytes(_) => Shape::Any,
    }
}

/// Returns what a function returns, whatever it is given.
fn returned(name: &str) -> Shape {
    match name {
        "size" | "int" | "uint" | "double" | "indexOf" | "lastIndexOf" => Shape::Number,
        "contains" | "startsWith" | "endsWith" | "matches" | "bool" => Shape::Flag,
        "string" | "lowerAscii" | "upperAscii" | "trim" | "replace" | "substring" | "charAt" | "join" | "format" => {
            Shape::Text
        }
        "split" => Shape::Texts,
        "duration" => Shape::Time,
        _ => Shape::Any,
    }
}

fn subject(expr: &IdedExpr) -> String {
    path_of(expr).map_or_else(|| "what it compares".to_owned(), |path| path.name(path.steps.len()))
}

fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let budget = (word.chars().count() / 3).clamp(1, 3);
    let word = word.to_ascii_lowercase();
    let far = |name: &&'a str| (distance(&word, &name.to_ascii_lowercase()), *name);
    known.iter().map(far).min().filter(|(far, _)| *far <= budget).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn found(kind: &str, term: &str) -> Vec<String> {
        let facts = kind::find(kind).expect("a kind").facts;
        let program = ENV.compile(term).unwrap_or_else(|_| panic!("{term} is an expression"));
        let issues = check(program.expression(), facts).into_iter();
        issues.map(|issue| format!("{} ({})", issue.message, issue.suggestion.unwrap_or_default())).collect()
    }

    /// `status == 'abc'` was good to `config check`, and paged people for an outage.
    #[test]
    fn what_can_never_be_judged_is_found_before_anything_is_seen() {
        for (kind, term, expected) in [
            ("http", "nosuchfn(status)", "there is no function nosuchfn (there are all, bool, charAt"),
            ("http", "body.contain('x')", "there is no function contain (did you mean contains?)"),
            ("http", "contains(body, 'x')", "there is no function contains (write VALUE.contains())"),
            ("http", "body.lowerascii() == 'x'", "there is no function lowerascii (did you mean lowerAscii?)"),
            (
                "http",
                "status == 'abc'",
                "status is a number and cannot be compared with a text (compare it with a number such as 200)",
            ),
            ("http", "'2' == status", "status is a number and cannot be compared with a text"),
            ("http", "tls.days_left > 'x'", "tls.days_left is a number and cannot be compared with a text"),
            ("http", "tls.day_left > 1", "there is no tls.day_left (did you mean tls.days_left?)"),
            ("http", "tls.colour == 'red'", "there is no tls.colour (tls has version, cipher"),
            ("http", "timing.total < 500", "timing.total is a length of time and cannot be compared with a number"),
            ("http", "status in [200, '204']", "status is a number and cannot be compared with a text"),
            ("http", "status in tls.names", "status is a number and cannot be compared with a text"),
            ("http", "status", "status is a number, not true or false (compare it, as in `status == 200`)"),
            ("http", "!(status) || body == ''", "status is a number, not true or false"),
            ("http", "status.code == 1", "status is a number and has no parts (write status)"),
            ("http", "size(body) == 'x'", "what it compares is a number and cannot be compared with a text"),
            (
                "http",
                "headers.all(h, h != '' && status == 'x')",
                "status is a number and cannot be compared with a text",
            ),
            ("http", "{'a': status == ''}.size() == [nope(1)].size()", "status is a number and cannot be compared"),
            ("dns", "answers == '192.0.2.1'", "answers is a list of texts and cannot be compared with a text"),
            ("disk", "read_only == 'no'", "read_only is true or false and cannot be compared with a text"),
        ] {
            let found = found(kind, term);
            assert!(found.first().is_some_and(|found| found.starts_with(expected)), "{term}: {found:?}");
        }
        assert_eq!(found("http", "status == 'a' && nope(1) && nope(1)").len(), 2);
    }

    #[test]
    fn what_may_hold_is_not_refused() {
        for (kind, term) in [
            ("http", "status in [200, 204] && status < 300.5 && status != null"),
            ("http", "json.status == 'ok' || json.items[0].count > 3 || json[string(status)] == 1"),
            ("http", "has(tls.days_left) && tls.days_left < 14"),
            ("http", "headers['content-type'].startsWith('text/') && headers.exists(h, h == 'etag')"),
            ("http", "timing.total < duration('800ms')"),
            (
                "http",
                "'example.org' in tls.names && tls.names[0] != '' && tls.names == ['a'] && tls.chain[0].subject != ''",
            ),
            ("http", "body.lowerAscii().contains('ok') ? status == 200 : json.up"),
            ("http", "body.matches('^a') && size(body) > 3 && body.size() + 1 == 4 && int(headers.age) < 5"),
            ("http", "[1, 2].all(status, status > 0) && json.a.map(x, x + 1).exists(x, x == 2)"),
            ("http", "'%s-%d'.format([body, status]) == 'a-1' && ['a', 'b'].join('-') == 'a-b'"),
            ("dns", "answers.all(a, a.startsWith('192.0.2.')) && '192.0.2.1' in answers"),
            ("postgres", "value == '5' || row.count > 3 || rows == 1"),
            ("heartbeat", "runtime < duration('1h') && age.getMinutes() < 5"),
        ] {
            assert_eq!(found(kind, term), Vec::<String>::new(), "{term}");
        }
    }

    #[test]
    fn the_functions_that_are_told_are_there() {
        const MACROS: [&str; 6] = ["all", "exists", "exists_one", "filter", "has", "map"];
        for name in FUNCTIONS.into_iter().filter(|name| !MACROS.contains(name)) {
            assert!(is_there(name, true) || is_there(name, false), "{name}");
        }
    }
}
