//! Conditions: CEL expressions compiled once, judged term by term, with the actual values of what did not hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::{Context, Env, ExecutionError, Value};
use model::limits::{CONDITION_BYTES_MAX, CONDITION_COST_MAX, REASON_BYTES_MAX};
use model::{ConditionOutcome, State};
use serde_json::Value as Json;

use crate::config::Issue;
use crate::fact::{Fact, Facts};
use crate::kind::Observation;

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
    /// Compiles conditions that may read the facts called `names`, and `timing`.
    ///
    /// # Errors
    /// When one does not parse, reads another fact, or loops too deep; paths are `conditions.N` and `degraded_if.N`.
    pub fn compile(conditions: &[String], degraded_if: &[String], names: &[&str]) -> Result<Self, Vec<Issue>> {
        let mut issues = Vec::new();
        let mut compiled = Self::default();
        for (index, text) in conditions.iter().enumerate() {
            for term in split::terms(text) {
                match Term::compile(term, names) {
                    Ok(term) => compiled.up.push(term),
                    Err(issue) => issues.push(issue.below(&format!("conditions.{index}"))),
                }
            }
        }
        for (index, text) in degraded_if.iter().enumerate() {
            match Term::compile(text, names) {
                Ok(term) => compiled.degraded_if.push(term),
                Err(issue) => issues.push(issue.below(&format!("degraded_if.{index}"))),
            }
        }
        let terms = compiled.up.iter().chain(&compiled.degraded_if);
        compiled.reads = Arc::new(terms.flat_map(|term| &term.paths).map(|path| path.root.clone()).collect());
        if issues.is_empty() { Ok(compiled) } else { Err(issues) }
    }

    /// Returns the names of the facts that the conditions read.
    #[must_use]
    pub const fn reads(&self) -> &Arc<BTreeSet<String>> {
        &self.reads
    }

    /// Judges what a probe saw. Where the probe itself found the target down, or could not tell, nothing is judged.
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
        let failed: Vec<_> = self.up.iter().map(|term| term.hold(&context, &facts)).collect();
        let count = failed.iter().filter(|outcome| !outcome.ok).count();
        if let Some(first) = failed.iter().find(|outcome| !outcome.ok) {
            judged.state = State::Down;
            judged.reason = reason(first, count);
        }
        judged.outcomes = failed;
        for term in &self.degraded_if {
            // What cannot be evaluated, because there is no such value, does not hold.
            let outcome = term.hold(&context, &facts);
            if outcome.ok {
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

impl Term {
    fn compile(text: &str, names: &[&str]) -> Result<Self, Issue> {
        if text.len() > CONDITION_BYTES_MAX {
            return Err(Issue::new("", format!("a condition may have {CONDITION_BYTES_MAX} bytes")));
        }
        let program = ENV.compile(text).map_err(|errors| Issue::new("", syntax(&errors)))?;
        let mut walk = Walk::default();
        walk.visit(program.expression());
        if walk.loops_max > LOOPS_MAX {
            return Err(Issue::new("", format!("a condition may have {LOOPS_MAX} loops within each other")));
        }
        walk.paths.sort();
        walk.paths.dedup();
        for path in &walk.paths {
            if path.root != "timing" && !names.contains(&path.root.as_str()) {
                let known: Vec<_> = names.iter().copied().chain(["timing"]).collect();
                let issue = Issue::new("", format!("there is no fact called {}", cut(&path.root, VALUE_BYTES_MAX)));
                return Err(issue.suggest(format!("this kind has {}", known.join(", "))));
            }
        }
        Ok(Self {
            text: text.trim().to_owned(),
            program: program.expression().clone(),
            paths: walk.paths,
            loops: walk.loops_max,
            nodes: walk.nodes,
        })
    }

    fn hold(&self, context: &Context<'_, '_>, seen: &Seen<'_>) -> ConditionOutcome {
        let expr = self.text.clone();
        if self.cost(seen) > CONDITION_COST_MAX {
            let actual = "not evaluated: the answer is too large for its loops".to_owned();
            return ConditionOutcome { expr, ok: false, actual };
        }
        let why = match Value::resolve(&self.program, context) {
            Ok(Value::Bool(true)) => return ConditionOutcome { expr, ok: true, actual: String::new() },
            Ok(Value::Bool(false)) => None,
            Ok(other) => Some(format!("it is a {}, not true or false", other.type_of())),
            Err(ExecutionError::NoSuchKey(key)) => Some(format!("there is no {}", cut(&key, VALUE_BYTES_MAX))),
            Err(ExecutionError::UndeclaredReference(name)) => Some(format!("there is no {name}")),
            Err(ExecutionError::NoSuchOverload(error)) => Some(cut(&error.to_string(), VALUE_BYTES_MAX)),
            Err(ExecutionError::IndexOutOfBounds(_)) => Some("there is no such index".to_owned()),
            Err(_) => Some("it cannot be evaluated".to_owned()),
        };
        let mut actual = self.actual(seen.facts);
        if let Some(why) = why {
            let _ = if actual.is_empty() { write!(actual, "{why}") } else { write!(actual, " ({why})") };
        }
        ConditionOutcome { expr, ok: false, actual: cut(&actual, REASON_BYTES_MAX) }
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

    fn actual(&self, facts: &Facts) -> String {
        let shown: Vec<_> = self.paths.iter().map(|path| path.show(facts)).collect();
        cut(&shown.join(", "), REASON_BYTES_MAX)
    }
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
    fn show(&self, facts: &Facts) -> String {
        let mut name = self.root.clone();
        let mut at = facts.get(&self.root).map(Place::Fact);
        let mut hidden = false;
        for step in &self.steps {
            let _ = match step {
                Step::Field(field) if model::label::is_label_name(field) => write!(name, ".{field}"),
                Step::Field(field) => write!(name, "['{}']", cut(field, VALUE_BYTES_MAX)),
                Step::Index(index) => write!(name, "[{index}]"),
            };
            hidden |= matches!(step, Step::Field(field) if self.root == "headers" && is_hidden(field));
            at = at.and_then(|place| place.step(step));
        }
        let value = match at {
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
