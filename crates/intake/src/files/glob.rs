//! Which files a pattern names: `*` and `?` stand for characters of one name, `**` for directories however deep.

use std::io;
use std::path::{Path, PathBuf};

/// Deepest directories that `**` goes down.
const DEPTH_MAX: usize = 16;

/// Finds the files of an absolute pattern, up to `most`; each directory that cannot be read is handed to `refused`.
pub(super) fn find(pattern: &Path, most: usize, refused: &mut dyn FnMut(&Path, &io::Error)) -> Vec<PathBuf> {
    let parts: Vec<String> = pattern.iter().skip(1).map(|part| part.to_string_lossy().into_owned()).collect();
    let mut found = Vec::new();
    walk(Path::new("/"), &parts, DEPTH_MAX, most, refused, &mut found);
    found.sort();
    found.dedup();
    found
}

fn walk(
    dir: &Path,
    parts: &[String],
    depth: usize,
    most: usize,
    refused: &mut dyn FnMut(&Path, &io::Error),
    found: &mut Vec<PathBuf>,
) {
    let Some((part, rest)) = parts.split_first() else { return };
    if found.len() >= most {
        return;
    }
    if !part.contains(['*', '?']) {
        let path = dir.join(part);
        if !rest.is_empty() {
            walk(&path, rest, depth, most, refused, found);
        } else if path.is_file() {
            found.push(path);
        }
        return;
    }
    let any_depth = part == "**";
    if any_depth {
        walk(dir, rest, depth, most, refused, found);
    }
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
                refused(dir, &error);
            }
            return;
        }
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if any_depth {
            // A link may lead back up: only directories themselves are gone down.
            if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(&path, parts, depth - 1, most, refused, found);
            }
        } else if matches(part, &entry.file_name().to_string_lossy()) {
            if !rest.is_empty() {
                walk(&path, rest, depth, most, refused, found);
            } else if found.len() < most && path.is_file() {
                found.push(path);
            }
        }
    }
}

/// Tells whether a name is as the pattern says. Hidden names must be named with their dot.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            // The last star takes one more.
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_pattern_says() {
        for (pattern, name, is) in [
            ("*", "app.log", true),
            ("*.log", "app.log", true),
            ("*.log", "app.log.1", false),
            ("a*.l?g*", "app.log.1", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("?", "", false),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_in_order_and_within_bounds() {
        let dir = tempfile::tempdir().expect("a directory");
        let put = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            #[expect(clippy::disallowed_methods, reason = "a fixture of a test")]
            std::fs::write(path, "x").expect("written");
        };
        ["b.log", "a.log", "a.txt", "pods/x/0.log", "pods/y/z/1.log"].into_iter().for_each(put);
        let found = |pattern: &str, most: usize| {
            let found = find(&dir.path().join(pattern), most, &mut |_, _| {});
            let name = |path: &PathBuf| path.strip_prefix(dir.path()).expect("below").display().to_string();
            found.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(found("*.log", 9), ["a.log", "b.log"]);
        assert_eq!(found("a.log", 9), ["a.log"]);
        assert_eq!(found("**/*.log", 9), ["a.log", "b.log", "pods/x/0.log", "pods/y/z/1.log"]);
        assert_eq!(found("pods/*/*.log", 9), ["pods/x/0.log"]);
        assert_eq!(found("pods/*", 9), Vec::<String>::new(), "directories are no files");
        assert_eq!(found("nowhere/*", 9), Vec::<String>::new());
        assert_eq!(found("**/*.log", 2).len(), 2);
    }
}
