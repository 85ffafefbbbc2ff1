//! The terminal: what is printed where, and whether in colour.

use std::io::{IsTerminal, Write};

/// Writes to standard output. A reader that went away (`dihya ... | head`) is no failure.
pub(crate) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes to standard error.
pub(crate) fn err(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Tells whether standard output is a terminal.
pub(crate) fn is_interactive() -> bool {
    std::io::stdout().is_terminal()
}

/// Tells whether standard error is a terminal.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Tells whether standard output may be coloured: a terminal, and no `NO_COLOR`.
pub(crate) fn colours_out() -> bool {
    is_interactive() && crate::config::reference::env("NO_COLOR").is_none()
}

/// Tells whether standard error may be coloured.
pub(crate) fn colours_err() -> bool {
    is_watched() && crate::config::reference::env("NO_COLOR").is_none()
}

/// Colours `text` with an ANSI code where `colours` says so.
pub(crate) fn paint(text: &str, code: &str, colours: bool) -> String {
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Takes out of `text` what a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Lays out rows in columns as wide as their widest cell, two spaces apart.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| for_people(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Returns a cell without control characters, and a time to the second: nobody reads its nanoseconds.
fn for_people(cell: &str) -> String {
    match cell.parse::<model::Timestamp>() {
        Ok(time) if cell.ends_with('Z') => format!("{time:.0}"),
        _ => plain(cell),
    }
}

/// Lays out rows whose last cell may hold escapes of ours: it is not measured and not cleaned.
pub(crate) fn table_coloured(rows: &[Vec<String>]) -> String {
    let width = rows.iter().filter_map(|row| row.first()).map(|cell| cell.chars().count()).max().unwrap_or(0);
    rows.iter().map(|row| format!("  {:<width$}  {}\n", row[0], row[1..].concat())).collect()
}

/// A line that counts on a terminal and is silent elsewhere.
pub(crate) struct Progress {
    what: &'static str,
    shown: bool,
    last_percent: u64,
}

impl Progress {
    /// Starts a line about `what`.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, shown: is_watched(), last_percent: u64::MAX }
    }

    /// Shows how much of the whole is done.
    pub(crate) fn update(&mut self, done: u64, total: u64) {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100).min(100);
        if self.shown && percent != self.last_percent {
            self.last_percent = percent;
            let filled = usize::try_from(percent / 4).unwrap_or(0);
            let bar = format!("{}{}", "#".repeat(filled), "-".repeat(25 - filled.min(25)));
            err(&format!("\r{} [{bar}] {percent:>3} %", self.what));
        }
    }

    /// Removes the line.
    pub(crate) fn finish(&self) {
        if self.shown && self.last_percent != u64::MAX {
            err("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["é".to_owned(), "b".into()], vec!["ccc".into(), "d".into(), "e".into()], vec![]];
        assert_eq!(table(&rows), "é    b\nccc  d  e\n\n");
        assert_eq!(table(&[]), "");
        assert_eq!(
            table(&[vec!["2026-11-22T19:23:25.697711612Z".into(), "a\tb".into()]]),
            "2026-11-22T19:23:25Z  a b\n"
        );
    }

    #[test]
    fn colour_is_an_escape_or_nothing() {
        assert_eq!(paint("x", "31", true), "\x1b[31mx\x1b[0m");
        assert_eq!(paint("x", "31", false), "x");
        let mut progress = Progress { what: "test", shown: true, last_percent: u64::MAX };
        progress.update(1, 2);
        assert_eq!(progress.last_percent, 50);
        progress.update(5, 0);
        assert_eq!(progress.last_percent, 100);
        progress.finish();
    }
}
