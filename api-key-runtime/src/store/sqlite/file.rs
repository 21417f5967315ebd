//! Which file a path names: a connection goes on reading a file that was replaced or deleted, and would let in whom it let in.

use std::fs;

/// What tells one file from another at the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// Of the file at this path; none where there is none.
    #[cfg(unix)]
    pub(crate) fn of(path: &str) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(path).ok().map(|metadata| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Elsewhere an open file can be neither replaced nor deleted.
    #[cfg(not(unix))]
    pub(crate) fn of(path: &str) -> Option<Self> {
        fs::metadata(path).ok().map(|_| Self {
            device: 0,
            inode: 0,
        })
    }
}
