//! `${env:NAME}` and `${file:PATH}`: how secrets reach the configuration without standing in it.
//!
//! This is the only place of the product that reads the environment. Values never appear in a problem: only the name
//! of the variable or file does.

use std::path::{Path, PathBuf};

/// Largest file that a reference may name.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Where references are looked up.
pub(crate) trait Sources {
    /// Returns the value of an environment variable.
    fn env(&self, name: &str) -> Option<String>;

    /// Returns the text of a file, relative to the configuration file.
    ///
    /// # Errors
    /// Says why the file cannot be used, without its content.
    fn file(&self, path: &str) -> Result<String, String>;

    /// Tells whether a file stands at an absolute path, whoever may read it.
    ///
    /// # Errors
    /// Says why it cannot be one.
    fn stands(&self, path: &Path) -> Result<(), String>;
}

/// The real environment and file system.
pub(crate) struct Os {
    /// What relative paths start from: the directory of the configuration file.
    pub base: PathBuf,
}

impl Sources for Os {
    fn env(&self, name: &str) -> Option<String> {
        env(name)
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let path = self.base.join(path);
        let reason = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            kind => kind.to_string(),
        };
        let metadata = std::fs::metadata(&path).map_err(reason)?;
        if !metadata.is_file() {
            return Err("it is not a file".to_owned());
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(format!("it exceeds {FILE_BYTES_MAX} bytes"));
        }
        let bytes = std::fs::read(&path).map_err(reason)?;
        String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
    }

    fn stands(&self, path: &Path) -> Result<(), String> {
        match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => Err("it is not a file".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("there is no such file".to_owned()),
            // A directory that only the server's own account may enter.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Reads a variable of the environment; empty counts as unset.
pub(crate) fn env(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "dihya/config is where the environment is read")]
    let value = std::env::var(name).ok();
    value.filter(|value| !value.is_empty())
}

/// What became of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// It refers to nothing.
    Literal(String),
    /// It held references among other text.
    Mixed(String),
    /// It was one reference and nothing else.
    Whole(String),
}

/// A reference that could not be followed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Which one, and why.
    pub(crate) why: String,
    /// What to do about it.
    pub(crate) suggestion: String,
}

/// Replaces the references in `text`; `$${` stands for `${`.
///
/// # Errors
/// Says which reference could not be followed and why.
pub(crate) fn resolve(text: &str, sources: &dyn Sources) -> Result<Resolved, Broken> {
    let broken = |why: String, suggestion: String| Broken { why, suggestion };
    let mut out = String::new();
    let mut rest = text;
    let mut references = 0_usize;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        if before.ends_with('$') {
            out.push('{');
            rest = after;
            continue;
        }
        let Some((inside, tail)) = after.split_once('}') else {
            out.push_str("${");
            rest = after;
            continue;
        };
        match inside.split_once(':') {
            Some(("env", name)) => {
                let value = sources.env(name).ok_or_else(|| {
                    let suggestion = format!("set {name} where Dihya is started, or write ${{file:PATH}}");
                    broken(format!("the environment has no {name}"), suggestion)
                });
                out.push_str(&value?);
            }
            Some(("file", path)) => {
                let value = sources.file(path).map_err(|why| {
                    let suggestion = "write the path of a file that Dihya may read".to_owned();
                    broken(format!("cannot read the file {path}: {why}"), suggestion)
                })?;
                out.push_str(value.trim_end_matches(['\r', '\n']));
            }
            Some((word, _)) if !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                let why = format!("unknown reference {word}, expected ${{env:NAME}} or ${{file:PATH}}");
                return Err(broken(why, "write ${env:NAME}, or $${ where no reference is meant".to_owned()));
            }
            // `${1}` and the like belong to regular expressions and templates.
            _ => {
                out.push_str("${");
                rest = after;
                continue;
            }
        }
        references += 1;
        rest = tail;
    }
    out.push_str(rest);
    Ok(match references {
        0 => Resolved::Literal(out),
        1 if text.starts_with("${") && text.find('}') == text.len().checked_sub(1) => Resolved::Whole(out),
        _ => Resolved::Mixed(out),
    })
}

/// Makes a path of the configuration relative to the directory of the file.
pub(crate) fn rebase(base: &Path, path: &str) -> String {
    base.join(path).to_string_lossy().into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An environment made for a test.
    pub(crate) struct Fixed(pub(crate) &'static [(&'static str, &'static str)]);

    impl Sources for Fixed {
        fn env(&self, name: &str) -> Option<String> {
            self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        }

        fn file(&self, path: &str) -> Result<String, String> {
            self.env(path).ok_or_else(|| "there is no such file".to_owned())
        }

        fn stands(&self, path: &Path) -> Result<(), String> {
            if path.starts_with("/nonexistent") { Err("there is no such file".to_owned()) } else { Ok(()) }
        }
    }

    #[test]
    fn a_file_stands_where_it_is_one() {
        let os = Os { base: PathBuf::from("/") };
        assert_eq!(os.stands(Path::new("/nonexistent/c.pem")), Err("there is no such file".to_owned()));
        assert_eq!(os.stands(Path::new("/dev")), Err("it is not a file".to_owned()));
        assert_eq!(os.stands(Path::new("/proc/self/status")), Ok(()));
    }

    #[test]
    fn references_are_replaced_and_failures_name_no_value() {
        let sources = Fixed(&[("TOKEN", "s3cret"), ("/run/pw", "hunter2\r\n"), ("HOST", "h")]);
        for (text, expected) in [
            ("plain", Resolved::Literal("plain".into())),
            ("${env:TOKEN}", Resolved::Whole("s3cret".into())),
            ("${file:/run/pw}", Resolved::Whole("hunter2".into())),
            ("https://${env:HOST}/${env:TOKEN}", Resolved::Mixed("https://h/s3cret".into())),
            ("${env:HOST}${env:HOST}", Resolved::Mixed("hh".into())),
            ("a$${env:TOKEN}", Resolved::Literal("a${env:TOKEN}".into())),
            ("(x)${1}y", Resolved::Literal("(x)${1}y".into())),
            ("open ${env:TOKEN", Resolved::Literal("open ${env:TOKEN".into())),
            ("${:x}", Resolved::Literal("${:x}".into())),
        ] {
            assert_eq!(resolve(text, &sources), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("${env:NONE}", "the environment has no NONE"),
            ("${env:TOKEN}${file:/none}", "cannot read the file /none: there is no such file"),
            ("${evn:X}", "unknown reference evn, expected ${env:NAME} or ${file:PATH}"),
        ] {
            let broken = resolve(text, &sources).expect_err("leads nowhere");
            assert_eq!(broken.why, expected, "{text}");
            assert!(!broken.suggestion.is_empty());
        }
    }

    #[test]
    fn files_are_read_relative_to_the_configuration_and_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let os = Os { base: dir.path().to_owned() };
        let put = |name: &str, bytes: &[u8]| {
            #[expect(clippy::disallowed_methods, reason = "a fixture of this test")]
            std::fs::write(dir.path().join(name), bytes).expect("written");
        };
        put("pw", b"x\n");
        put("big", &vec![b'a'; 65 << 10]);
        put("latin", &[0xE9]);
        assert_eq!(os.file("pw"), Ok("x\n".to_owned()));
        assert_eq!(os.file("none"), Err("there is no such file".to_owned()));
        assert_eq!(os.file("."), Err("it is not a file".to_owned()));
        assert_eq!(os.file("big"), Err("it exceeds 65536 bytes".to_owned()));
        assert_eq!(os.file("latin"), Err("it is not UTF-8".to_owned()));
        assert_eq!(os.env("PATH").is_some(), os.env("PATH").is_some_and(|path| !path.is_empty()));
        assert_eq!(os.env("DIHYA_SURELY_NOT_SET"), None);
        assert_eq!(rebase(Path::new("/etc/dihya"), "ca.pem"), "/etc/dihya/ca.pem");
        assert_eq!(rebase(Path::new("/etc/dihya"), "/ca.pem"), "/ca.pem");
    }
}
