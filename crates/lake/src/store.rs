//! The object store below Delta: what delta-rs writes through it is durable when it returns.
//!
//! delta-rs on a local file system syncs nothing: it renames data files and links log entries, and a crash leaves names
//! without bytes. Here every file is written beside its name, synced, renamed over it, and the directory synced, by the
//! crate `disk` alone (invariants D-1, E-1). Reads go to `object_store`'s own local store.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use disk::{Disk, DiskFile, Open};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// The name of this store in errors.
const NAME: &str = "lake";

/// Files under one directory, durable when written.
#[derive(Clone)]
pub(crate) struct Store {
    disk: Arc<dyn Disk>,
    root: Arc<PathBuf>,
    reads: Arc<LocalFileSystem>,
    /// One file is put at a time, so that looking whether it is there and making it are one step. Only this process
    /// writes here: it holds the data directory's lock.
    turn: Arc<Mutex<()>>,
}

impl Store {
    /// Opens the store in `root`, making the directory if need be.
    pub(crate) fn open(disk: Arc<dyn Disk>, root: PathBuf) -> std::result::Result<Self, crate::Error> {
        disk.create_dir_all(&root)?;
        let reads = LocalFileSystem::new_with_prefix(&root).map_err(|source| disk::Error {
            doing: "open",
            path: root.clone(),
            source: io::Error::other(source),
        })?;
        Ok(Self { disk, root: Arc::new(root), reads: Arc::new(reads), turn: Arc::default() })
    }

    /// Returns where a file stands. Only names that this crate and Delta make are taken, so none leads outside.
    fn place(&self, location: &Path) -> Result<PathBuf> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'.' | b'_' | b'-' | b'/');
        let text = location.as_ref();
        if text.bytes().all(plain) && text.split('/').all(|part| !matches!(part, "." | "..")) {
            return Ok(self.root.join(text));
        }
        Err(Error::NotSupported { source: "a name with other characters than our own".into() })
    }

    /// Begins a file that appears whole, and durable, with [`Upload::finish`].
    pub(crate) fn begin(&self, location: &Path) -> Result<Upload> {
        let path = self.place(location)?;
        let temporary = path.with_extension("tmp");
        let opened = path.parent().map_or(Ok(()), |parent| self.disk.create_dir_all(parent)).and_then(|()| {
            if self.disk.exists(&temporary) {
                self.disk.remove(&temporary)?;
            }
            self.disk.open(&temporary, Open::CreateNew)
        });
        let file = opened.map_err(failed)?;
        Ok(Upload { disk: Arc::clone(&self.disk), file: Some(Arc::from(file)), path, temporary, at: 0 })
    }

    fn put(&self, location: &Path, payload: &PutPayload, mode: &PutMode) -> Result<PutResult> {
        let path = self.place(location)?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match mode {
            PutMode::Create if self.disk.exists(&path) => {
                return Err(Error::AlreadyExists { path: location.to_string(), source: "it is there".into() });
            }
            PutMode::Update(_) => return Err(Error::NotSupported { source: "a put that compares".into() }),
            _ => {}
        }
        let mut upload = self.begin(location)?;
        for part in payload {
            io::Write::write_all(&mut upload, part)
                .map_err(|source| Error::Generic { store: NAME, source: source.into() })?;
        }
        upload.finish()
    }

    /// Opens a file of ours that is no part of the table, to read pieces of it.
    pub(crate) fn read(&self, location: &Path) -> Result<Box<dyn DiskFile>> {
        self.disk.open(&self.place(location)?, Open::Read).map_err(failed)
    }

    /// Opens a data file to read it from the system, as `object_store` does.
    pub(crate) fn file(&self, location: &Path) -> Result<std::fs::File> {
        let path = self.place(location)?;
        std::fs::File::open(&path).map_err(|source| failed(disk::Error { doing: "open", path, source }))
    }

    /// Removes a file durably; one that is not there is as good.
    pub(crate) fn remove(&self, location: &Path) -> Result<()> {
        let path = self.place(location)?;
        match self.disk.remove(&path) {
            Err(error) if error.is_missing() => Ok(()),
            removed => removed.and_then(|()| disk::sync_parent(self.disk.as_ref(), &path)).map_err(failed),
        }
    }

    fn copy(&self, from: &Path, to: &Path, mode: CopyMode) -> Result<()> {
        let bytes = disk::read(self.disk.as_ref(), &self.place(from)?).map_err(failed)?;
        let mode = if mode == CopyMode::Create { PutMode::Create } else { PutMode::Overwrite };
        self.put(to, &PutPayload::from(bytes), &mode).map(|_| ())
    }

    /// Runs what blocks where it may.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(Self) -> Result<T> + Send + 'static) -> Result<T> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || work(store)).await?
    }
}

fn failed(error: disk::Error) -> Error {
    if error.is_missing() {
        return Error::NotFound { path: error.path.display().to_string(), source: error.into() };
    }
    Error::Generic { store: NAME, source: error.into() }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let location = location.clone();
        self.blocking(move |store| store.put(&location, &payload, &opts.mode)).await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let location = location.clone();
        let upload = self.blocking(move |store| store.begin(&location)).await?;
        Ok(Box::new(upload))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.reads.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.reads.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = locations.then(move |location| {
            let store = store.clone();
            async move {
                let location = location?;
                let path = location.clone();
                store.blocking(move |store| store.remove(&path)).await.map(|()| location)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        // In order, as object stores list: Delta counts on it.
        let listed = self.reads.list(prefix);
        let ordered = async move {
            let mut found: Vec<ObjectMeta> = listed.try_collect().await?;
            found.sort_by(|a, b| a.location.cmp(&b.location));
            Ok::<_, Error>(stream::iter(found.into_iter().map(Ok)))
        };
        stream::once(ordered).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.reads.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (from, to) = (from.clone(), to.clone());
        self.blocking(move |store| store.copy(&from, &to, options.mode)).await
    }
}

/// A file that is being written.
pub(crate) struct Upload {
    disk: Arc<dyn Disk>,
    /// Absent once it is finished or given up.
    file: Option<Arc<dyn DiskFile>>,
    path: PathBuf,
    temporary: PathBuf,
    at: u64,
}

impl Upload {
    /// Makes the file appear, durable.
    pub(crate) fn finish(&mut self) -> Result<PutResult> {
        let file = self.file.take().ok_or(Error::NotSupported { source: "a file that is finished".into() })?;
        let done = file.sync_data().and_then(|()| {
            drop(file);
            self.disk.rename(&self.temporary, &self.path)?;
            disk::sync_parent(self.disk.as_ref(), &self.path)
        });
        done.map_err(failed)?;
        Ok(PutResult { e_tag: None, version: None })
    }

    /// Returns how many bytes were written.
    pub(crate) fn len(&self) -> u64 {
        self.at
    }
}

impl io::Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = self.file.as_ref().ok_or_else(|| io::Error::other("the file is finished"))?;
        file.write_at(bytes, self.at).map_err(io::Error::other)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // What was not finished is nothing; if it stays, the next start removes it.
        if self.file.take().is_some() {
            let _removed = self.disk.remove(&self.temporary);
        }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("at", &self.at).finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let offset = self.at;
        self.at += data.content_length() as u64;
        let file = self.file.clone();
        Box::pin(async move {
            let file = file.ok_or(Error::NotSupported { source: "a file that is finished".into() })?;
            let written = tokio::task::spawn_blocking(move || {
                let mut offset = offset;
                data.iter().try_for_each(|part| {
                    file.write_at(part, offset)?;
                    offset += part.len() as u64;
                    Ok(())
                })
            });
            written.await?.map_err(failed)
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let taken = Self {
            disk: Arc::clone(&self.disk),
            file: self.file.take(),
            path: self.path.clone(),
            temporary: self.temporary.clone(),
            at: self.at,
        };
        tokio::task::spawn_blocking(move || {
            let mut taken = taken;
            taken.finish()
        })
        .await?
    }

    async fn abort(&mut self) -> Result<()> {
        if self.file.take().is_some() {
            self.disk.remove(&self.temporary).map_err(failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use disk::OsDisk;
    use object_store::ObjectStoreExt;

    use super::*;

    fn store(dir: &tempfile::TempDir) -> Store {
        Store::open(Arc::new(OsDisk), dir.path().join("lake")).expect("opens")
    }

    #[tokio::test]
    async fn a_log_entry_is_made_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(&dir);
        let entry = Path::from("t/_delta_log/00000000000000000000.json");
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&entry, "first".into(), create()).await.expect("is made");
        let again = store.put_opts(&entry, "second".into(), create()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        assert_eq!(store.get(&entry).await.expect("is there").bytes().await.expect("reads"), "first");
        store.put(&entry, &"third".into(), &PutMode::Overwrite).expect("is replaced");
        let update = PutMode::Update(object_store::UpdateVersion { e_tag: None, version: None });
        assert!(store.put(&entry, &"".into(), &update).is_err());
        store.delete(&entry).await.expect("is removed");
        store.delete(&entry).await.expect("is as good");
        assert!(matches!(store.get(&entry).await, Err(Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(&dir);
        let (path, other) = (Path::from("t/part.parquet"), Path::from("t/other.parquet"));
        let mut upload = store.put_multipart(&path).await.expect("begins");
        let parts = [upload.put_part("ab".into()), upload.put_part("cd".into())];
        for part in parts.into_iter().rev() {
            part.await.expect("is written");
        }
        assert!(store.get(&path).await.is_err());
        upload.complete().await.expect("appears");
        assert_eq!(store.get(&path).await.expect("is there").bytes().await.expect("reads"), "abcd");
        assert!(upload.complete().await.is_err(), "once");
        let mut given_up = store.put_multipart(&other).await.expect("begins");
        given_up.put_part("ab".into()).await.expect("is written");
        given_up.abort().await.expect("is given up");
        assert!(given_up.put_part("ab".into()).await.is_err());
        drop(store.begin(&other).expect("begins"));
        store.rename_if_not_exists(&path, &other).await.expect("moves");
        assert!(store.copy_if_not_exists(&other, &other).await.is_err());
        let names: Vec<_> = store.list(None).map(|meta| meta.expect("lists").location.to_string()).collect().await;
        assert_eq!(names, ["t/other.parquet"]);
        assert_eq!(store.list_with_delimiter(None).await.expect("lists").common_prefixes.len(), 1);
    }

    #[tokio::test]
    async fn no_name_leads_outside() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(&dir);
        for name in ["a b", "a%2F..%2Fb", "é"] {
            assert!(store.place(&Path::from(name)).is_err(), "{name}");
        }
        assert!(store.copy(&Path::from("missing"), &Path::from("b"), CopyMode::Overwrite).is_err());
    }
}
