//! Memory for keys that the system does not write to a swap file, where it allows that.
//!
//! Each piece has pages to itself, so that letting go of one never unlocks another. Where the system does not allow it
//! (`RLIMIT_MEMLOCK`), keys lie in ordinary memory, and [`super::Stats::unlocked`] says so: a monitor that does not start for
//! that would protect nobody. Copies that a caller holds for the time of one event are wiped, not locked.

use zeroize::Zeroize as _;

/// Bytes of a page: what is locked and unlocked, on all but machines with larger ones, where neighbours share them.
const PAGE_BYTES: usize = 4_096;
/// Keys of one page.
pub(super) const KEYS: usize = PAGE_BYTES / 32;

#[repr(C, align(4096))]
struct Aligned([[u8; 32]; KEYS]);

/// A page of keys, wiped when it goes.
pub(super) struct Page {
    keys: Box<Aligned>,
    locked: bool,
}

impl Page {
    pub(super) fn new() -> Self {
        let keys = Box::new(Aligned([[0; 32]; KEYS]));
        let locked = system::lock(&keys.0);
        Self { keys, locked }
    }

    /// Tells whether the system keeps it out of swap files.
    pub(super) const fn is_locked(&self) -> bool {
        self.locked
    }

    pub(super) fn get(&self, at: usize) -> Option<&[u8; 32]> {
        self.keys.0.get(at)
    }

    /// Puts a key at a place; places outside the page are no place.
    pub(super) fn set(&mut self, at: usize, key: &[u8; 32]) {
        if let Some(place) = self.keys.0.get_mut(at) {
            place.copy_from_slice(key);
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.keys.0.as_flattened_mut().zeroize();
        if self.locked {
            system::unlock(&self.keys.0);
        }
    }
}

/// One key for as long as a keystore lives, on a page of its own.
pub(crate) struct Kept(Page);

impl Kept {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let mut page = Page::new();
        page.set(0, key);
        Self(page)
    }

    pub(crate) const fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

impl std::ops::Deref for Kept {
    type Target = [u8; 32];

    fn deref(&self) -> &[u8; 32] {
        self.0.get(0).expect("invariant: a page has a first key")
    }
}

/// The two system calls.
mod system {
    /// Keeps memory out of swap files; `false` where that is not allowed.
    #[expect(
        unsafe_code,
        reason = "the system call takes an address; `a_page_is_locked_as_the_system_says` is its safe twin"
    )]
    pub(super) fn lock<T>(memory: &[T]) -> bool {
        // SAFETY: the range is that of a live slice, and `mlock` changes neither what is in it nor who may use it.
        unsafe { rustix::mm::mlock(memory.as_ptr().cast_mut().cast(), size_of_val(memory)) }.is_ok()
    }

    /// Undoes [`lock`]; what fails is undone when the memory goes back to the system.
    #[expect(unsafe_code, reason = "as for `lock`")]
    pub(super) fn unlock<T>(memory: &[T]) {
        // SAFETY: as for `lock`.
        let _ = unsafe { rustix::mm::munlock(memory.as_ptr().cast_mut().cast(), size_of_val(memory)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says of the mapping that holds an address: how many KiB of it are locked.
    fn locked_kib(address: usize) -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("is on Linux");
        let mut ours = false;
        for line in maps.lines() {
            let place = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            if let Some((Some(start), Some(end))) = place.map(|(start, end)| (number(start), number(end))) {
                ours = (start..end).contains(&address);
            } else if let (true, Some(kib)) = (ours, line.strip_prefix("Locked:")) {
                return kib.trim().trim_end_matches(" kB").parse().expect("is a number");
            }
        }
        0
    }

    #[test]
    fn a_page_is_locked_as_the_system_says() {
        let mut page = Page::new();
        page.set(KEYS - 1, &[7; 32]);
        page.set(KEYS, &[8; 32]);
        assert_eq!((page.get(0), page.get(KEYS - 1), page.get(KEYS)), (Some(&[0; 32]), Some(&[7; 32]), None));
        let address = page.keys.0.as_ptr().addr();
        assert_eq!(address % PAGE_BYTES, 0, "it shares no page");
        assert_eq!(locked_kib(address) > 0, page.is_locked());
        let kept = Kept::new(&[9; 32]);
        assert_eq!((*kept, kept.is_locked()), ([9; 32], page.is_locked()));
    }
}
