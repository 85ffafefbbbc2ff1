//! `Map`: values by name, in the ascending order of their names.
//!
//! A sorted list, not a tree: what senders nest has a handful of names, and events wait by the thousand, so a map takes
//! what its entries take and nothing more. A node of a tree takes 600 bytes to hold `{"ip": "…"}`.

use crate::value::Value;

/// Values by name, each name once, ascending by the bytes of the names.
#[derive(Clone, Default, PartialEq)]
pub struct Map(Vec<(String, Value)>);

impl Map {
    /// Makes an empty map, which takes no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns how many values it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.as_str().cmp(name))
    }

    /// Returns where the value with a name is. Of a few names most are told by their length.
    fn find(&self, name: &str) -> Option<usize> {
        const FEW: usize = 16;
        if self.0.len() > FEW {
            return self.place(name).ok();
        }
        self.0.iter().position(|(other, _)| other == name)
    }

    /// Returns the value with a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.find(name).and_then(|at| self.0.get(at)).map(|(_, value)| value)
    }

    /// Returns the value with a name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let at = self.find(name)?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Tells whether it has a value with this name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Puts a value under a name and returns the one that it takes the place of. Linear in the values behind it: many are
    /// collected, not put in one by one.
    pub fn insert(&mut self, name: String, value: Value) -> Option<Value> {
        match self.place(&name) {
            Ok(at) => self.0.get_mut(at).map(|(_, old)| std::mem::replace(old, value)),
            Err(at) => {
                self.0.insert(at, (name, value));
                None
            }
        }
    }

    /// Takes the value with a name out. Linear in the values behind it.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.find(name).map(|at| self.0.remove(at).1)
    }

    /// Keeps the values for which `keep` says so, which may change them.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.0.retain_mut(|(name, value)| keep(name, value));
    }

    /// Yields names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&String, &Value)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Yields names and values in order, the values to be changed.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&String, &mut Value)> {
        self.0.iter_mut().map(|(name, value)| (&*name, value))
    }

    /// Yields the names in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    /// Yields the values in the order of their names.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.0.iter().map(|(_, value)| value)
    }

    /// Yields the values in the order of their names, to be changed.
    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Value> {
        self.0.iter_mut().map(|(_, value)| value)
    }
}

/// Of several values with one name, the last counts.
impl From<Vec<(String, Value)>> for Map {
    fn from(mut entries: Vec<(String, Value)>) -> Self {
        if !entries.is_sorted_by(|(one, _), (two, _)| one < two) {
            // Stable, so that the last with a name stays behind the others, and is met first from the end.
            entries.sort_by(|(one, _), (two, _)| one.cmp(two));
            if !entries.is_sorted_by(|(one, _), (two, _)| one < two) {
                entries.reverse();
                entries.dedup_by(|(one, _), (two, _)| one == two);
                entries.reverse();
            }
        }
        Self(entries)
    }
}

impl<const N: usize> From<[(String, Value); N]> for Map {
    fn from(entries: [(String, Value); N]) -> Self {
        Self::from(Vec::from(entries))
    }
}

impl FromIterator<(String, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Self {
        Self::from(Vec::from_iter(entries))
    }
}

impl Extend<(String, Value)> for Map {
    fn extend<I: IntoIterator<Item = (String, Value)>>(&mut self, entries: I) {
        let mut all = std::mem::take(&mut self.0);
        all.extend(entries);
        *self = Self::from(all);
    }
}

impl IntoIterator for Map {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl std::ops::Index<&str> for Map {
    type Output = Value;

    /// # Panics
    /// When there is no such value.
    fn index(&self, name: &str) -> &Value {
        self.get(name).expect("a value with this name is there")
    }
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_found_changed_and_taken_by_name() {
        let mut map = Map::from([("b".to_owned(), Value::U64(2)), ("a".to_owned(), Value::U64(1))]);
        assert_eq!((map.len(), map.is_empty(), map.contains_key("a"), map.get("c")), (2, false, true, None));
        assert_eq!(format!("{map:?}"), r#"{"a": U64(1), "b": U64(2)}"#);
        if let Some(value) = map.get_mut("a") {
            *value = Value::Null;
        }
        map.values_mut().chain(None).for_each(|value| assert_ne!(*value, Value::Bool(true)));
        for (name, value) in map.iter_mut().filter(|(name, _)| *name == "b") {
            *value = Value::from(name.as_str());
        }
        assert_eq!((&map["a"], &map["b"]), (&Value::Null, &Value::from("b")));
        map.extend([("b".to_owned(), Value::U64(3)), ("0".to_owned(), Value::U64(0))]);
        assert_eq!(map.values().cloned().collect::<Vec<_>>(), [Value::U64(0), Value::Null, Value::U64(3)]);
        map.retain(|name, _| name != "0");
        assert_eq!(map.remove("a"), Some(Value::Null));
        assert_eq!((map.remove("a"), map.into_iter().count(), Map::new().len()), (None, 1, 0));
    }

    proptest! {
        /// A tree is the obvious way to keep values by name.
        #[test]
        fn a_map_is_what_a_tree_is(
            entries in proptest::collection::vec(("[a-cé]{0,3}", any::<u64>()), 0..40),
            more in proptest::collection::vec(("[a-cé]{0,2}", any::<u64>()), 0..6),
        ) {
            let owned = |entries: &[(String, u64)]| -> Vec<(String, Value)> {
                entries.iter().map(|(name, n)| (name.clone(), Value::U64(*n))).collect()
            };
            let mut tree: BTreeMap<String, Value> = owned(&entries).into_iter().collect();
            let mut map: Map = owned(&entries).into_iter().collect();
            prop_assert!(map.iter().eq(tree.iter()));
            for (name, value) in owned(&more) {
                prop_assert_eq!(map.insert(name.clone(), value.clone()), tree.insert(name, value));
            }
            for (name, _) in &entries {
                prop_assert_eq!(map.get(name), tree.get(name));
            }
            for (name, _) in &more {
                prop_assert_eq!(map.remove(name), tree.remove(name));
            }
            prop_assert!(map.keys().eq(tree.keys()) && map.values().eq(tree.values()));
        }
    }
}
