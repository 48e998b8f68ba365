//! Finds `rebind.so`.

use std::path::PathBuf;

/// Places to search, relative to the directory of this program: beside it, as in a build; where packages
/// install it; and where the original looks. The script `rebind` has the same list.
const PLACES: [&str; 7] = [
    "rebind.so",
    "librebind.so",
    "../lib/websockify/rebind.so",
    "../lib64/websockify/rebind.so",
    "../../lib/websockify/rebind.so",
    "../../lib64/websockify/rebind.so",
    "../lib/rebind.so",
];

/// The reason why the library can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LibraryError {
    /// No directory contains the library.
    #[error(
        "rebind.so, which wrapped programs need, is neither in {0} nor in {0}/../lib/websockify; install it there"
    )]
    Missing(PathBuf),
    /// ld.so(8) separates the libraries to preload by blanks and colons.
    #[error(
        "the dynamic linker does not support a space or a colon in the path of a library: {0:?}; move it"
    )]
    Path(PathBuf),
    /// The directory of this program is unknown.
    #[error("cannot find the directory of this program: {0}")]
    Directory(#[from] std::io::Error),
}

/// Path of the library, with links resolved.
pub(super) fn find() -> Result<PathBuf, LibraryError> {
    let this = std::env::current_exe()?;
    let directory = this.parent().unwrap_or(&this);
    let found = PLACES.iter().find_map(|place| directory.join(place).canonicalize().ok());
    let found = found.ok_or_else(|| LibraryError::Missing(directory.to_owned()))?;
    if found.to_string_lossy().contains([' ', ':']) {
        return Err(LibraryError::Path(found));
    }
    Ok(found)
}
