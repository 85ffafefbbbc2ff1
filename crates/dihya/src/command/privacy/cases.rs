//! `dihya privacy test`: cases that say what a policy makes of an event, held against what it makes.

use std::path::Path;
use std::sync::Arc;

use model::config::{FieldSpec, Node, Problem, Spec, Tree, Ty};
use privacy::{Event, Policy, Redactor};

use crate::cli::{DATA_DIR_DEFAULT, PrivacyTestArgs};
use crate::config::{self, render, validate, yaml};
use crate::failure::{BadConfig, DONE, FAILED, misuse};
use crate::terminal::{self, paint};

static CASE: Spec = Spec {
    name: "cases.*",
    doc: "One event and what is to become of it.",
    fields: &[
        FieldSpec::optional("name", Ty::Text, "", "What people call it."),
        FieldSpec::optional("stream", Ty::Text, "", "The stream that the event belongs to."),
        FieldSpec::required("input", Ty::Any, "A line, or the body of an event."),
        FieldSpec::required("expected", Ty::Any, "What is stored."),
    ],
};

static FILE: Spec = Spec {
    name: "cases",
    doc: "Cases for `dihya privacy test`.",
    fields: &[FieldSpec::required("cases", Ty::List(&Ty::Object(&CASE)), "The cases.")],
};

/// Runs the cases of a file.
pub(super) fn run(args: &PrivacyTestArgs) -> anyhow::Result<u8> {
    let policy = match &args.config {
        Some(path) => {
            let loaded = config::load(Some(path), Path::new(DATA_DIR_DEFAULT))?;
            Policy::new(&loaded.privacy, Arc::new(loaded.redactor()?))?
        }
        None => Policy::new(&privacy::Config::default(), Arc::new(Redactor::new()))?,
    };
    let name = args.file.display().to_string();
    let text = read(&args.file)?;
    let root =
        parse(&text).map_err(|problems| BadConfig(render::render(&name, &text, &problems, terminal::colours_err())))?;
    let report = check(&policy, &name, &root, terminal::colours_out());
    terminal::out(&report.text);
    Ok(if report.failed == 0 { DONE } else { FAILED })
}

fn read(file: &Path) -> anyhow::Result<String> {
    let unreadable = |why: String| misuse(format!("could not read {}: {why}", file.display()));
    let len = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
    if len > yaml::FILE_BYTES_MAX as u64 {
        return Err(unreadable(format!("it exceeds {} bytes", yaml::FILE_BYTES_MAX)));
    }
    std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))
}

/// Reads the cases; all problems at once. Inputs are taken as they are written: `${env:...}` in one is text.
fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    let root = yaml::parse(text)?;
    let mut problems = Vec::new();
    validate::validate(
        &root,
        &Ty::Object(&FILE),
        "",
        Path::new("."),
        &config::reference::Os { base: Path::new(".").to_owned() },
        &mut problems,
    );
    if problems.is_empty() { Ok(root) } else { Err(problems) }
}

struct Report {
    text: String,
    failed: usize,
}

fn check(policy: &Policy, name: &str, root: &Node, colours: bool) -> Report {
    let mut report = Report { text: String::new(), failed: 0 };
    let cases: &[Node] = match root.get("cases").map(|node| &node.tree) {
        Some(Tree::List(cases)) => cases,
        _ => &[],
    };
    for case in cases {
        let json = case.to_json();
        let stream = json["stream"].as_str().unwrap_or_default();
        let event = Event { body: json["input"].clone().into(), ..Event::default() };
        // A case is read on its own, and so are its pseudonyms: none of them can be known before.
        let actual = match policy.clear_keyed(stream, event, &super::keystore()) {
            Ok((cleared, _, _)) => with_words(cleared.body().clone().into()),
            Err(error) => serde_json::Value::String(error.to_string()),
        };
        // Through the same type, so that `1` and `1.0` are what the store makes of them.
        let expected: serde_json::Value = model::Value::from(json["expected"].clone()).into();
        if actual == expected {
            continue;
        }
        report.failed += 1;
        let title = json["name"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
        report.text.push_str(&terminal::plain(&format!("{name}:{}:{title}", case.span.line)));
        report.text.push_str(&format!(
            "\n  {} {}\n  {} {}\n",
            paint("expected", "32", colours),
            terminal::plain(&expected.to_string()),
            paint("actual  ", "31", colours),
            terminal::plain(&actual.to_string()),
        ));
    }
    report.text.push_str(&format!("{} of {} cases as expected\n", cases.len() - report.failed, cases.len()));
    report
}

/// Puts `[pseudonym]` in the place of pseudonyms.
fn with_words(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::String(text) => {
            let mut shown = String::new();
            let mut rest = text.as_str();
            while let Some((before, _, after)) = privacy::find_pseudonym(rest) {
                shown.push_str(before);
                shown.push_str(if before.is_empty() && after.is_empty() { "[pseudonym]" } else { "pseudonym" });
                rest = after;
            }
            shown.push_str(rest);
            serde_json::Value::String(shown)
        }
        serde_json::Value::Array(items) => items.into_iter().map(with_words).collect(),
        serde_json::Value::Object(map) => map.into_iter().map(|(key, value)| (key, with_words(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudonyms_stand_as_a_word_in_cases() {
        let config = serde_json::json!({
            "types": {"email": {"action": "pseudonym"}},
            "streams": {"s": {"fields": {"user": "subject", "card": "seal"}}},
        });
        let config: privacy::Config = serde_json::from_value(config).expect("reads");
        let policy =
            Policy::new(&config, Arc::new(config.redactor([""; 0]).expect("is possible"))).expect("is possible");
        let text = "cases:\n\
            - {stream: s, input: {user: u1, card: '4242424242424242', m: ['to ana@example.org']}, \
            expected: {user: '[pseudonym]', card: '[card]', m: ['to [email:pseudonym]']}}\n";
        let report = check(&policy, "f.yaml", &parse(text).expect("reads"), false);
        assert_eq!(report.text, "1 of 1 cases as expected\n");
    }

    fn policy() -> Policy {
        let config = serde_json::json!({"streams": {"shop-*": {"fields": {"card": "drop", "ip": "generalise"}}}});
        let config: privacy::Config = serde_json::from_value(config).expect("reads");
        Policy::new(&config, Arc::new(Redactor::new())).expect("is possible")
    }

    #[test]
    fn cases_are_held_against_the_policy() {
        let text = "cases:\n\
            - {stream: shop-api, input: {card: '4242', ip: 203.0.113.9, n: 1}, expected: {ip: 203.0.113.0/24, n: 1}}\n\
            - {stream: other, input: 'mail ana@example.org', expected: 'mail [email]'}\n\
            - {name: wrong, stream: shop-api, input: {card: '4242'}, expected: {card: '[card]'}}\n";
        let report = check(&policy(), "f.yaml", &parse(text).expect("reads"), false);
        assert_eq!(report.failed, 1);
        assert_eq!(
            report.text,
            "f.yaml:4: wrong\n  expected {\"card\":\"[card]\"}\n  actual   {}\n2 of 3 cases as expected\n"
        );
    }

    #[test]
    fn all_problems_of_a_file_are_told() {
        let problems =
            parse("cases:\n  - {input: x, expectd: y}\n  - {expected: z}\nmore: 1\n").expect_err("are problems");
        assert!(problems.len() >= 3, "{problems:?}");
        assert!(
            problems.iter().any(|problem| problem.path.contains("expectd") && problem.span.line == 2),
            "{problems:?}"
        );
    }

    #[test]
    fn the_example_of_the_page_holds() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
        let args = PrivacyTestArgs { file: docs.join("privacy-cases.yaml"), config: Some(docs.join("privacy.yaml")) };
        assert_eq!(run(&args).expect("runs"), DONE);
    }
}
