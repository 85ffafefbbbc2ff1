//! Which logs a data directory holds, found without a configuration: verification and restore must work from a
//! directory alone.

use std::path::{Path, PathBuf};

use disk::Disk;
use model::{Origin, Tenant};

/// How deep an origin may lie below `ledger/`.
const DEPTH_MAX: usize = 8;

/// Returns the origins of the logs below `<data_dir>/ledger`, in order.
///
/// # Errors
/// When a directory cannot be listed.
pub(crate) fn list(disk: &dyn Disk, data_dir: &Path) -> Result<Vec<Origin>, disk::Error> {
    let root = data_dir.join("ledger");
    let mut found = Vec::new();
    let mut queue: Vec<(PathBuf, String, usize)> = vec![(root, String::new(), 0)];
    while let Some((dir, name, depth)) = queue.pop() {
        if !disk.exists(&dir) {
            continue;
        }
        let entries = disk.list(&dir)?;
        if entries.iter().any(|entry| !entry.is_dir && entry.name == "vkey") {
            found.extend(Origin::new(&name).ok());
            continue;
        }
        for entry in entries.into_iter().filter(|entry| entry.is_dir && depth < DEPTH_MAX) {
            let below = if name.is_empty() { entry.name.clone() } else { format!("{name}/{}", entry.name) };
            queue.push((dir.join(&entry.name), below, depth + 1));
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the instance and its tenants, as the origins say; `None` when there is no meta-log.
pub(crate) fn instance(origins: &[Origin]) -> Option<(String, Vec<Tenant>)> {
    let instance = origins.iter().find_map(|origin| origin.as_str().strip_suffix("/meta"))?;
    let tenants = origins.iter().filter_map(|origin| {
        let name = origin.as_str().strip_prefix(instance)?.strip_prefix('/')?;
        Tenant::new(name).ok().filter(|_| name != "meta")
    });
    Some((instance.to_owned(), tenants.collect()))
}

#[cfg(test)]
mod tests {
    use disk::OsDisk;

    use super::*;

    #[test]
    fn logs_are_found_by_their_keys() {
        let place = tempfile::tempdir().expect("a directory");
        let disk = OsDisk;
        assert_eq!(list(&disk, place.path()).expect("lists"), []);
        for origin in ["a.example/x/meta", "a.example/x/default", "a.example/x/shop"] {
            let dir = place.path().join("ledger").join(origin);
            disk.create_dir_all(&dir.join("tile")).expect("made");
            disk::write_atomic(&disk, &dir.join("vkey"), b"key").expect("written");
        }
        let origins = list(&disk, place.path()).expect("lists");
        assert_eq!(origins.len(), 3);
        let (name, tenants) = instance(&origins).expect("has a meta-log");
        assert_eq!(name, "a.example/x");
        assert_eq!(tenants.iter().map(Tenant::as_str).collect::<Vec<_>>(), ["default", "shop"]);
        assert_eq!(instance(&[]), None);
    }
}
