//! Reads a data directory as somebody would who took the disk: each file as it is and undone in every way that its bytes
//! allow, so that a value is found however it is packed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use base64::Engine as _;

use crate::intake::files_below;
use crate::planted::values::Planted;

/// How many packings within packings are undone.
const DEPTH_MAX: usize = 4;
/// The most that one packed part may become.
const UNPACKED_MAX: u64 = 1 << 30;
/// The shortest run of letters that is taken for an encoding: below it nothing planted fits in.
const RUN_MIN: usize = 10;

/// What was found: by value, where.
pub(crate) type Found = BTreeMap<usize, BTreeSet<String>>;

/// Looks for all values in one pass over each text.
pub(crate) struct Searcher {
    automaton: AhoCorasick,
    /// By needle: the value that it is of, and whether a digit next to it makes it part of something else.
    needles: Vec<(usize, bool)>,
    found: Found,
    /// Bytes looked at, by how they came about.
    pub(crate) looked: BTreeMap<String, usize>,
}

impl Searcher {
    pub(crate) fn new(planted: &[Planted]) -> Self {
        let (mut texts, mut needles) = (Vec::new(), Vec::new());
        for (value, planted) in planted.iter().enumerate() {
            for needle in &planted.needles {
                let is_number = needle.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                needles.push((value, is_number && needle.len() < 16));
                texts.push(needle.as_str());
            }
        }
        let automaton = AhoCorasickBuilder::new().ascii_case_insensitive(true).build(&texts).expect("builds");
        Self { automaton, needles, found: Found::new(), looked: BTreeMap::new() }
    }

    /// Looks into all files below `dir`.
    pub(crate) fn read(&mut self, dir: &Path) {
        for path in files_below(dir) {
            let bytes = std::fs::read(&path).expect("reads");
            let name = path.strip_prefix(dir).expect("is below").display().to_string();
            self.look(&bytes, &name, 0);
            if bytes.starts_with(b"SQLite format 3\0") {
                self.look(&overflows(&bytes), &format!("{name} > overflow"), DEPTH_MAX);
            }
        }
    }

    /// Looks into bytes and into whatever they pack.
    pub(crate) fn look(&mut self, bytes: &[u8], name: &str, depth: usize) {
        // A write-ahead log is zeros for the most part.
        let is_full = |chunk: &&[u8]| chunk.iter().any(|byte| *byte != 0);
        let dense: Vec<u8> = bytes.chunks(4_096).filter(is_full).flatten().copied().collect();
        let layer = name.split_once(" > ").map_or("raw", |(_, layer)| layer);
        *self.looked.entry(layer.to_owned()).or_default() += dense.len();
        self.search(&dense, name);
        if depth >= DEPTH_MAX {
            return;
        }
        for (how, unpacked) in unpacked(&dense) {
            if !unpacked.is_empty() {
                self.look(&unpacked, &format!("{name} > {how}"), depth + 1);
            }
        }
    }

    fn search(&mut self, bytes: &[u8], name: &str) {
        let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        for hit in self.automaton.find_overlapping_iter(bytes) {
            let (value, alone) = self.needles[hit.pattern().as_usize()];
            if !alone || !(is_digit(hit.start().checked_sub(1)) || is_digit(Some(hit.end()))) {
                self.found.entry(value).or_default().insert(name.to_owned());
            }
        }
    }

    pub(crate) fn found(&self) -> &Found {
        &self.found
    }
}

/// All that bytes may pack, each kind in one piece.
fn unpacked(bytes: &[u8]) -> [(&'static str, Vec<u8>); 7] {
    let zstd = |at| Some(Box::new(zstd::Decoder::new(at).ok()?.single_frame()) as Box<dyn std::io::Read>);
    let gzip = |at| Some(Box::new(flate2::bufread::GzDecoder::new(at)) as Box<dyn std::io::Read>);
    [
        ("zstd", frames(bytes, &[0x28, 0xB5, 0x2F, 0xFD], zstd)),
        ("gzip", frames(bytes, &[0x1F, 0x8B, 8], gzip)),
        ("base64", runs(bytes, |byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte), base64)),
        ("hex", runs(bytes, |byte| byte.is_ascii_hexdigit(), hex)),
        ("percent", escapes(bytes, b"%", 2)),
        ("escape", escapes(bytes, b"\\u", 4)),
        ("utf-16", utf16(bytes)),
    ]
}

/// Unpacks wherever the first bytes of a format stand, as far as it goes.
fn frames<'a>(
    bytes: &'a [u8],
    magic: &[u8],
    open: impl Fn(&'a [u8]) -> Option<Box<dyn std::io::Read + 'a>>,
) -> Vec<u8> {
    let mut out = Vec::new();
    let finder = AhoCorasick::new([magic]).expect("builds");
    for hit in finder.find_iter(bytes) {
        if let Some(reader) = bytes.get(hit.start()..).and_then(&open) {
            // What comes before an error was there all the same.
            let _ = reader.take(UNPACKED_MAX).read_to_end(&mut out);
            out.push(b'\n');
        }
    }
    out
}

/// Decodes each run of an alphabet.
fn runs(bytes: &[u8], belongs: impl Fn(u8) -> bool, decode: impl Fn(&[u8], &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    for run in bytes.split(|byte| !belongs(*byte)).filter(|run| run.len() >= RUN_MIN) {
        decode(run, &mut out);
    }
    out
}

/// Nobody says where four letters begin that are three bytes.
fn base64(run: &[u8], out: &mut Vec<u8>) {
    let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
    let standard = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    let standard: Vec<u8> = run.iter().map(standard).collect();
    for start in 0..4 {
        let rest = standard.get(start..).unwrap_or_default();
        let whole = rest.get(..rest.len() / 4 * 4).unwrap_or_default();
        out.extend(engine.decode(whole).unwrap_or_default());
        out.push(b'\n');
    }
}

fn hex(run: &[u8], out: &mut Vec<u8>) {
    for start in 0..2 {
        let pairs = run.get(start..).unwrap_or_default().chunks_exact(2);
        out.extend(pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()));
        out.push(b'\n');
    }
}

/// Undoes `%41` and `\u0041`; nothing if there is none.
fn escapes(bytes: &[u8], mark: &[u8], digits: usize) -> Vec<u8> {
    let (mut out, mut at, mut any) = (Vec::with_capacity(bytes.len()), 0, false);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let code = rest.strip_prefix(mark).and_then(|rest| rest.get(..digits));
        let code = code.and_then(|code| u32::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match code {
            Some(code) if digits == 2 => out.push(u8::try_from(code).unwrap_or(b' ')),
            Some(code) => out.extend(char::from_u32(code).unwrap_or(' ').to_string().bytes()),
            None => {
                out.push(rest[0]);
                at += 1;
                continue;
            }
        }
        at += mark.len() + digits;
        any = true;
    }
    if any { out } else { Vec::new() }
}

/// Letters with a zero behind each, then those with a zero before each.
fn utf16(bytes: &[u8]) -> Vec<u8> {
    let little = bytes.windows(2).filter(|pair| pair[1] == 0 && pair[0] != 0).map(|pair| pair[0]);
    let big = bytes.windows(2).filter(|pair| pair[0] == 0 && pair[1] != 0).map(|pair| pair[1]);
    little.chain(std::iter::once(b'\n')).chain(big).collect()
}

/// A row of SQLite that is longer than its page goes on in another: the seams, joined.
fn overflows(bytes: &[u8]) -> Vec<u8> {
    const SEAM: usize = 128;
    let size = match bytes.get(16..18) {
        Some([0, 1]) => 65_536,
        Some([high, low]) => usize::from(*high) << 8 | usize::from(*low),
        _ => return Vec::new(),
    };
    let pages: Vec<&[u8]> = bytes.chunks_exact(size.max(512)).collect();
    let mut out = Vec::new();
    for page in &pages {
        for (at, window) in page.windows(4).enumerate() {
            // Few pages have numbers above these, and fewer tests have such files.
            let [0, 0, high, low] = window else { continue };
            let number = usize::from(*high) << 8 | usize::from(*low);
            let Some(next) = number.checked_sub(1).and_then(|number| pages.get(number)) else { continue };
            // An overflow page begins with the next one's number; a row's own part ends with it.
            let before = if at == 0 { &page[size - SEAM..] } else { &page[at.saturating_sub(SEAM)..at] };
            out.extend_from_slice(before);
            out.extend_from_slice(&next[4..4 + SEAM]);
            out.push(b'\n');
        }
    }
    out
}
