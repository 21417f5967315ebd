//! An allocator that looks into memory as it is given back, to see that secrets were overwritten.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The least size of a block that can hold a key.
const KEY_BYTES: usize = 44;

/// What was given back while it was watched, by this thread.
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

/// Runs this and counts the blocks of at least a key's size that this thread gave back with the
/// needle and more text after it.
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

// SAFETY: every call goes on to the system's allocator unchanged. A block that is given back is
// read first: it is still allocated, of `layout.size()` bytes, and read as bytes that may be
// anything, through volatile reads, because some were never written.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above. Zeroed, so that what is read when it is given back was written.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() >= KEY_BYTES && NEEDLE.try_with(Cell::get).ok().flatten().is_some() {
            // SAFETY: the block is allocated, of this size, and was zeroed when it was made.
            look(unsafe { std::slice::from_raw_parts(block, layout.size()) });
        }
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
