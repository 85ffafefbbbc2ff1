//! What a commit is made of is synced before it counts (invariant E-1): seen from below, at the disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use disk::{DirEntry, Disk, DiskFile, Open, OsDisk};
use model::Clock;

use crate::support::{Place, event, run, seen, tenant};

/// What was done to a file or a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Done {
    Synced(PathBuf),
    Renamed(PathBuf, PathBuf),
    DirSynced(PathBuf),
}

/// The disk, which keeps a diary.
#[derive(Clone, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<Done>>>);

impl Diary {
    fn note(&self, done: Done) {
        self.0.lock().expect("no panic").push(done);
    }
}

struct NotedFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    diary: Diary,
}

impl DiskFile for NotedFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, disk::Error> {
        self.file.read_at(bytes, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), disk::Error> {
        self.file.write_at(bytes, offset)
    }
    fn len(&self) -> Result<u64, disk::Error> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> Result<(), disk::Error> {
        self.file.set_len(len)
    }
    fn allocate(&self, len: u64) -> Result<(), disk::Error> {
        self.file.allocate(len)
    }
    fn sync_data(&self) -> Result<(), disk::Error> {
        self.file.sync_data()?;
        self.diary.note(Done::Synced(self.path.clone()));
        Ok(())
    }
}

impl Disk for Diary {
    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn DiskFile>, disk::Error> {
        let file = OsDisk.open(path, how)?;
        Ok(Box::new(NotedFile { file, path: path.to_owned(), diary: self.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), disk::Error> {
        OsDisk.rename(from, to)?;
        self.note(Done::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }
    fn remove(&self, path: &Path) -> Result<(), disk::Error> {
        OsDisk.remove(path)
    }
    fn create_dir_all(&self, path: &Path) -> Result<(), disk::Error> {
        OsDisk.create_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> Result<(), disk::Error> {
        OsDisk.sync_dir(path)?;
        self.note(Done::DirSynced(path.to_owned()));
        Ok(())
    }
    fn sync_all(&self, root: &Path) -> Result<(), disk::Error> {
        OsDisk.sync_all(root)
    }
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, disk::Error> {
        OsDisk.list(path)
    }
    fn exists(&self, path: &Path) -> bool {
        OsDisk.exists(path)
    }
    fn free_bytes(&self, path: &Path) -> Result<u64, disk::Error> {
        OsDisk.free_bytes(path)
    }
    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>, disk::Error> {
        OsDisk.try_lock(path)
    }
}

#[test]
fn data_then_log_each_synced_renamed_and_its_directory_synced() {
    run(async {
        let place = Place::new();
        let diary = Diary::default();
        let lake = place.open_on(Arc::new(diary.clone())).await;
        let _feed = place.feed(&lake, "default");
        place.ledger.append("default", place.clock.now(), event(0, "line"));
        seen(&lake, "default", 1).await;
        diary.0.lock().expect("no panic").clear();
        lake.flush(&tenant("default")).await.expect("commits");
        let done = diary.0.lock().expect("no panic").clone();
        let ends: Vec<_> = done.chunks(3).collect();
        assert_eq!((done.len(), ends.len()), (9, 3), "{done:?}");
        for (steps, end) in ends.iter().zip([".parquet", ".tokens", "00000000000000000001.json"]) {
            let [Done::Synced(written), Done::Renamed(from, to), Done::DirSynced(dir)] = steps else {
                panic!("another order: {steps:?}");
            };
            assert_eq!((written, Some(dir.as_path())), (from, to.parent()), "{steps:?}");
            assert!(to.to_string_lossy().ends_with(end), "{to:?}");
        }
        // A checkpoint, before what it stands for is removed.
        place.ledger.append("default", place.clock.now(), event(0, "line"));
        seen(&lake, "default", 2).await;
        lake.flush(&tenant("default")).await.expect("commits");
        place.clock.advance(std::time::Duration::from_secs(86_400));
        diary.0.lock().expect("no panic").clear();
        lake.upkeep(&tenant("default")).await.expect("joins");
        let done = diary.0.lock().expect("no panic").clone();
        let renamed = done.iter().position(
            |done| matches!(done, Done::Renamed(_, to) if to.to_string_lossy().ends_with("checkpoint.parquet")),
        );
        let at = renamed.expect("a checkpoint");
        assert!(matches!((&done[at - 1], &done[at + 1]), (Done::Synced(_), Done::DirSynced(_))), "{done:?}");
    });
}
