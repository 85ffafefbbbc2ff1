//! Gives back pages of the program that only the start, or a question, ran.
//!
//! A program of this size maps tens of megabytes of its own file while it starts, of which it runs a fraction again. They
//! are copies of what the file has, so the kernel may drop them at any time and read them again; under a memory limit it
//! does, at a bad time. Here they are dropped at a good one, and what is resident is what is in use.

use std::io;
use std::ops::Range;
use std::path::Path;

/// Forgets the pages of this program's file that are as they are in the file. Those in use come back by themselves.
/// Returns how many bytes were resident of them.
///
/// # Errors
/// When the kernel does not say what is mapped, or refuses: nothing was changed then.
pub(crate) fn give_back() -> io::Result<u64> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/smaps")?;
    let mut bytes = 0;
    for mapping in unmodified(&maps, &program) {
        forget(&mapping.place)?;
        bytes += mapping.resident;
    }
    Ok(bytes)
}

/// Part of the address space that holds what a file holds.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    place: Range<usize>,
    /// Bytes of it that are in memory.
    resident: u64,
}

/// Reads from the text of `smaps` which mappings of `program` cannot be written to and have no page of their own. What
/// the loader relocated and then made read-only has such pages, and would lose them.
fn unmodified(smaps: &str, program: &Path) -> Vec<Mapping> {
    let program = program.as_os_str().as_encoded_bytes();
    let mut found: Vec<(Mapping, bool)> = Vec::new();
    let mut ours = false;
    for line in smaps.lines() {
        let mut words = line.splitn(6, ' ');
        let (Some(first), second) = (words.next(), words.next()) else { continue };
        if let Some(key) = first.strip_suffix(':') {
            let figure = line.strip_prefix(first).and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            let (Some((mapping, clean)), Some(kib), true) = (found.last_mut(), figure, ours) else { continue };
            match key {
                "Rss" => mapping.resident = kib << 10,
                // Not the dirty ones: those of a file that was just written are, and have it all the same.
                "Anonymous" | "Swap" | "Locked" => *clean &= kib == 0,
                _ => {}
            }
            continue;
        }
        let path = words.nth(3).unwrap_or_default().trim_start();
        ours = path.as_bytes() == program && matches!(second, Some("r-xp" | "r--p"));
        let place = first.split_once('-').and_then(|(start, end)| {
            Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
        });
        match place {
            Some(place) if ours => found.push((Mapping { place, resident: 0 }, true)),
            _ => ours = false,
        }
    }
    found.into_iter().filter_map(|(mapping, clean)| clean.then_some(mapping)).collect()
}

/// Forgets what is resident of a mapping for which [`unmodified`] vouches.
#[expect(unsafe_code, reason = "the system call takes an address; `reading_goes_on_as_before` is its safe twin")]
fn forget(place: &Range<usize>) -> io::Result<()> {
    let start = std::ptr::with_exposed_provenance_mut(place.start);
    // SAFETY: the mapping is private, cannot be written to, is backed by this program's file and has no page that differs
    // from it. Until somebody maps something else there, each byte reads the same before and after. The program's own
    // mappings are never replaced while it runs.
    unsafe { rustix::mm::madvise(start, place.len(), rustix::mm::Advice::LinuxDontNeed) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
1000-3000 r--p 00000000 fe:00 5492179                    /opt/a program
Size:                  8 kB
Rss:                   8 kB
Private_Dirty:         8 kB
Anonymous:             0 kB
Swap:                  0 kB
THPeligible:           0
VmFlags: rd mr mw me
3000-6000 r-xp 00002000 fe:00 5492179                    /opt/a program
Rss:                  12 kB
Shared_Dirty:          0 kB
Anonymous:             0 kB
6000-7000 r--p 00005000 fe:00 5492179                    /opt/a program
Rss:                   4 kB
Anonymous:             4 kB
7000-8000 rw-p 00006000 fe:00 5492179                    /opt/a program
Rss:                   4 kB
Anonymous:             0 kB
7800-8000 r--p 00006000 fe:00 5492179                    /opt/a program
Rss:                   0 kB
Anonymous:             0 kB
Swap:                  4 kB
8000-9000 r-xp 00000000 fe:00 17                         /usr/lib/libc.so.6
Rss:                   4 kB
9000-a000 rw-p 00000000 00:00 0 
Rss:                   4 kB
b000-c000 r-xp 00000000 00:00 0                          [vdso]
nonsense
x-y r-xp 00000000 00:00 0 /opt/a program
Rss:                   4 kB
";

    #[test]
    fn only_what_is_as_in_the_file_is_forgotten() {
        let found = unmodified(MAPS, Path::new("/opt/a program"));
        let expected = [
            Mapping { place: 0x1000..0x3000, resident: 8 << 10 },
            Mapping { place: 0x3000..0x6000, resident: 12 << 10 },
        ];
        assert_eq!(found, expected);
        assert_eq!(unmodified(MAPS, Path::new("/opt/another")), []);
        assert_eq!(unmodified("", Path::new("")), []);
    }

    #[test]
    fn reading_goes_on_as_before() {
        static WORDS: [&str; 4] = ["read", "only", "memory", "of the program"];
        let before = (WORDS.concat(), unmodified(MAPS, Path::new("/opt/a program")));
        let program = std::fs::read_link("/proc/self/exe").expect("is a program");
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("is on Linux");
        let code = give_back as *const () as usize;
        let found = unmodified(&maps, &program);
        assert!(found.iter().any(|mapping| mapping.place.contains(&code)), "the code is forgotten too: {found:?}");
        assert!(give_back().expect("forgets") > 0);
        assert_eq!(before, (WORDS.concat(), unmodified(MAPS, Path::new("/opt/a program"))));
    }
}
