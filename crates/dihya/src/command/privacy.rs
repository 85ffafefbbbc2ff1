//! `dihya privacy`: what counts as personal data, why, and where it lies in files that exist already.

mod cases;
mod scan;

use std::fmt::Write as _;
use std::io::{BufRead, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use disk::{OsClock, OsDisk, OsRng};
use privacy::keystore::Means;
use privacy::{Explained, Finding, Keystore, Redactor};
use serde_json::json;

use crate::cli::PrivacyCommand;
use crate::config;
use crate::exposures::{self, Row};
use crate::failure::DONE;
use crate::terminal::{self, paint};

/// Longest line that is read at once; a longer one is looked at in pieces.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Runs the command.
pub(super) fn run(command: PrivacyCommand) -> anyhow::Result<u8> {
    match command {
        PrivacyCommand::Explain { json, config } => explain(&redactor(config.as_deref())?, json),
        PrivacyCommand::Exposure { data_dir, json } => {
            let dir = data_dir.unwrap_or_else(|| crate::cli::DATA_DIR_DEFAULT.into());
            let rows = exposures::read(&OsDisk, &dir)?;
            terminal::out(&exposed(&rows, json));
            Ok(DONE)
        }
        PrivacyCommand::Test(args) => cases::run(&args),
        PrivacyCommand::Scan { files, format, samples, config } => {
            scan::run(&redactor(config.as_deref())?, &files, format, samples)
        }
    }
}

/// The redactor of a configuration, or one that keeps nothing.
fn redactor(path: Option<&Path>) -> anyhow::Result<Redactor> {
    match path {
        Some(path) => config::load(Some(path), Path::new(crate::cli::DATA_DIR_DEFAULT))?.redactor(),
        None => Ok(Redactor::new()),
    }
}

fn explain(redactor: &Redactor, json: bool) -> anyhow::Result<u8> {
    let mut input = std::io::stdin().lock();
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    let colours = terminal::colours_out();
    let mut line = Vec::new();
    let keystore = keystore();
    loop {
        line.clear();
        if input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).context("could not read standard input")?
            == 0
        {
            break;
        }
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
        let text = text.strip_suffix('\r').unwrap_or(&text);
        let explained = redactor.explain_keyed(text, &keystore)?;
        let shown =
            if json { as_json(redactor, text, &explained) } else { for_people(redactor, text, &explained, colours) };
        // A reader that went away (`| head`) is no failure.
        if output.write_all(shown.as_bytes()).is_err() {
            return Ok(DONE);
        }
    }
    let _ = output.flush();
    Ok(DONE)
}

/// What passed, for programs or for people.
fn exposed(rows: &[Row], json: bool) -> String {
    if json {
        return rows.iter().map(|row| format!("{}\n", json!(row))).collect();
    }
    let mut table = vec![["day", "tenant", "stream", "type", "count"].map(str::to_owned).to_vec()];
    table.extend(rows.iter().map(|row| {
        vec![row.day.clone(), row.tenant.to_string(), row.stream.clone(), row.kind.clone(), row.count.to_string()]
    }));
    terminal::table(&table)
}

/// What is done with a finding.
fn action(redactor: &Redactor, finding: &Finding) -> &'static str {
    if finding.kept { "keep" } else { redactor.action(finding.kind).as_str() }
}

/// A keystore of this one command: its pseudonyms show where some would stand, and are nobody's afterwards.
fn keystore() -> Keystore {
    let means = Means { disk: Arc::new(OsDisk), rng: Arc::new(OsRng), clock: Arc::new(OsClock::default()) };
    Keystore::in_memory(means, model::Tenant::default())
}

/// Places in code points, for findings in ascending order.
fn places(text: &str, findings: &[Finding]) -> Vec<(usize, usize)> {
    let (mut bytes, mut points) = (0, 0);
    let mut to = |at: usize| {
        points += text.get(bytes..at).map_or(0, |part| part.chars().count());
        bytes = at;
        points
    };
    findings.iter().map(|finding| (to(finding.range.start), to(finding.range.end))).collect()
}

fn as_json(redactor: &Redactor, text: &str, explained: &Explained) -> String {
    let spans: Vec<_> = explained
        .findings
        .iter()
        .zip(places(text, &explained.findings))
        .map(|(finding, (start, end))| {
            json!({"start": start, "end": end, "type": finding.kind.name(), "action": action(redactor, finding)})
        })
        .collect();
    format!("{}\n", json!({"spans": spans, "cleared": explained.cleared}))
}

/// The cleared line, and under it one line for each finding.
fn for_people(redactor: &Redactor, text: &str, explained: &Explained, colours: bool) -> String {
    let mut shown = String::new();
    let mut copied_to = 0;
    for finding in &explained.findings {
        shown.push_str(&terminal::plain(text.get(copied_to..finding.range.start).unwrap_or_default()));
        let piece = if finding.kept {
            paint(&terminal::plain(text.get(finding.range.clone()).unwrap_or_default()), "33", colours)
        } else {
            paint(&format!("[{}]", finding.kind.as_str()), "1;32", colours)
        };
        shown.push_str(&piece);
        copied_to = finding.range.end;
    }
    shown.push_str(&terminal::plain(text.get(copied_to..).unwrap_or_default()));
    shown.push('\n');
    for (finding, (start, end)) in explained.findings.iter().zip(places(text, &explained.findings)) {
        let place = paint(&format!("{start}-{end}"), "2", colours);
        let _ = writeln!(shown, "  {} {} {place}", action(redactor, finding), finding.kind.name());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_is_shown() {
        let row = Row {
            tenant: model::Tenant::default(),
            day: "2026-11-27".to_owned(),
            stream: "shop".to_owned(),
            kind: "EMAIL".to_owned(),
            count: 6,
        };
        let json =
            "{\"tenant\":\"default\",\"day\":\"2026-11-27\",\"stream\":\"shop\",\"type\":\"EMAIL\",\"count\":6}\n";
        assert_eq!(exposed(std::slice::from_ref(&row), true), json);
        let shown = exposed(&[row], false);
        assert!(shown.lines().count() == 2 && shown.contains("2026-11-27"), "{shown}");
    }

    #[test]
    fn places_are_code_points() {
        let text = "é ana@example.org";
        let redactor = Redactor::new();
        let explained = redactor.explain(text);
        assert_eq!(
            as_json(&redactor, text, &explained),
            "{\"spans\":[{\"start\":2,\"end\":17,\"type\":\"EMAIL\",\"action\":\"token\"}],\"cleared\":\"é [email]\"}\n"
        );
        assert_eq!(for_people(&redactor, text, &explained, false), "é [email]\n  token EMAIL 2-17\n");
        let kept = Redactor::new().with_declared(["ana@example.org"]).explain(text);
        assert_eq!(
            for_people(&redactor, text, &kept, true),
            "é \x1b[33mana@example.org\x1b[0m\n  keep EMAIL \x1b[2m2-17\x1b[0m\n"
        );
    }
}
