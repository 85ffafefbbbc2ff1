//! Problems as people read them in a terminal: the place, the line, a caret, and what to write instead.

use std::fmt::Write as _;

use model::config::Problem;

use super::validate::SECRET_IN_THE_OPEN;

/// Longest part of a source line that is shown.
const LINE_CHARS_MAX: usize = 160;

/// Renders `problems` of the file `name` whose text is `source`. `colour` adds ANSI escapes.
pub(crate) fn render(name: &str, source: &str, problems: &[Problem], colour: bool) -> String {
    let style = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let lines: Vec<&str> = source.lines().collect();
    let mut out = String::new();
    for problem in problems {
        let place = format!("{name}:{}:{}", problem.span.line, problem.span.column);
        let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", printable(&problem.path)) };
        let _ = writeln!(out, "{}: {}: {path}{}", place, style("1;31", "error"), printable(&problem.message));
        if let Some(line) = line_of(&lines, problem) {
            let gutter = problem.span.line.to_string();
            let pad = " ".repeat(gutter.len());
            let before = usize::try_from(problem.span.column).unwrap_or(1).saturating_sub(1).min(line.chars().count());
            let _ = writeln!(out, "{} {}", style("34", &format!("{gutter} |")), line);
            let caret = format!("{}{}", " ".repeat(before), style("1;31", "^"));
            let _ = writeln!(out, "{} {caret}", style("34", &format!("{pad} |")));
        }
        if let Some(suggestion) = &problem.suggestion {
            let _ = writeln!(out, "  {} {}", style("36", "help:"), printable(suggestion));
        }
    }
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    let _ = writeln!(out, "{}", style("1", &format!("{name}: {count}")));
    out
}

/// The source line, up to the value when the value is a secret, without control characters that a terminal obeys.
fn line_of(lines: &[&str], problem: &Problem) -> Option<String> {
    let line = lines.get(usize::try_from(problem.span.line).ok()?.checked_sub(1)?)?;
    let column = usize::try_from(problem.span.column).ok()?;
    if column > LINE_CHARS_MAX {
        return None;
    }
    if problem.message.starts_with(SECRET_IN_THE_OPEN) {
        let before: String = line.chars().take(column.saturating_sub(1)).collect();
        // Two secrets may share a line: what stands before is shown only if it is the key alone.
        let alone = before.trim().strip_suffix(':').is_some_and(|key| !key.contains([':', '{', ',']));
        return alone.then(|| format!("{}…", printable(&before)));
    }
    let shown: String = printable(line).chars().take(LINE_CHARS_MAX).collect();
    Some(super::without_credentials(&shown))
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use model::config::Span;

    use super::*;

    fn problem(line: u32, column: u32, path: &str, message: &str, suggestion: Option<&str>) -> Problem {
        Problem {
            span: Span { line, column },
            path: path.into(),
            message: message.into(),
            suggestion: suggestion.map(Into::into),
        }
    }

    #[test]
    fn the_line_and_a_caret_are_shown() {
        let source = "checks:\n  é: {intervall: 5s}\n  pw: hunter2\n  a: {b: secret, pw: hunter2}\n";
        let secret = format!("{SECRET_IN_THE_OPEN}, expected a reference to it");
        let problems = [
            problem(2, 7, "checks.é.intervall", "unknown key", Some("did you mean interval?")),
            problem(3, 7, "pw", &secret, None),
            problem(4, 22, "a.pw", &secret, None),
            problem(9, 1, "", "the end\u{1b}[31m is missing", None),
            problem(1, 500, "x", "far right", None),
        ];
        let text = render("dihya.yaml", source, &problems, false);
        assert!(!text.contains("hunter2"));
        expect![[r#"
            dihya.yaml:2:7: error: checks.é.intervall: unknown key
            2 |   é: {intervall: 5s}
              |       ^
              help: did you mean interval?
            dihya.yaml:3:7: error: pw: a secret stands in the open, expected a reference to it
            3 |   pw: …
              |       ^
            dihya.yaml:4:22: error: a.pw: a secret stands in the open, expected a reference to it
            dihya.yaml:9:1: error: the end [31m is missing
            dihya.yaml:1:500: error: x: far right
            dihya.yaml: 5 problems
        "#]]
        .assert_eq(&text);
        assert!(render("d", "a", &problems[..1], true).contains("\x1b[1;31merror\x1b[0m"));
        assert!(render("d", "a", &problems[..1], false).ends_with("d: 1 problem\n"));
    }
}
