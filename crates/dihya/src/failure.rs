//! How a command ends: exit codes, and an error chain printed once, at the edge.

use std::fmt;

/// A command did what it was asked, or a check is up.
pub(crate) const DONE: u8 = 0;
/// A command failed, or found something.
pub(crate) const FAILED: u8 = 1;
/// The command line or the configuration cannot be used.
pub(crate) const USAGE: u8 = 2;
/// `dihya check` cannot tell.
pub(crate) const UNKNOWN: u8 = 3;

/// An error whose cause is how the program was called or configured; everything to say was said in `0`.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// Makes an error that exits with the code for bad usage.
pub(crate) fn misuse(text: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Misuse(text.into()))
}

/// A configuration with problems, already rendered for people.
#[derive(Debug)]
pub(crate) struct BadConfig(pub(crate) String);

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for BadConfig {}

/// Something to try, told after the error.
#[derive(Debug)]
pub(crate) struct Hint(pub(crate) String);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns what to print for an error, and the code to exit with.
pub(crate) fn explain(error: &anyhow::Error) -> (String, u8) {
    if let Some(bad) = error.downcast_ref::<BadConfig>() {
        return (format!("{bad}\n"), USAGE);
    }
    let hint = error.downcast_ref::<Hint>().map(|hint| hint.0.clone());
    let chain: Vec<String> =
        error.chain().map(ToString::to_string).filter(|text| Some(text) != hint.as_ref()).collect();
    let mut text = format!("dihya: {}\n", chain.join(": "));
    if let Some(hint) = hint {
        text.push_str(&format!("hint: {hint}\n"));
    }
    let code = if error.downcast_ref::<Misuse>().is_some() { USAGE } else { FAILED };
    (text, code)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_chain_is_printed_once_with_the_hint_after_it() {
        let inner: anyhow::Result<()> = Err(anyhow::anyhow!("connection refused"));
        let error = inner.context("could not reach the server").context(Hint("start it".into())).expect_err("fails");
        assert_eq!(
            explain(&error),
            ("dihya: could not reach the server: connection refused\nhint: start it\n".to_owned(), FAILED)
        );
        assert_eq!(explain(&misuse("no")), ("dihya: no\n".to_owned(), USAGE));
        assert_eq!(explain(&anyhow::Error::new(BadConfig("a\nb\n\n".into()))), ("a\nb\n".to_owned(), USAGE));
    }
}
