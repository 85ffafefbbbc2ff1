//! That each reason a probe gives can be said to people who do not read English.

use std::collections::BTreeSet;
use std::path::Path;

/// Where the French of reasons stands: English, ` = `, French, with `{}` for what changes.
const TABLE: &str = include_str!("../../alert/locales/fr/reasons.txt");
/// What a line has in which a reason is given.
const GIVES: [&str; 12] = [
    "Observation::down(",
    "Observation::degraded(",
    "Observation::unknown(",
    "Error::target(",
    "Error::ours(",
    "Broken::",
    "=> \"",
    "reason = ",
    "reason(\"",
    "Err(\"",
    "target(\"",
    "ours(\"",
];
/// Reasons made of parts, each of which the table has.
const COMPOSED: [&str; 3] = ["could not {}: {} ({})", "it takes", "its address is not public, and {}"];
/// What is said of a configuration, or to a peer, and not in a reason.
const OTHERS: [&str; 2] = ["not a CEL expression", "{} IN DNSKEY {}\\n"];

/// Puts `{}` for whatever a format takes in.
fn holed(literal: &str) -> String {
    let mut parts = literal.split('{');
    let mut holed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        holed.push_str("{}");
        holed.push_str(part.split_once('}').map_or("", |(_, after)| after));
    }
    holed
}

/// Yields the phrases among the literals of a line that gives a reason.
fn phrases(line: &str) -> impl Iterator<Item = String> {
    let start = line.trim_start();
    // A call over several lines has its text on a line of its own.
    let alone = start.starts_with('"') || start.starts_with("format!(\"");
    let gives = (alone || GIVES.iter().any(|sign| line.contains(sign))) && !start.starts_with("//");
    let literals = line.split('"').skip(1).step_by(2).filter(move |_| gives && !line.contains("#[expect("));
    literals.map(holed).filter(|phrase| {
        let words = phrase.replace("{}", "");
        let begins = phrase.starts_with(|c: char| c.is_ascii_lowercase() || c == '{');
        begins && phrase.contains(' ') && words.contains(|c: char| c.is_ascii_lowercase())
    })
}

fn sources(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn each_reason_of_a_probe_has_a_french_text() {
    let table: BTreeSet<&str> = TABLE.lines().filter_map(|line| line.split_once(" = ")).map(|(text, _)| text).collect();
    let has = |phrase: &str| {
        let parts = [phrase.split_once(": ").map(|(head, _)| head), phrase.rsplit_once(" (").map(|(head, _)| head)];
        let parts = [Some(phrase)].into_iter().chain(parts).flatten();
        COMPOSED.contains(&phrase)
            || OTHERS.contains(&phrase)
            || phrase.starts_with("expected ")
            || parts.into_iter().any(|part| table.contains(part))
    };
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let (mut count, mut lacking) = (0, Vec::new());
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // `fact.rs` says what values a condition may be held against, to who writes one.
        if ["tests.rs", "testing.rs", "reasons.rs", "fact.rs"].contains(&name) {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("is text");
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        for phrase in code.lines().flat_map(phrases) {
            count += 1;
            if !has(&phrase) {
                lacking.push(format!("{}: {phrase}", path.display()));
            }
        }
    }
    assert!(count > 150, "only {count} reasons were found");
    assert!(lacking.is_empty(), "no French in crates/alert/locales/fr/reasons.txt for:\n{}", lacking.join("\n"));
}
