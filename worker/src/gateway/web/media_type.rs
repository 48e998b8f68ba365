//! The `Content-Type` of a file, by its name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hyper::http::HeaderValue;

/// The media type of a file of this name; `application/octet-stream`, which browsers download, when
/// nothing is known. Text is taken to be UTF-8.
pub(super) fn media_type(name: &[u8]) -> HeaderValue {
    let name = Path::new(OsStr::from_bytes(name));
    let media_type = match name.extension().and_then(OsStr::to_str) {
        // The common table knows an obsolete type, and the maps of image links.
        Some("mjs") => "text/javascript",
        Some("map") => "application/json",
        _ => mime_guess::from_path(name).first_raw().unwrap_or("application/octet-stream"),
    };
    if media_type.starts_with("text/") {
        HeaderValue::try_from(format!("{media_type}; charset=utf-8"))
            .unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8"))
    } else {
        HeaderValue::from_static(media_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_that_browsers_insist_on() {
        for (name, expected) in [
            ("vnc.html", "text/html; charset=utf-8"),
            ("a.HTM", "text/html; charset=utf-8"),
            ("ui.js", "text/javascript; charset=utf-8"),
            ("ui.mjs", "text/javascript; charset=utf-8"),
            ("base.css", "text/css; charset=utf-8"),
            ("README.txt", "text/plain; charset=utf-8"),
            ("icon.svg", "image/svg+xml"),
            ("a.wasm", "application/wasm"),
            ("a.png", "image/png"),
            ("favicon.ico", "image/x-icon"),
            ("de.json", "application/json"),
            ("ui.js.map", "application/json"),
            ("a.woff2", "font/woff2"),
            ("app.webmanifest", "application/manifest+json"),
            ("bell.oga", "audio/ogg"),
            ("LICENSE", "application/octet-stream"),
            ("a.unheard-of", "application/octet-stream"),
            (".js", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name.as_bytes()), expected, "{name}");
        }
        assert_eq!(media_type(b"\xff.\xff"), "application/octet-stream");
    }
}
