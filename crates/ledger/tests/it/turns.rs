//! The two threads of the writer: what comes while one syncs is written meanwhile, and told only after its own sync.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use disk::{DirEntry, Disk, DiskFile, Open, OsClock, OsRng, SimDisk};
use ledger::{Config, Ledger};
use model::{Access, Level, Signal, Tenant, Timestamp};
use privacy::{Cleared, Clearer, Redactor};

/// Longest wait for another thread.
const PATIENCE: Duration = Duration::from_secs(20);

/// Holds the syncs of the WAL back while it is shut.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
    /// Syncs that came to the gate.
    came: AtomicU64,
    /// Where what was written to the WAL ends.
    written: AtomicU64,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner) = shut;
        self.opened.notify_all();
    }
}

struct GatedDisk(SimDisk, Arc<Gate>);
struct GatedFile(Box<dyn DiskFile>, Arc<Gate>);

impl DiskFile for GatedFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, disk::Error> {
        self.0.read_at(bytes, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), disk::Error> {
        self.0.write_at(bytes, offset)?;
        self.1.written.fetch_max(offset + bytes.len() as u64, Ordering::SeqCst);
        Ok(())
    }
    fn len(&self) -> Result<u64, disk::Error> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> Result<(), disk::Error> {
        self.0.set_len(len)
    }
    fn allocate(&self, len: u64) -> Result<(), disk::Error> {
        self.0.allocate(len)
    }
    fn sync_data(&self) -> Result<(), disk::Error> {
        self.1.came.fetch_add(1, Ordering::SeqCst);
        let shut = self.1.shut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.1.opened.wait_while(shut, |shut| *shut).unwrap_or_else(PoisonError::into_inner));
        self.0.sync_data()
    }
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn DiskFile>, disk::Error> {
        let file = self.0.open(path, how)?;
        let of_wal = path.extension().is_some_and(|extension| extension == "wal");
        Ok(if of_wal { Box::new(GatedFile(file, Arc::clone(&self.1))) } else { file })
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), disk::Error> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> Result<(), disk::Error> {
        self.0.remove(path)
    }
    fn create_dir_all(&self, path: &Path) -> Result<(), disk::Error> {
        self.0.create_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> Result<(), disk::Error> {
        self.0.sync_dir(path)
    }
    fn sync_all(&self, root: &Path) -> Result<(), disk::Error> {
        self.0.sync_all(root)
    }
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, disk::Error> {
        self.0.list(path)
    }
    fn exists(&self, path: &Path) -> bool {
        self.0.exists(path)
    }
    fn free_bytes(&self, path: &Path) -> Result<u64, disk::Error> {
        self.0.free_bytes(path)
    }
    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>, disk::Error> {
        self.0.try_lock(path)
    }
}

fn access(rows: u64) -> Cleared {
    let at = Timestamp::from_second(1_700_000_000).expect("in range");
    let body =
        Access { actor: "ana".into(), what: "/api/dihya/v1/search".into(), rows, at, query: None, question: None };
    let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
    clearer.clear(Signal::ours(Tenant::default(), body)).expect("clears")
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("comes to hold");
}

struct World {
    ledger: Ledger,
    gate: Arc<Gate>,
    disk: SimDisk,
    config: Config,
}

fn world() -> World {
    let mut config = Config::new("/data".into(), "localhost", vec![Tenant::default()]);
    (config.segment_bytes, config.reserve_bytes) = (1 << 20, 10_000);
    let (gate, disk) = (Arc::new(Gate::default()), SimDisk::new(1));
    let gated = Arc::new(GatedDisk(disk.clone(), Arc::clone(&gate)));
    let (ledger, _) =
        Ledger::open(gated, Arc::new(OsClock::default()), Arc::new(OsRng), config.clone()).expect("opens");
    World { ledger, gate, disk, config }
}

type Told = tokio::task::JoinHandle<Result<Vec<model::Receipt>, ledger::Error>>;

/// Two appends of which the first is on its way to the disk, and the second is written behind it.
async fn one_behind_the_other(world: &World) -> [Told; 2] {
    let World { ledger, gate, .. } = world;
    ledger.append(vec![access(0)], Level::Committed).await.expect("is committed");
    // Nothing is under way: the publisher is done, and the next sync is that of an append.
    gate.set(true);
    let append = |rows| {
        let ledger = ledger.clone();
        tokio::task::spawn_local(async move { ledger.append(vec![access(rows)], Level::Durable).await })
    };
    let came = gate.came.load(Ordering::SeqCst);
    let first = append(1);
    eventually(|| gate.came.load(Ordering::SeqCst) > came).await;
    let written = gate.written.load(Ordering::SeqCst);
    let second = append(2);
    eventually(|| gate.written.load(Ordering::SeqCst) > written).await;
    assert_eq!(gate.came.load(Ordering::SeqCst), came + 1, "one sync at a time");
    assert!(!first.is_finished() && !second.is_finished());
    [first, second]
}

#[tokio::test]
async fn what_comes_during_a_sync_is_written_and_told_after_its_own() {
    let world = world();
    let local = tokio::task::LocalSet::new();
    let told = local.run_until(async {
        let next = world.ledger.next_position(&Tenant::default()).expect("is a tenant");
        let [first, second] = one_behind_the_other(&world).await;
        let visible = world.ledger.next_position(&Tenant::default()).expect("is a tenant");
        world.gate.set(false);
        let first = first.await.expect("runs").expect("is durable");
        let second = second.await.expect("runs").expect("is durable");
        assert!(visible <= first[0].position && next < visible, "{next} {visible}");
        assert!(first[0].position < second[0].position);
        [first, second].concat()
    });
    let told = told.await;
    world.ledger.close().await.expect("closes");
    let (again, recovery) =
        Ledger::open(Arc::new(world.disk.crash()), Arc::new(OsClock::default()), Arc::new(OsRng), world.config.clone())
            .expect("opens");
    assert!(recovery.clean);
    for receipt in told {
        let proof = again.prove(&Tenant::default(), receipt.position).expect("is in the log");
        assert!(proof.contains("tlog-proof"), "{proof}");
    }
}

#[tokio::test]
async fn a_failed_sync_fails_what_was_written_behind_it_too() {
    let world = world();
    let local = tokio::task::LocalSet::new();
    let told = local.run_until(async {
        let [first, second] = one_behind_the_other(&world).await;
        world.disk.fail_sync_after(0);
        world.gate.set(false);
        [first.await.expect("runs"), second.await.expect("runs")]
    });
    for told in told.await {
        let error = told.expect_err("the sync failed");
        assert_eq!(error.kind(), model::RefusalKind::Stop, "{error}");
    }
    assert!(world.ledger.stopped().await.contains("sync"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_get_places_without_gaps() {
    let World { ledger, disk, config, .. } = world();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let ledger = ledger.clone();
        callers.spawn(async move {
            let mut places = Vec::new();
            for n in 0..100 {
                let records = vec![access(caller * 100 + n); 3];
                let receipts = ledger.append(records, Level::Durable).await.expect("is durable");
                assert_eq!(receipts[2].position, receipts[0].position + 2);
                places.extend(receipts.into_iter().map(|receipt| (receipt.position, receipt.leaf_hash)));
            }
            places
        });
    }
    let mut places: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    places.sort_unstable();
    places.dedup_by_key(|(position, _)| *position);
    assert_eq!(places.len(), 2_400);
    ledger.close().await.expect("closes");
    let clock = Arc::new(OsClock::default());
    let (again, _) = Ledger::open(Arc::new(disk.crash()), clock, Arc::new(OsRng), config).expect("opens");
    let last = places.last().expect("there are some");
    assert!(again.next_position(&Tenant::default()).expect("is a tenant") > last.0);
}
