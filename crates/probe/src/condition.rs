//! Conditions: CEL expressions compiled once, judged term by term, with the actual values of what did not hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::{Context, Env, ExecutionError, Value};
use model::limits::{CONDITION_BYTES_MAX, CONDITION_COST_MAX, CONDITION_TEXT_BYTES_MAX, REASON_BYTES_MAX};
use model::{ConditionOutcome, State};
use serde_json::Value as Json;

use crate::config::Issue;
use crate::fact::{Fact, FactSpec, Facts};
use crate::kind::Observation;

mod shape;
pub mod split;

/// Longest text of one actual value.
const VALUE_BYTES_MAX: usize = 200;
/// Loops within loops that a condition may have.
const LOOPS_MAX: u32 = 3;
/// Headers whose values are credentials.
const HEADERS_HIDDEN: [&str; 5] = ["authorization", "cookie", "proxy-authorization", "set-cookie", "www-authenticate"];

/// The functions that conditions may call: a table that never changes, built once because it is large.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(cel::extensions::strings).expect("invariant: nothing else was added before");
    Arc::new(env)
});

/// The conditions of one check.
#[derive(Debug, Default)]
pub struct Conditions {
    up: Vec<Term>,
    degraded_if: Vec<Term>,
    reads: Arc<BTreeSet<String>>,
}

#[derive(Debug)]
struct Term {
    text: String,
    program: IdedExpr,
    paths: Vec<Path>,
    loops: u32,
    nodes: u64,
    growth: Growth,
}

/// How much text a term can make of what it reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Growth {
    /// Additions and formats: each can add what is read once more.
    added: u64,
    /// Replacements and joins: each can put what is read between each of its bytes.
    multiplied: u32,
}

/// A value that a term reads: `headers['content-type']`, `json.items[0].state`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Path {
    root: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Field(String),
    Index(i64),
}

/// What conditions make of what a probe saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The state, never better than the probe's own.
    pub state: State,
    /// Why, in one sentence; empty when up.
    pub reason: String,
    /// Each term that must hold, and those of `degraded_if` that did.
    pub outcomes: Vec<ConditionOutcome>,
}

impl Conditions {
    /// Compiles conditions that may read `facts`, and `timing`.
    ///
    /// # Errors
    /// When one does not parse, reads another fact, calls a function that is not there, compares what cannot be compared, or
    /// loops too deep; paths are `conditions.N` and `degraded_if.N`.
    pub fn compile(conditions: &[String], degraded_if: &[String], facts: &[FactSpec]) -> Result<Self, Vec<Issue>> {
        let mut issues = Vec::new();
        let mut compiled = Self::default();
        for (index, text) in conditions.iter().enumerate() {
            for term in split::terms(text) {
                match Term::compile(term, facts) {
                    Ok(term) => compiled.up.push(term),
                    Err(found) => {
                        issues.extend(found.into_iter().map(|issue| issue.below(&format!("conditions.{index}"))));
                    }
                }
            }
        }
        for (index, text) in degraded_if.iter().enumerate() {
            match Term::compile(text, facts) {
                Ok(term) => compiled.degraded_if.push(term),
                Err(found) => {
                    issues.extend(found.into_iter().map(|issue| issue.below(&format!("degraded_if.{index}"))));
                }
            }
        }
        let terms = compiled.up.iter().chain(&compiled.degraded_if);
        compiled.reads = Arc::new(terms.flat_map(|term| &term.paths).map(|path| path.root.clone()).collect());
        if issues.is_empty() { Ok(compiled) } else { Err(issues) }
    }

    /// Finds what is no expression, where it is not known which facts there are.
    pub(crate) fn parse(conditions: &[String], degraded_if: &[String]) -> Vec<Issue> {
        let mut issues = Vec::new();
        for (key, texts) in [("conditions", conditions), ("degraded_if", degraded_if)] {
            for (index, text) in texts.iter().enumerate() {
                for term in split::terms(text) {
                    let wrong = ENV.compile(term).err().map(|errors| malformed(&errors));
                    issues.extend(wrong.map(|issue| issue.below(&format!("{key}.{index}"))));
                }
            }
        }
        issues
    }

    /// Returns the names of the facts that the conditions read.
    #[must_use]
    pub const fn reads(&self) -> &Arc<BTreeSet<String>> {
        &self.reads
    }

    /// Judges what a probe saw. Where the probe itself found the target down, or could not tell, nothing is judged. What
    /// does not hold, or reads what the target did not say, is down; what cannot be judged otherwise is our fault or the
    /// operator's, and unknown.
    #[must_use]
    pub fn judge(&self, seen: &Observation) -> Judged {
        let mut judged = Judged { state: seen.state, reason: seen.reason.clone(), outcomes: Vec::new() };
        if matches!(seen.state, State::Down | State::Unknown) || (self.up.is_empty() && self.degraded_if.is_empty()) {
            return judged;
        }
        let mut context = Context::with_env(Arc::clone(&ENV));
        let mut weights = BTreeMap::new();
        for (name, fact) in seen.facts.iter().filter(|(name, _)| self.reads.contains(*name)) {
            weights.insert(name, Weight::of(fact));
            context.add_variable_from_value(name, to_cel(fact));
        }
        let facts = Seen { facts: &seen.facts, weights };
        let held: Vec<_> = self.up.iter().map(|term| term.hold(&context, &facts)).collect();
        let failed: Vec<_> = held.iter().filter(|held| !held.outcome.ok && !held.is_unjudged).collect();
        if let Some(first) = failed.first() {
            judged.state = State::Down;
            judged.reason = reason(&first.outcome, failed.len());
        } else if let Some(first) = held.iter().find(|held| held.is_unjudged) {
            judged.state = State::Unknown;
            judged.reason = unjudged(&first.outcome);
        }
        judged.outcomes = held.into_iter().map(|held| held.outcome).collect();
        for term in &self.degraded_if {
            // What cannot be evaluated, because there is no such value, does not hold.
            let Held { outcome, is_unjudged } = term.hold(&context, &facts);
            if is_unjudged {
                if judged.state == State::Up {
                    judged.state = State::Unknown;
                    judged.reason = unjudged(&outcome);
                }
                judged.outcomes.push(outcome);
            } else if outcome.ok {
                let outcome = ConditionOutcome { ok: false, actual: term.actual(facts.facts), ..outcome };
                if judged.state == State::Up {
                    judged.state = State::Degraded;
                    judged.reason = cut(&format!("{} ({})", outcome.expr, outcome.actual), REASON_BYTES_MAX);
                }
                judged.outcomes.push(outcome);
            }
        }
        judged
    }
}

fn reason(first: &ConditionOutcome, count: usize) -> String {
    let mut reason = format!("{} does not hold", first.expr);
    if !first.actual.is_empty() {
        let _ = write!(reason, ": {}", first.actual);
    }
    if count > 1 {
        let _ = write!(reason, "; {} more do not", count - 1);
    }
    cut(&reason, REASON_BYTES_MAX)
}

fn unjudged(outcome: &ConditionOutcome) -> String {
    cut(&format!("{} cannot be judged: {}", outcome.expr, outcome.actual), REASON_BYTES_MAX)
}

/// Cuts `text` at a character so that it has at most `max` bytes, the mark of the cut included.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max.saturating_sub('…'.len_utf8()));
    format!("{}…", text.get(..end).unwrap_or_default())
}

struct Seen<'a> {
    facts: &'a Facts,
    weights: BTreeMap<&'static str, Weight>,
}

/// What became of a term.
struct Held {
    outcome: ConditionOutcome,
    /// Whether it could not be judged, for another reason than that the target did not say what it reads.
    is_unjudged: bool,
}

impl Term {
    fn compile(text: &str, facts: &[FactSpec]) -> Result<Self, Vec<Issue>> {
        if text.len() > CONDITION_BYTES_MAX {
            let issue = Issue::new("", format!("a condition may have {CONDITION_BYTES_MAX} bytes"));
            return Err(vec![issue.suggest("make several of it")]);
        }
        let program = ENV.compile(text).map_err(|errors| vec![malformed(&errors)])?;
        let mut walk = Walk::default();
        walk.visit(program.expression());
        if walk.loops_max > LOOPS_MAX {
            let issue = Issue::new("", format!("a condition may have {LOOPS_MAX} loops within each other"));
            return Err(vec![issue.suggest("make several of it")]);
        }
        walk.paths.sort();
        walk.paths.dedup();
        let known: Vec<_> = facts.iter().map(|fact| fact.name).chain(["timing"]).collect();
        let mut roots: Vec<_> = walk.paths.iter().map(|path| path.root.as_str()).collect();
        roots.dedup();
        let unknown = roots.iter().filter(|root| !known.contains(root)).map(|root| {
            let issue = Issue::new("", format!("there is no fact called {}", cut(root, VALUE_BYTES_MAX)));
            issue.suggest(format!("this kind has {}", known.join(", ")))
        });
        let mut issues: Vec<_> = unknown.collect();
        issues.extend(shape::check(program.expression(), facts));
        if !issues.is_empty() {
            return Err(issues);
        }
        Ok(Self {
            text: text.trim().to_owned(),
            program: program.expression().clone(),
            paths: walk.paths,
            loops: walk.loops_max,
            nodes: walk.nodes,
            growth: walk.growth,
        })
    }

    fn hold(&self, context: &Context<'_, '_>, seen: &Seen<'_>) -> Held {
        let told = |ok: bool, actual: String, is_unjudged: bool| Held {
            outcome: ConditionOutcome { expr: self.text.clone(), ok, actual },
            is_unjudged,
        };
        if self.cost(seen) > CONDITION_COST_MAX {
            return told(false, "not evaluated: the answer is too large for its loops".to_owned(), true);
        }
        if self.text_bytes(seen) > CONDITION_TEXT_BYTES_MAX {
            let actual = "not evaluated: the answer is too large for what would be made of it".to_owned();
            return told(false, actual, true);
        }
        let value = Value::resolve(&self.program, context);
        // Facts and functions that are not of the kind were refused when the condition was read.
        let lacks = matches!(
            value,
            Err(ExecutionError::NoSuchKey(_)
                | ExecutionError::UndeclaredReference(_)
                | ExecutionError::IndexOutOfBounds(_))
        ) || self.paths.iter().any(|path| path.is_absent(seen.facts));
        let why = match value {
            Ok(Value::Bool(true)) => return told(true, String::new(), false),
            Ok(Value::Bool(false)) => None,
            Ok(other) => Some(format!("it is a {}, not true or false", other.type_of())),
            Err(ExecutionError::NoSuchKey(key)) => Some(format!("there is no {}", cut(&key, VALUE_BYTES_MAX))),
            Err(ExecutionError::UndeclaredReference(name)) => Some(format!("there is no {name}")),
            Err(ExecutionError::NoSuchOverload(error)) => Some(cut(&error.to_string(), VALUE_BYTES_MAX)),
            Err(ExecutionError::IndexOutOfBounds(_)) => Some("there is no such index".to_owned()),
            Err(_) => Some("it cannot be evaluated".to_owned()),
        };
        let mut actual = self.actual(seen.facts);
        let is_unjudged = why.is_some() && !lacks;
        if let Some(why) = why {
            let _ = if actual.is_empty() { write!(actual, "{why}") } else { write!(actual, " ({why})") };
        }
        told(false, cut(&actual, REASON_BYTES_MAX), is_unjudged)
    }

    /// Returns the most values that the term can visit: those it reads, to the power of its loops, times their length.
    fn cost(&self, seen: &Seen<'_>) -> u64 {
        if self.loops == 0 {
            return 0;
        }
        let mut weight = Weight { values: self.nodes, bytes: 0 };
        for path in &self.paths {
            if let Some(read) = seen.weights.get(path.root.as_str()) {
                weight.values = weight.values.saturating_add(read.values);
                weight.bytes = weight.bytes.max(read.bytes);
            }
        }
        weight.values.saturating_pow(self.loops).saturating_mul(1 + weight.bytes / 1_024)
    }

    /// Returns the most bytes of text that the term can make of what it reads. `body.replace('', body)` is the square.
    fn text_bytes(&self, seen: &Seen<'_>) -> u64 {
        if self.growth == Growth::default() {
            return 0;
        }
        let read = self.paths.iter().filter_map(|path| seen.weights.get(path.root.as_str()));
        let bytes = read.map(|weight| weight.bytes).max().unwrap_or(0).saturating_add(self.text.len() as u64);
        let added = bytes.saturating_mul(self.growth.added + 1);
        added.saturating_mul(bytes.saturating_pow(self.growth.multiplied))
    }

    fn actual(&self, facts: &Facts) -> String {
        let shown: Vec<_> = self.paths.iter().map(|path| path.show(facts)).collect();
        cut(&shown.join(", "), REASON_BYTES_MAX)
    }
}

fn malformed(errors: &cel::ParseErrors) -> Issue {
    Issue::new("", syntax(errors)).suggest("write an expression such as `status == 200`")
}

/// Says where an expression does not parse, without repeating it.
fn syntax(errors: &cel::ParseErrors) -> String {
    match errors.errors.first() {
        Some(error) => {
            let (line, column) = error.pos;
            let what = error.msg.lines().next().unwrap_or_default();
            cut(&format!("not a CEL expression: line {line}, column {column}: {what}"), VALUE_BYTES_MAX)
        }
        None => "not a CEL expression".to_owned(),
    }
}

/// How much a fact holds: what loops over it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weight {
    values: u64,
    bytes: u64,
}

impl Weight {
    fn of(fact: &Fact) -> Self {
        let one = |bytes: usize| Self { values: 1, bytes: bytes as u64 };
        match fact {
            Fact::Text(text) | Fact::Hidden(text) => one(text.len()),
            Fact::List(items) => Self::sum(items.iter().map(Self::of)),
            Fact::Map(entries) => Self::sum(entries.values().map(Self::of)),
            Fact::Json(json) => Self::of_json(json),
            Fact::Null | Fact::Bool(_) | Fact::Int(_) | Fact::Float(_) | Fact::Duration(_) => one(0),
        }
    }

    fn of_json(json: &Json) -> Self {
        match json {
            Json::String(text) => Self { values: 1, bytes: text.len() as u64 },
            Json::Array(items) => Self::sum(items.iter().map(Self::of_json)),
            Json::Object(entries) => Self::sum(entries.values().map(Self::of_json)),
            Json::Null | Json::Bool(_) | Json::Number(_) => Self { values: 1, bytes: 0 },
        }
    }

    fn sum(parts: impl Iterator<Item = Self>) -> Self {
        let start = Self { values: 1, bytes: 0 };
        parts.fold(start, |sum, part| Self { values: sum.values + part.values, bytes: sum.bytes.max(part.bytes) })
    }
}

/// Collects what an expression reads, its size, and how deep its loops are.
#[derive(Default)]
struct Walk {
    paths: Vec<Path>,
    locals: Vec<String>,
    loops: u32,
    loops_max: u32,
    nodes: u64,
    growth: Growth,
}

impl Walk {
    fn visit(&mut self, expr: &IdedExpr) {
        self.nodes += 1;
        if let Some(path) = path_of(expr) {
            if !self.locals.contains(&path.root) && !path.root.starts_with('@') {
                self.paths.push(path);
            }
            return;
        }
        match &expr.expr {
            Expr::Call(call) => {
                match call.func_name.as_str() {
                    operators::ADD => self.growth.added += 1,
                    "format" => self.growth.added += call.args.iter().map(parts).sum::<u64>(),
                    "replace" if !shrinks(&call.args) => self.growth.multiplied += 1,
                    "join" => self.growth.multiplied += 1,
                    _ => {}
                }
                call.target.iter().for_each(|target| self.visit(target));
                call.args.iter().for_each(|arg| self.visit(arg));
            }
            Expr::Select(select) => self.visit(&select.operand),
            Expr::List(list) => list.elements.iter().for_each(|element| self.visit(element)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.visit_entry(&entry.expr)),
            Expr::Struct(made) => made.entries.iter().for_each(|entry| self.visit_entry(&entry.expr)),
            Expr::Comprehension(comprehension) => {
                self.visit(&comprehension.iter_range);
                let known = self.locals.len();
                self.locals.extend([comprehension.iter_var.clone(), comprehension.accu_var.clone()]);
                self.locals.extend(comprehension.iter_var2.clone());
                self.loops += 1;
                self.loops_max = self.loops_max.max(self.loops);
                for part in [
                    &comprehension.accu_init,
                    &comprehension.loop_cond,
                    &comprehension.loop_step,
                    &comprehension.result,
                ] {
                    self.visit(part);
                }
                self.loops -= 1;
                self.locals.truncate(known);
            }
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn visit_entry(&mut self, entry: &EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key);
                self.visit(&entry.value);
            }
        }
    }
}

/// Returns how many values a list of them names.
fn parts(expr: &IdedExpr) -> u64 {
    match &expr.expr {
        Expr::List(list) => list.elements.len() as u64,
        _ => 1,
    }
}

/// Tells whether a replacement cannot be longer than what it replaces.
fn shrinks(args: &[IdedExpr]) -> bool {
    let length = |arg: &IdedExpr| match &arg.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().len()),
        _ => None,
    };
    matches!(args, [from, to, ..] if length(from).zip(length(to)).is_some_and(|(from, to)| from > 0 && to <= from))
}

fn path_of(expr: &IdedExpr) -> Option<Path> {
    match &expr.expr {
        Expr::Ident(name) => Some(Path { root: name.clone(), steps: Vec::new() }),
        Expr::Select(select) => {
            let mut path = path_of(&select.operand)?;
            path.steps.push(Step::Field(select.field.clone()));
            Some(path)
        }
        Expr::Call(CallExpr { func_name, args, .. }) if func_name == operators::INDEX => {
            let [of, index] = args.as_slice() else { return None };
            let mut path = path_of(of)?;
            path.steps.push(match &index.expr {
                Expr::Literal(LiteralValue::String(name)) => Step::Field(name.inner().to_owned()),
                Expr::Literal(LiteralValue::Int(at)) => Step::Index(*at.inner()),
                _ => return None,
            });
            Some(path)
        }
        _ => None,
    }
}

impl Path {
    /// Writes the first steps as they stand in an expression.
    fn name(&self, steps: usize) -> String {
        let mut name = self.root.clone();
        for step in self.steps.iter().take(steps) {
            let _ = match step {
                Step::Field(field) if model::label::is_label_name(field) => write!(name, ".{field}"),
                Step::Field(field) => write!(name, "['{}']", cut(field, VALUE_BYTES_MAX)),
                Step::Index(index) => write!(name, "[{index}]"),
            };
        }
        name
    }

    fn find<'a>(&self, facts: &'a Facts) -> Option<Place<'a>> {
        let root = facts.get(&self.root).map(Place::Fact);
        self.steps.iter().fold(root, |at, step| at.and_then(|place| place.step(step)))
    }

    /// Tells whether the target did not say it, or said that there is none.
    fn is_absent(&self, facts: &Facts) -> bool {
        matches!(self.find(facts), None | Some(Place::Fact(Fact::Null) | Place::Json(Json::Null)))
            || matches!(self.find(facts), Some(Place::Fact(Fact::Json(Json::Null))))
    }

    fn show(&self, facts: &Facts) -> String {
        let name = self.name(self.steps.len());
        let hides = |step: &Step| matches!(step, Step::Field(field) if self.root == "headers" && is_hidden(field));
        let hidden = self.steps.iter().any(hides);
        let value = match self.find(facts) {
            None => "absent".to_owned(),
            Some(_) if hidden => "hidden".to_owned(),
            Some(place) => place.show(),
        };
        format!("{name} = {value}")
    }
}

fn is_hidden(header: &str) -> bool {
    HEADERS_HIDDEN.iter().any(|hidden| header.eq_ignore_ascii_case(hidden))
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Fact(&'a Fact),
    Json(&'a Json),
}

impl<'a> Place<'a> {
    fn step(self, step: &Step) -> Option<Self> {
        match (self, step) {
            (Self::Fact(Fact::Map(entries)), Step::Field(field)) => entries.get(field).map(Place::Fact),
            (Self::Fact(Fact::List(items)), Step::Index(at)) => items.get(usize::try_from(*at).ok()?).map(Place::Fact),
            (Self::Fact(Fact::Json(json)), _) => Place::Json(json).step(step),
            (Self::Json(Json::Object(entries)), Step::Field(field)) => entries.get(field).map(Place::Json),
            (Self::Json(Json::Array(items)), Step::Index(at)) => items.get(usize::try_from(*at).ok()?).map(Place::Json),
            _ => None,
        }
    }

    fn show(self) -> String {
        match self {
            Self::Fact(fact) => match fact {
                Fact::Null => "null".to_owned(),
                Fact::Bool(value) => value.to_string(),
                Fact::Int(value) => value.to_string(),
                Fact::Float(value) => value.to_string(),
                Fact::Text(text) => quote(text),
                Fact::Hidden(text) => format!("{} bytes", text.len()),
                Fact::Duration(value) => format!("{:.1} ms", value.as_secs_f64() * 1e3),
                Fact::List(items) if items.iter().all(|item| matches!(item, Fact::Text(_))) => {
                    let shown: Vec<_> = items.iter().map(|item| Place::Fact(item).show()).collect();
                    cut(&format!("[{}]", shown.join(", ")), VALUE_BYTES_MAX)
                }
                Fact::List(items) => format!("{} items", items.len()),
                Fact::Map(entries) => format!("{} entries", entries.len()),
                Fact::Json(json) => Place::Json(json).show(),
            },
            Self::Json(json) => match json {
                Json::String(text) => quote(text),
                Json::Array(items) => format!("{} items", items.len()),
                Json::Object(entries) => format!("{} entries", entries.len()),
                scalar => scalar.to_string(),
            },
        }
    }
}

fn quote(text: &str) -> String {
    format!("{:?}", cut(text, VALUE_BYTES_MAX))
}

fn to_cel(fact: &Fact) -> Value {
    match fact {
        Fact::Null => Value::Null,
        Fact::Bool(value) => Value::Bool(*value),
        Fact::Int(value) => Value::Int(*value),
        Fact::Float(value) => Value::Float(*value),
        Fact::Text(text) | Fact::Hidden(text) => text.as_str().into(),
        Fact::Duration(value) => {
            let nanos = i64::try_from(value.as_nanos()).unwrap_or(i64::MAX);
            Value::Duration(chrono::Duration::nanoseconds(nanos))
        }
        Fact::List(items) => Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Fact::Map(entries) => map_to_cel(entries.iter().map(|(key, fact)| (key, to_cel(fact)))),
        Fact::Json(json) => json_to_cel(json),
    }
}

fn json_to_cel(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(json_to_cel).collect())),
        Json::Object(entries) => map_to_cel(entries.iter().map(|(key, value)| (key, json_to_cel(value)))),
    }
}

fn map_to_cel<'a>(entries: impl Iterator<Item = (&'a String, Value)>) -> Value {
    let entries: HashMap<String, Value> = entries.map(|(key, value)| (key.clone(), value)).collect();
    Value::Map(entries.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::fact::fact;

    const NAMES: [FactSpec; 5] =
        [fact("status", ""), fact("json", ""), fact("body", ""), fact("headers", ""), fact("list", "")];

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn judge(conditions: &[&str], degraded_if: &[&str], seen: Observation) -> Judged {
        Conditions::compile(&texts(conditions), &texts(degraded_if), &NAMES).expect("compiles").judge(&seen)
    }

    fn issue(condition: &str) -> Issue {
        Conditions::compile(&texts(&[condition]), &[], &NAMES).expect_err("refused").remove(0)
    }

    #[test]
    fn values_of_every_type_are_compared_and_shown() {
        let seen = || {
            let list = Fact::List(vec![Fact::Null, Fact::Int(1)]);
            Observation::up()
                .fact("status", 200_i64)
                .fact("list", list)
                .fact("headers", Fact::map([("a", Fact::from(vec!["x", "y"])), ("f", 1.5.into()), ("b", true.into())]))
                .fact("json", json!({"u": u64::MAX, "n": null, "f": 0.5, "o": {"k": 1}, "a": [], "t": "é", "b": false}))
                .fact("body", Fact::Hidden("x".repeat(9)))
                .fact("timing", Fact::map([("total", Fact::Duration(Duration::from_millis(750)))]))
        };
        for (term, actual) in [
            ("status == 201", "status = 200"),
            ("timing.total < duration('500ms')", "timing.total = 750.0 ms"),
            ("json.u == 1u", "json.u = 18446744073709551615"),
            ("json.n == 1", "json.n = null"),
            ("json.f > 1.0 || json.b", "json.b = false, json.f = 0.5"),
            ("size(json.o) == 0", "json.o = 1 entries"),
            ("size(json.a) == 1", "json.a = 0 items"),
            ("json.t == 'e'", "json.t = \"é\""),
            ("body == ''", "body = 9 bytes"),
            ("size(headers.a) == 0", "headers.a = [\"x\", \"y\"]"),
            ("size(headers) == 0", "headers = 3 entries"),
            ("headers.f > 2.0 || !headers.b", "headers.b = true, headers.f = 1.5"),
            ("list[0] != null", "list[0] = null"),
            ("list[7] == 1", "list[7] = absent (there is no such index)"),
            ("size(list) == 0", "list = 2 items"),
            (
                "json.t[0] == ''",
                "json.t[0] = absent (found no matching overload for '_[_]' applied to '(string, int)')",
            ),
            ("json.a.exists(x, x == status)", "json.a = 0 items, status = 200"),
            ("[1, 2].map(x, {'k': x + status})[0].k == 0", "status = 200"),
            ("status / 0 == 1", "status = 200 (it cannot be evaluated)"),
            ("1 == 2", ""),
        ] {
            let judged = judge(&[term], &[], seen());
            assert_eq!(judged.outcomes[0].actual.as_str(), actual, "{term}");
            let state = if term == "status / 0 == 1" { State::Unknown } else { State::Down };
            assert_eq!(judged.state, state, "{term}");
        }
        let judged = judge(&["status == 200 && timing.total < duration('1s')", "headers.a[0] == 'x'"], &[], seen());
        assert_eq!((judged.state, judged.outcomes.len(), judged.reason.as_str()), (State::Up, 3, ""));
    }

    /// A comparison that cannot be made is a fault of the condition: it paged people for an outage.
    #[test]
    fn what_cannot_be_judged_is_unknown_and_not_down() {
        let seen = || Observation::up().fact("status", 200_i64).fact("json", json!({"a": "x", "n": null}));
        for (term, state, reason) in [
            (
                "json.a > 5",
                State::Unknown,
                "json.a > 5 cannot be judged: json.a = \"x\" (found no matching overload for '_>_' applied to '(string, int)')",
            ),
            ("json.a", State::Unknown, "json.a cannot be judged: json.a = \"x\" (it is a string, not true or false)"),
            (
                "status / 0 == 1",
                State::Unknown,
                "status / 0 == 1 cannot be judged: status = 200 (it cannot be evaluated)",
            ),
            // What the target did not say is its own fault.
            ("json.b > 5", State::Down, "json.b > 5 does not hold: json.b = absent (there is no b)"),
            ("json.n > 5", State::Down, "json.n > 5 does not hold: json.n = null"),
            ("body == ''", State::Down, "body == '' does not hold: body = absent (there is no body)"),
            ("json.a == 5", State::Down, "json.a == 5 does not hold: json.a = \"x\""),
        ] {
            let judged = judge(&[term], &[], seen());
            assert!(judged.state == state && judged.reason.starts_with(reason), "{term}: {judged:?}");
        }
        let both = judge(&["json.a > 5", "status == 500"], &[], seen());
        assert_eq!((both.state, both.reason.as_str()), (State::Down, "status == 500 does not hold: status = 200"));
        let unsure = judge(&["status == 200"], &["json.a > 5"], seen());
        assert_eq!((unsure.state, unsure.outcomes.len()), (State::Unknown, 2));
        assert!(unsure.reason.starts_with("json.a > 5 cannot be judged"), "{}", unsure.reason);
        let slow = judge(&[], &["json.a > 5"], Observation::degraded("slow").fact("json", json!({"a": "x"})));
        assert_eq!((slow.state, slow.reason.as_str()), (State::Degraded, "slow"));
    }

    #[test]
    fn degraded_if_only_degrades() {
        let seen = || Observation::up().fact("status", 200_i64);
        let judged = judge(&[], &["status == 200 && status < 300", "json.x == 1"], seen());
        assert_eq!(judged.state, State::Degraded);
        assert_eq!(judged.reason, "status == 200 && status < 300 (status = 200)");
        assert_eq!(judged.outcomes.len(), 1);
        let judged = judge(&["status == 1"], &["status == 200"], seen());
        assert_eq!((judged.state, judged.outcomes.len()), (State::Down, 2));
        assert_eq!(judged.reason, "status == 1 does not hold: status = 200");
        let already = judge(&[], &["status == 1"], Observation::degraded("slow").fact("status", 200_i64));
        assert_eq!((already.state, already.reason.as_str()), (State::Degraded, "slow"));
        let down = judge(&["status == 1"], &[], Observation::down("refused"));
        assert_eq!((down.state, down.reason.as_str(), down.outcomes.len()), (State::Down, "refused", 0));
        assert_eq!(judge(&["1 == 2"], &[], Observation::up()).reason, "1 == 2 does not hold");
    }

    #[test]
    fn what_cannot_be_compiled_is_said() {
        assert!(issue("status ==").message.starts_with("not a CEL expression: line 1, column"));
        let unknown = issue("statsu == 1");
        assert_eq!(unknown.message, "there is no fact called statsu");
        assert_eq!(unknown.suggestion.as_deref(), Some("this kind has status, json, body, headers, list, timing"));
        assert_eq!(unknown.path, "conditions.0");
        let deep = "json.a.all(a, json.a.all(b, json.a.all(c, json.a.all(d, a == b && c == d))))";
        assert!(issue(deep).message.contains("loops within each other"));
        assert!(issue(&format!("'{}' == ''", "x".repeat(CONDITION_BYTES_MAX))).message.contains("bytes"));
        let degraded = Conditions::compile(&[], &texts(&["("]), &NAMES).expect_err("refused");
        assert_eq!(degraded[0].path, "degraded_if.0");
        let compiled =
            Conditions::compile(&texts(&["has(json.a) && [status] == [1] && {'a': body} == {}"]), &[], &NAMES);
        let reads: Vec<_> = compiled.expect("compiles").reads().iter().cloned().collect();
        assert_eq!(reads, ["body", "json", "status"]);
    }

    #[test]
    fn what_would_cost_too_much_is_not_evaluated() {
        let items: Vec<_> = (0..2_000).collect();
        let body = || Fact::Hidden("x".repeat(1 << 20));
        let seen = || Observation::up().fact("json", json!({ "a": items })).fact("body", body());
        let refused = "not evaluated: the answer is too large for its loops";
        for (term, actual) in [
            ("json.a.exists(a, a == 5000)", "json.a = 2000 items"),
            ("json.a.exists(a, json.a.exists(b, a == b + 9000))", refused),
            ("json.a.exists(a, body.contains('y'))", refused),
        ] {
            assert_eq!(judge(&[term], &[], seen()).outcomes[0].actual, actual, "{term}");
        }
    }

    /// A megabyte with itself between its bytes is a terabyte, and the end of the process.
    #[test]
    fn what_would_grow_too_large_is_not_made() {
        let body = "x".repeat(1 << 20);
        let seen =
            || Observation::up().fact("body", Fact::Hidden(body.clone())).fact("json", json!({"a": "b", "n": 2}));
        let refused = "not evaluated: the answer is too large for what would be made of it";
        for (term, ok) in [
            ("body.replace('', body) == ''", false),
            ("body.replace('x', body) == ''", false),
            ("body.replace('x', 'yyyy').contains('yyyyz')", false),
            ("body.split('').join(body) == ''", false),
        ] {
            let outcome = judge(&[term], &[], seen()).outcomes.remove(0);
            assert_eq!((outcome.ok, outcome.actual.as_str()), (ok, refused), "{term}");
        }
        for term in [
            "body.replace('xx', '').contains('x') || true",
            "(body + body).contains('xx')",
            "json.n + 1 == 3",
            "json.a.replace('b', 'cc') == 'cc'",
            "[json.a, 'c'].join('-') == 'b-c'",
        ] {
            assert!(judge(&[term], &[], seen()).outcomes[0].ok, "{term}");
        }
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abc…");
        assert_eq!(cut("ééé", 5), "é…");
        let seen = Observation::up().fact("json", json!({"t": "é".repeat(4_000)}));
        let judged = judge(&["json.t == ''"], &[], seen);
        assert!(judged.outcomes[0].actual.len() < 250 && judged.reason.len() <= REASON_BYTES_MAX);
    }
}
