//! An allocator that searches each block of memory that is freed, to check that secrets were
//! overwritten.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The minimum size of a block that can contain a key.
const KEY_BYTES: usize = 44;

/// Counts of the blocks that a watched thread freed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watched {
    pub(crate) freed: usize,
    pub(crate) freed_with_needle: usize,
}

struct Watching;

thread_local! {
    static NEEDLE: Cell<Option<&'static [u8]>> = const { Cell::new(None) };
    static WATCHED: Cell<Watched> = const { Cell::new(Watched { freed: 0, freed_with_needle: 0 }) };
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Runs this function and counts the blocks of at least a key's size that this thread freed. Also
/// counts those blocks that contain the needle twice in a row, or followed by eight letters or
/// digits.
pub(crate) fn watch_for(needle: &'static str, run: impl FnOnce()) -> Watched {
    WATCHED.set(Watched::default());
    NEEDLE.set(Some(needle.as_bytes()));
    run();
    NEEDLE.set(None);
    WATCHED.get()
}

fn look(block: &[u8]) {
    let Ok(Some(needle)) = NEEDLE.try_with(Cell::get) else {
        return;
    };
    let _ = WATCHED.try_with(|watched| {
        let mut seen = watched.get();
        seen.freed += 1;
        let found = block.windows(needle.len() + 8).any(|window| {
            window.starts_with(needle)
                && window[needle.len()..].iter().all(u8::is_ascii_alphanumeric)
        });
        let repeated = block
            .windows(needle.len() * 2)
            .any(|window| window.starts_with(needle) && window.ends_with(needle));
        seen.freed_with_needle += usize::from(found || repeated);
        watched.set(seen);
    });
}

// SAFETY: every call is passed to the system's allocator, which also zeroes new blocks. A block is
// read before it is freed, while it has `layout.size()` bytes.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above. The block is zeroed, so no uninitialised byte is read later.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() >= KEY_BYTES && NEEDLE.try_with(Cell::get).ok().flatten().is_some() {
            // SAFETY: the block is still allocated, has this size, and was zeroed at its
            // allocation.
            look(unsafe { std::slice::from_raw_parts(block, layout.size()) });
        }
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
