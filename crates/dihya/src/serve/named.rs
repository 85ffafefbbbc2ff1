//! Questions about persons: what is asked by an identifier is asked by the names under which events have that person, and
//! recorded by those names alone.

use lake::syntax::{Pattern, Search, Test, parse};
use privacy::{Named, find_pseudonym};

/// What is recorded in the place of an identifier of nobody who is known.
const NOBODY: &str = "[identifier]";

/// A search in the names of events.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translated {
    /// What is asked of the lake.
    pub(super) asked: String,
    /// What is recorded of it: no identifier stands in it.
    pub(super) recorded: String,
}

/// Translates a search; `named` tells what a value stands for in a field. What cannot be read is left to who says so.
pub(super) fn translate(text: &str, named: impl Fn(&str, &str) -> Named) -> Translated {
    let same = || Translated { asked: text.to_owned(), recorded: text.to_owned() };
    let Ok(search) = parse(text) else { return same() };
    let mut names_somebody = false;
    let asked = walk(&search, &mut |field| {
        let named = identifier(field, &named)?;
        names_somebody = true;
        // Other streams may keep it as it is.
        let names = named.names.iter().map(|name| field.is(name));
        Some(Search::Or([field.search()].into_iter().chain(names).collect()))
    });
    if !names_somebody {
        return same();
    }
    let recorded = walk(&search, &mut |field| {
        let named = identifier(field, &named)?;
        let mut names: Vec<Search> = named.names.iter().map(|name| field.is(name)).collect();
        Some(match names.len() {
            0 => field.is(NOBODY),
            1 => names.remove(0),
            _ => Search::Or(names),
        })
    });
    Translated { asked: asked.to_string(), recorded: recorded.to_string() }
}

/// A field that is asked for.
struct Field<'a> {
    name: &'a str,
    test: &'a Test,
    column: usize,
}

impl Field<'_> {
    fn search(&self) -> Search {
        Search::Field { name: self.name.to_owned(), test: self.test.clone(), column: self.column }
    }

    fn is(&self, value: &str) -> Search {
        let test = Test::Is(Pattern::exact(value));
        Search::Field { name: self.name.to_owned(), test, column: self.column }
    }
}

/// Returns what the value of a field stands for, if it is an identifier.
fn identifier(field: &Field<'_>, named: impl Fn(&str, &str) -> Named) -> Option<Named> {
    let value = match field.test {
        Test::Exists => return None,
        Test::Is(pattern) => pattern.as_exact().unwrap_or_default(),
        Test::Compare(..) => "",
    };
    // A name under which events have somebody is no secret of the search.
    if find_pseudonym(value).is_some_and(|(before, _, after)| before.is_empty() && after.is_empty()) {
        return None;
    }
    let mut found = named(lake::attribute_of(field.name), value);
    if value.is_empty() {
        // A part of an identifier is no identifier, and tells as much.
        found.names.clear();
    }
    found.is_identifier.then_some(found)
}

/// Copies a search, with what `other` gives in the place of fields.
fn walk(search: &Search, other: &mut impl FnMut(&Field<'_>) -> Option<Search>) -> Search {
    match search {
        Search::And(parts) => Search::And(parts.iter().map(|part| walk(part, other)).collect()),
        Search::Or(parts) => Search::Or(parts.iter().map(|part| walk(part, other)).collect()),
        Search::Not(inner) => Search::Not(Box::new(walk(inner, other))),
        Search::Text(_) => search.clone(),
        Search::Field { name, test, column } => {
            other(&Field { name, test, column: *column }).unwrap_or_else(|| search.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "Pabcdefghijklmnopqrstuvwxyz";
    const TWO: &str = "Pzyxwvutsrqponmlkjihgfedcba";

    fn named(field: &str, value: &str) -> Named {
        let names: &[&str] = match (field, value) {
            ("user.id", "jdupont42") => &[ONE, TWO],
            ("user.id", "solo") => &[ONE],
            _ => &[],
        };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Named { is_identifier: field == "user.id", names, owners: Vec::new() }
    }

    #[test]
    fn identifiers_are_asked_by_their_names_and_recorded_by_those_alone() {
        for (text, recorded, names) in [
            ("service:auth user.id:solo", format!("(service:\"auth\" user.id:\"{ONE}\")"), 1),
            ("user_id:jdupont42", format!("(user_id:\"{ONE}\" OR user_id:\"{TWO}\")"), 2),
            ("-user.id:nobody7 x", "(-user.id:\"[identifier]\" \"x\")".to_owned(), 0),
            ("user.id:jdup*", "user.id:\"[identifier]\"".to_owned(), 0),
            ("user.id>jdup", "user.id:\"[identifier]\"".to_owned(), 0),
        ] {
            let translated = translate(text, named);
            assert_eq!(parse(&translated.recorded), parse(&recorded), "{text}: {translated:?}");
            let found = [ONE, TWO].iter().filter(|name| translated.asked.contains(**name)).count();
            assert_eq!(found, names, "{text}: {translated:?}");
            assert!(!translated.recorded.contains("jdup") && !translated.recorded.contains("nobody7"));
            assert!(parse(&translated.asked).is_ok());
        }
    }

    #[test]
    fn what_names_nobody_stays_as_it_was_typed() {
        for text in ["service:auth  \"time out\"", "", "(unclosed", "user.id:*", &format!("user.id:{ONE}")] {
            let same = Translated { asked: text.to_owned(), recorded: text.to_owned() };
            assert_eq!(translate(text, named), same);
        }
    }
}
