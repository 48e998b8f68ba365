//! Directory listings.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use hyper::{Response, StatusCode};
use nix::errno::Errno;
use rustix::fs::{FileType, RawDir};

use super::path::{RequestPath, encode};
use crate::gateway::http::body::Body;
use crate::gateway::http::html::{escape, page};

/// Maximum number of names in a listing. Generating a longer page would delay the sessions of the gateway,
/// and nobody reads one.
const MAX_NAMES: usize = 10_000;

/// Size of the buffer for getdents64(2), in bytes.
const BUFFER_BYTES: usize = 8 << 10;

/// An entry of the listing.
struct Line {
    name: Vec<u8>,
    is_directory: bool,
}

/// Lists the files and directories of `directory`, which the request path `path` behind `prefix` led to. Symbolic links are
/// listed without resolving them. Devices, FIFOs and sockets are omitted, since they are not served.
pub(super) fn list(path: &RequestPath, directory: OwnedFd, prefix: &str) -> Result<Response<Body>, Errno> {
    let (mut lines, is_complete) = read(directory)?;
    lines.sort_by_cached_key(|line| (String::from_utf8_lossy(&line.name).to_lowercase(), line.name.clone()));

    let mut content = String::from("<ul>\n");
    if !path.is_root() {
        content.push_str("<li><a href=\"../\">../</a></li>\n");
    }
    for Line { name, is_directory } in &lines {
        let slash = if *is_directory { "/" } else { "" };
        let (link, text) = (encode(name), escape(&String::from_utf8_lossy(name)));
        content.push_str(&format!("<li><a href=\"{link}{slash}\">{text}{slash}</a></li>\n"));
    }
    content.push_str("</ul>\n");
    if !is_complete {
        content.push_str(&format!("<p>There are more: only {MAX_NAMES} names are shown.</p>\n"));
    }
    Ok(page(StatusCode::OK, &format!("Directory listing for {prefix}{}", path.display()), &content))
}

/// Reads the names. Returns whether they are complete.
fn read(directory: OwnedFd) -> Result<(Vec<Line>, bool), Errno> {
    let mut lines = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| Errno::from_raw(error.raw_os_error()))?;
        let name = entry.file_name().to_bytes();
        let is_served = matches!(
            entry.file_type(),
            FileType::Unknown | FileType::RegularFile | FileType::Directory | FileType::Symlink
        );
        if !is_served || name == b"." || name == b".." {
            continue;
        }
        if lines.len() == MAX_NAMES {
            return Ok((lines, false));
        }
        let is_directory = entry.file_type() == FileType::Directory;
        lines.push(Line { name: name.to_vec(), is_directory });
    }
    Ok((lines, true))
}
