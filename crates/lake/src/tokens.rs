//! Token filters: which rows of a data file may have a word in their bodies, told without reading them.
//!
//! Beside each data file `x.parquet` stands `_x.tokens`, which no reader of Delta looks at: Bloom filters of the words of
//! `body` and `body_json`, one for every [`ROWS`] rows. They are made of rows that are stored, so of cleared text alone, and
//! go with their file. Nothing is believed of them that does not carry its checksum: without a filter the rows are read
//! (invariant E-5), and upkeep makes it again.
//!
//! Little-endian. Filters follow each other; each is cut into pages of at most [`PAGE_BUCKETS`] buckets of 32 bytes, and every
//! page ends with 32 bytes: its number in the file (8), the data file's tag (8), zeros (12), CRC-32C of the page before it
//! (4). Then the directory, rows (4) and buckets (4) of each filter. Then the end, 64 bytes: `DIHYATOK`, version (4), number of
//! filters (4), rows (8), bytes of the data file (8), its tag (8), zeros (20), CRC-32C of directory and end (4). A bucket is
//! a block of Parquet's split block Bloom filter: eight words of 32 bits, one bit in each.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray, RecordBatch};
use disk::DiskFile;
use model::limits::LAKE_TOKENS_DIRECTORY_MAX;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use twox_hash::XxHash64;

use crate::error::Error;
use crate::file::{DataFile, object};
use crate::maintain::lock;
use crate::store::{Store, Upload};
use crate::word::{Token, fold, tokens};

/// Rows of a filter: what is skipped together. Fewer would write common words down more often.
const ROWS: u32 = 32_768;
/// Different words after which a filter is ended too: it stands in memory until then, with those of one row more.
const WORDS_MAX: usize = 1 << 18;
/// Bits for a word: less than one in a hundred that are not there looks as if it were.
const WORD_BITS: usize = 11;
/// Words of 32 bits in a bucket.
const LANES: usize = 8;
const BUCKET: usize = LANES * 4;
/// Buckets of a page: with its end it is as large as what a file system reads at once.
const PAGE_BUCKETS: usize = 127;
/// Bytes after a page's buckets.
const PAGE_END: usize = 32;
const MAGIC: [u8; 8] = *b"DIHYATOK";
const VERSION: u32 = 1;
const ENTRY: usize = 8;
const END: usize = 64;
/// Multipliers of Parquet's filters, one for each lane.
const SALT: [u32; LANES] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];
/// The columns whose words are in the filters.
pub(crate) const COLUMNS: [&str; 2] = ["body", "body_json"];
/// Rows that are read at a time to make filters again.
const READ_ROWS: usize = 1_024;

/// Returns where the filters of a data file stand, both relative to the table.
pub(crate) fn place(data: &str) -> String {
    let (dir, name) = data.rsplit_once('/').unwrap_or(("", data));
    format!("{dir}/_{}.tokens", name.strip_suffix(".parquet").unwrap_or(name))
}

/// Says which data file filters are of, so that those of another are not believed.
fn tag(data: &str) -> u64 {
    XxHash64::oneshot(0, data.as_bytes())
}

/// Hashes are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Returns the bucket of a hash among `buckets`, and its bit in each lane.
fn bits(hash: u64, buckets: usize) -> (usize, [u32; LANES]) {
    let bucket = usize::try_from(((hash >> 32) * buckets as u64) >> 32).unwrap_or(0);
    let low = (hash & 0xffff_ffff) as u32;
    (bucket, SALT.map(|salt| 1 << (low.wrapping_mul(salt) >> 27)))
}

/// Rows and buckets of one filter.
#[derive(Clone, Copy, Debug)]
struct Entry {
    rows: u32,
    buckets: u32,
}

impl Entry {
    fn pages(self) -> usize {
        (self.buckets as usize).div_ceil(PAGE_BUCKETS)
    }

    fn bytes(self) -> usize {
        self.buckets as usize * BUCKET + self.pages() * PAGE_END
    }
}

/// Filters that are being written, beside their file. Memory: those words that one filter is made of.
pub(crate) struct TokensWriter {
    upload: Upload,
    tag: u64,
    entries: Vec<Entry>,
    words: HashSet<u64, BuildHasherDefault<AsItIs>>,
    rows: u32,
    pages: u64,
    folded: String,
}

impl TokensWriter {
    /// Begins the filters of the data file `data` of `tenant`.
    pub(crate) fn begin(store: &Store, tenant: &str, data: &str) -> Result<Self, Error> {
        let upload = store.begin(&Path::from(format!("{tenant}/{}", place(data)))).map_err(object("begin filters"))?;
        let (words, folded) = (HashSet::default(), String::new());
        Ok(Self { upload, tag: tag(data), entries: Vec::new(), words, rows: 0, pages: 0, folded })
    }

    /// Takes rows in the order in which they stand in the file: any batch that has the columns.
    pub(crate) fn add(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        let columns = COLUMNS.map(|name| rows.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()));
        for row in 0..rows.num_rows() {
            for column in columns.iter().flatten().filter(|column| column.is_valid(row)) {
                fold(column.value(row), &mut self.folded);
                tokens(&self.folded, |hash| {
                    self.words.insert(hash);
                });
            }
            self.rows += 1;
            if self.rows == ROWS || self.words.len() >= WORDS_MAX {
                self.end_filter()?;
            }
        }
        Ok(())
    }

    fn end_filter(&mut self) -> Result<(), Error> {
        let buckets = (self.words.len() * WORD_BITS).div_ceil(BUCKET * 8).max(1);
        let mut filter = vec![[0_u32; LANES]; buckets];
        for hash in self.words.drain() {
            let (bucket, bits) = bits(hash, buckets);
            filter[bucket].iter_mut().zip(bits).for_each(|(lane, bit)| *lane |= bit);
        }
        for buckets in filter.chunks(PAGE_BUCKETS) {
            let mut page: Vec<u8> = buckets.iter().flatten().flat_map(|lane| lane.to_le_bytes()).collect();
            page.extend(self.pages.to_le_bytes());
            page.extend(self.tag.to_le_bytes());
            page.extend([0; 12]);
            self.write_checked(page)?;
            self.pages += 1;
        }
        let buckets = u32::try_from(buckets).map_err(|_| Error::Rows { doing: "make filters" })?;
        self.entries.push(Entry { rows: self.rows, buckets });
        self.rows = 0;
        // The words of one monstrous row are not held for the rest of the file.
        self.words.shrink_to(2 * WORDS_MAX);
        Ok(())
    }

    fn write_checked(&mut self, mut bytes: Vec<u8>) -> Result<(), Error> {
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        self.upload.write_all(&bytes).map_err(|_| Error::Rows { doing: "write filters" })
    }

    /// Makes the filters durable, for a data file of so many bytes.
    pub(crate) fn finish(mut self, data_bytes: u64) -> Result<(), Error> {
        if self.rows > 0 {
            self.end_filter()?;
        }
        let rows: u64 = self.entries.iter().map(|entry| u64::from(entry.rows)).sum();
        let count = u32::try_from(self.entries.len()).map_err(|_| Error::Rows { doing: "make filters" })?;
        let mut end = Vec::with_capacity(self.entries.len() * ENTRY + END);
        for entry in &self.entries {
            end.extend(entry.rows.to_le_bytes());
            end.extend(entry.buckets.to_le_bytes());
        }
        end.extend(MAGIC);
        end.extend(VERSION.to_le_bytes());
        end.extend(count.to_le_bytes());
        end.extend(rows.to_le_bytes());
        end.extend(data_bytes.to_le_bytes());
        end.extend(self.tag.to_le_bytes());
        end.extend([0; 20]);
        self.write_checked(end)?;
        self.upload.finish().map_err(object("end filters")).map(drop)
    }
}

/// Why filters cannot be used: then all rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    Missing,
    Unread,
    Damaged,
    /// They are of another file, or of another version of this one.
    Foreign,
}

/// The filters of one data file.
pub(crate) struct Filters {
    file: Box<dyn DiskFile>,
    tag: u64,
    entries: Vec<Entry>,
    /// Where each filter begins: its offset, and the number of its first page.
    starts: Vec<(u64, u64)>,
    page: Vec<u8>,
}

impl Filters {
    pub(crate) fn open(store: &Store, tenant: &str, data: &DataFile) -> Result<Self, Unusable> {
        let file = store.read(&Path::from(format!("{tenant}/{}", place(&data.path))));
        let file = file.map_err(|error| match error {
            object_store::Error::NotFound { .. } => Unusable::Missing,
            _ => Unusable::Unread,
        })?;
        Self::of(file, tag(&data.path), data.rows, data.bytes)
    }

    /// Reads directory and end. Bytes are asked for only where they can be.
    fn of(file: Box<dyn DiskFile>, tag: u64, rows: u64, data_bytes: u64) -> Result<Self, Unusable> {
        let len = file.len().map_err(|_| Unusable::Unread)?;
        let end_at = len.checked_sub(END as u64).ok_or(Unusable::Damaged)?;
        let mut end = [0; END];
        read(file.as_ref(), &mut end, end_at)?;
        if end[..8] != MAGIC {
            return Err(Unusable::Damaged);
        }
        if word(&end, 8) != VERSION {
            return Err(Unusable::Foreign);
        }
        let directory_len = word(&end, 12) as usize * ENTRY;
        if directory_len as u64 > end_at || directory_len > LAKE_TOKENS_DIRECTORY_MAX {
            return Err(Unusable::Damaged);
        }
        let mut directory = vec![0; directory_len];
        let directory_at = end_at - directory_len as u64;
        read(file.as_ref(), &mut directory, directory_at)?;
        let sum = crc32c::crc32c_append(crc32c::crc32c(&directory), &end[..END - 4]);
        if sum != word(&end, END - 4) {
            return Err(Unusable::Damaged);
        }
        if (long(&end, 16), long(&end, 24), long(&end, 32)) != (rows, data_bytes, tag) {
            return Err(Unusable::Foreign);
        }
        let entry = |bytes: &[u8]| Entry { rows: word(bytes, 0), buckets: word(bytes, 4) };
        let entries: Vec<Entry> = directory.chunks_exact(ENTRY).map(entry).collect();
        let (mut starts, mut offset, mut page) = (Vec::with_capacity(entries.len()), 0_u64, 0_u64);
        for entry in &entries {
            starts.push((offset, page));
            offset += entry.bytes() as u64;
            page += entry.pages() as u64;
        }
        let all = entries.iter().map(|entry| u64::from(entry.rows)).sum::<u64>();
        if offset != directory_at || all != rows || entries.iter().any(|entry| entry.buckets == 0) {
            return Err(Unusable::Damaged);
        }
        Ok(Self { file, tag, entries, starts, page: Vec::new() })
    }

    /// Returns how many rows each filter is of, in order.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = usize> {
        self.entries.iter().map(|entry| entry.rows as usize)
    }

    /// Tells whether a row of the filter `at` may have the token. Reads one page.
    fn may_have(&mut self, at: usize, token: Token) -> Result<bool, Unusable> {
        let (Some(entry), Some((offset, first))) = (self.entries.get(at), self.starts.get(at)) else {
            return Err(Unusable::Damaged);
        };
        let (bucket, bits) = bits(token.hash, entry.buckets as usize);
        let number = bucket / PAGE_BUCKETS;
        let buckets = PAGE_BUCKETS.min(entry.buckets as usize - number * PAGE_BUCKETS);
        self.page.resize(buckets * BUCKET + PAGE_END, 0);
        let offset = offset + (number * (PAGE_BUCKETS * BUCKET + PAGE_END)) as u64;
        read(self.file.as_ref(), &mut self.page, offset)?;
        let end = &self.page[buckets * BUCKET..];
        let checked = self.page.len() - 4;
        if crc32c::crc32c(&self.page[..checked]) != word(end, PAGE_END - 4) {
            return Err(Unusable::Damaged);
        }
        if (long(end, 0), long(end, 8)) != (first + number as u64, self.tag) {
            return Err(Unusable::Foreign);
        }
        let lanes = &self.page[bucket % PAGE_BUCKETS * BUCKET..];
        Ok(bits.iter().enumerate().all(|(lane, bit)| word(lanes, lane * 4) & bit != 0))
    }
}

fn read(file: &dyn DiskFile, bytes: &mut [u8], offset: u64) -> Result<(), Unusable> {
    match file.read_at(bytes, offset) {
        Ok(len) if len == bytes.len() => Ok(()),
        Ok(_) => Err(Unusable::Damaged),
        Err(_) => Err(Unusable::Unread),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// What a filter must have for a row to be among its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing that a filter knows.
    Anything,
    Token(Token),
    All(Vec<Wanted>),
    Either(Vec<Wanted>),
}

impl Wanted {
    /// Tells whether rows of the filter `at` may be wanted.
    pub(crate) fn may_be_in(&self, filters: &mut Filters, at: usize) -> Result<bool, Unusable> {
        let (parts, stops_at) = match self {
            Self::Anything => return Ok(true),
            Self::Token(token) => return filters.may_have(at, *token),
            Self::All(parts) => (parts, false),
            Self::Either(parts) => (parts, true),
        };
        for part in parts {
            if part.may_be_in(filters, at)? == stops_at {
                return Ok(stops_at);
            }
        }
        Ok(!stops_at)
    }
}

/// The filters of one tenant's files, as queries and upkeep share them.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    store: Store,
    /// Files of the table whose filters are missing or cannot be used: upkeep makes them.
    lacking: Arc<Mutex<BTreeSet<String>>>,
}

impl Tokens {
    pub(crate) fn new(store: Store, lacking: impl IntoIterator<Item = String>) -> Self {
        Self { store, lacking: Arc::new(Mutex::new(lacking.into_iter().collect())) }
    }

    /// Returns, for each run of rows of a file, how long it is and whether what is wanted may be there; `None` when nothing
    /// is known.
    pub(crate) fn narrow(&self, tenant: &str, file: &DataFile, wanted: &Wanted) -> Option<Vec<(usize, bool)>> {
        let narrowed = Filters::open(&self.store, tenant, file).and_then(|mut filters| {
            let rows: Vec<usize> = filters.rows().collect();
            let each = rows.into_iter().enumerate();
            each.map(|(at, rows)| Ok((rows, wanted.may_be_in(&mut filters, at)?))).collect()
        });
        match narrowed {
            Ok(narrowed) => Some(narrowed),
            Err(why) => {
                tracing::debug!(?why, "a file is searched without its token filters");
                lock(&self.lacking).insert(file.path.clone());
                None
            }
        }
    }

    /// Takes up to `most` files of the table whose filters are to be made; those that are no more are forgotten.
    pub(crate) fn take_lacking(&self, live: &[DataFile], most: usize) -> Vec<DataFile> {
        let mut lacking = lock(&self.lacking);
        let found: Vec<DataFile> =
            live.iter().filter(|file| lacking.contains(&file.path)).take(most).cloned().collect();
        lacking
            .retain(|path| live.iter().any(|file| file.path == *path) && !found.iter().any(|file| file.path == *path));
        found
    }

    /// Makes the filters of a file again, from what is stored. Blocks.
    pub(crate) fn make(&self, tenant: &str, file: &DataFile) -> Result<(), Error> {
        let data =
            self.store.file(&Path::from(format!("{tenant}/{}", file.path))).map_err(object("open a data file"))?;
        let reading = "read a data file";
        let reader = ParquetRecordBatchReaderBuilder::try_new(data).map_err(Error::parquet(reading))?;
        let columns = ProjectionMask::columns(reader.parquet_schema(), COLUMNS);
        let reader = reader.with_projection(columns).with_batch_size(READ_ROWS).build();
        let mut writer = TokensWriter::begin(&self.store, tenant, &file.path)?;
        for rows in reader.map_err(Error::parquet(reading))? {
            writer.add(&rows.map_err(Error::arrow(reading))?)?;
        }
        writer.finish(file.bytes)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, StringArray};
    use disk::{Disk, OsDisk};
    use model::{Rng, SeededRng};

    use super::*;
    use crate::word::whole_tokens;

    const DATA: &str = "tenant=t/day=2026-11-27/x.parquet";

    struct Place {
        dir: tempfile::TempDir,
        store: Store,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let store = Store::open(Arc::new(OsDisk), dir.path().to_owned()).expect("opens");
            Self { dir, store }
        }

        /// Makes filters of so many rows, each a text of its own.
        fn fill(&self, rows: u64) {
            let mut writer = TokensWriter::begin(&self.store, "t", DATA).expect("begins");
            for first in (0..rows).step_by(1_000) {
                let bodies: Vec<String> =
                    (first..rows.min(first + 1_000)).map(|n| format!("line n{n} of all")).collect();
                let column: ArrayRef = Arc::new(StringArray::from(bodies));
                writer.add(&RecordBatch::try_from_iter([("body", column)]).expect("a batch")).expect("adds");
            }
            writer.finish(7).expect("ends");
        }

        /// Puts other bytes in their place. Not durably: hundreds are tried.
        fn put(&self, bytes: &[u8]) {
            OsDisk.remove(&self.path()).expect("removes");
            let file = OsDisk.open(&self.path(), disk::Open::CreateNew).expect("makes");
            file.write_at(bytes, 0).expect("writes");
        }

        fn path(&self) -> std::path::PathBuf {
            self.dir.path().join("t").join(place(DATA))
        }

        fn open(&self, data: &DataFile) -> Result<Filters, Unusable> {
            Filters::open(&self.store, "t", data)
        }
    }

    fn data(rows: u64) -> DataFile {
        DataFile {
            path: DATA.to_owned(),
            bytes: 7,
            day: 0,
            rows,
            ts: (0, 0),
            severity: (0, 0),
            service: None,
            service_nulls: 0,
        }
    }

    fn token(word: &str) -> Token {
        whole_tokens(word, (false, false))[0]
    }

    #[test]
    fn what_is_there_is_found_and_little_else() {
        let place = Place::new();
        let rows = u64::from(ROWS) * 2 + 5;
        place.fill(rows);
        let mut filters = place.open(&data(rows)).expect("opens");
        assert_eq!(filters.rows().collect::<Vec<_>>(), [ROWS as usize, ROWS as usize, 5]);
        for n in (0..rows).step_by(97) {
            let at = usize::try_from(n / u64::from(ROWS)).expect("small");
            assert_eq!(filters.may_have(at, token(&format!("N{n}"))), Ok(true), "{n}");
        }
        let absent = (0..20_000).filter(|n| filters.may_have(0, token(&format!("absent{n}"))).expect("reads")).count();
        assert!(absent < 200, "{absent} of 20,000 look as if they were there");
        assert!((0..3).all(|at| filters.may_have(at, token("line")) == Ok(true)));
        assert_eq!(filters.may_have(3, token("line")), Err(Unusable::Damaged));
        // Less than two bytes a word.
        assert!(std::fs::metadata(place.path()).expect("is there").len() < rows * 2);
    }

    #[test]
    fn a_filter_ends_early_when_it_has_many_words() {
        let place = Place::new();
        let mut writer = TokensWriter::begin(&place.store, "t", DATA).expect("begins");
        let body = |n: u64| (0..100_000).map(|word| format!("w{n}x{word} ")).collect::<String>();
        for n in 0..4 {
            let column: ArrayRef = Arc::new(StringArray::from(vec![body(n)]));
            writer.add(&RecordBatch::try_from_iter([("body", column)]).expect("a batch")).expect("adds");
        }
        writer.finish(7).expect("ends");
        let mut filters = place.open(&data(4)).expect("opens");
        assert_eq!(filters.rows().collect::<Vec<_>>(), [3, 1]);
        assert_eq!(filters.may_have(0, token("w2x99999")), Ok(true));
        assert_eq!(filters.may_have(1, token("w2x99999")), Ok(false));
    }

    #[test]
    fn filters_of_another_file_or_version_are_not_believed() {
        let place = Place::new();
        assert!(matches!(place.open(&data(10)), Err(Unusable::Missing)));
        place.fill(10);
        assert!(place.open(&data(10)).is_ok());
        assert!(matches!(place.open(&data(11)), Err(Unusable::Foreign)));
        assert!(matches!(place.open(&DataFile { bytes: 8, ..data(10) }), Err(Unusable::Foreign)));
        let other = DataFile { path: DATA.replace('x', "y"), ..data(10) };
        std::fs::copy(place.path(), place.dir.path().join("t").join(super::place(&other.path))).expect("copies");
        assert!(matches!(place.open(&other), Err(Unusable::Foreign)));
        let mut bytes = std::fs::read(place.path()).expect("reads");
        let version = bytes.len() - END + 8;
        bytes[version] += 1;
        disk::write_atomic(&OsDisk, &place.path(), &bytes).expect("writes");
        assert!(matches!(place.open(&data(10)), Err(Unusable::Foreign)));
        OsDisk.remove(&place.path()).expect("removes");
        OsDisk.create_dir_all(&place.path()).expect("makes a directory in its place");
        assert!(matches!(place.open(&data(10)), Err(Unusable::Unread)));
    }

    /// Whatever becomes of a byte: a token that was there is found, or the filters are not believed. And no length is.
    #[test]
    fn damage_never_hides_a_row() {
        let place = Place::new();
        place.fill(5_000);
        let whole = std::fs::read(place.path()).expect("reads");
        let tokens: Vec<Token> = (0..5_000).step_by(7).map(|n| token(&format!("n{n}"))).collect();
        let rng = SeededRng::new(3);
        let mut believed = 0;
        for round in 0..600 {
            let mut bytes = whole.clone();
            match round % 3 {
                0 => bytes.truncate(usize::try_from(rng.below(bytes.len() as u64)).expect("small")),
                1 => {
                    let at = usize::try_from(rng.below(bytes.len() as u64)).expect("small");
                    bytes[at] ^= 1 << rng.below(8);
                }
                _ => {
                    let from = bytes.len() - usize::try_from(rng.below(120) + 1).expect("small");
                    rng.fill(&mut bytes[from..]);
                }
            }
            place.put(&bytes);
            let Ok(mut filters) = place.open(&data(5_000)) else { continue };
            for token in &tokens {
                match filters.may_have(0, *token) {
                    Ok(may) => assert!(may, "round {round}"),
                    Err(_) => break,
                }
                believed += 1;
            }
        }
        assert!(believed > 100, "damage of one page leaves the others");
    }

    #[test]
    fn a_directory_that_claims_much_is_not_read() {
        let place = Place::new();
        place.fill(1);
        let mut bytes = std::fs::read(place.path()).expect("reads");
        let count = bytes.len() - END + 12;
        bytes[count..count + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        disk::write_atomic(&OsDisk, &place.path(), &bytes).expect("writes");
        assert!(matches!(place.open(&data(1)), Err(Unusable::Damaged)));
    }

    #[test]
    fn names_stand_beside_the_file_and_begin_with_what_delta_passes_over() {
        assert_eq!(place(DATA), "tenant=t/day=2026-11-27/_x.tokens");
    }
}
