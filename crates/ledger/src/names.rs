//! Interning: the names that the operator chose become numbers, so that an entry may be published without them.

use std::collections::HashMap;
use std::sync::Arc;

use model::limits::NAMES_MAX;

/// The names of one origin by number and the numbers by name. Numbers are given from 0 without gaps and never change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names {
    /// Returns the number of a name, if it has one.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// Returns the name with a number.
    pub(crate) fn name(&self, number: u32) -> Option<&Arc<str>> {
        self.names.get(usize::try_from(number).ok()?)
    }

    /// Returns how many names there are: the number that the next one gets.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Gives the next number to a name that has none; `None` once `limits::NAMES_MAX` are given.
    pub(crate) fn intern(&mut self, name: Arc<str>) -> Option<u32> {
        let number = u32::try_from(self.names.len()).ok().filter(|_| self.names.len() < NAMES_MAX)?;
        self.numbers.insert(Arc::clone(&name), number);
        self.names.push(name);
        Some(number)
    }

    /// Yields all names in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number() {
        let mut names = Names::default();
        assert_eq!((names.intern("web".into()), names.intern("db".into())), (Some(0), Some(1)));
        assert_eq!((names.number("db"), names.number("x")), (Some(1), None));
        assert_eq!((names.name(0).map(|name| &**name), names.name(2)), (Some("web"), None));
        assert_eq!(names.len(), 2);
        assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), ["web", "db"]);
    }
}
