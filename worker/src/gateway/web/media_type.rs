//! The `Content-Type` of files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hyper::http::HeaderValue;

/// Returns the media type for a file name; the default is `application/octet-stream`, which browsers
/// download. There is no `charset`: it would override what a page declares, and the encoding is unknown here.
pub(super) fn media_type(name: &[u8]) -> HeaderValue {
    let name = Path::new(OsStr::from_bytes(name));
    HeaderValue::from_static(match name.extension().and_then(OsStr::to_str) {
        // The table has an obsolete type for modules, and takes source maps for image maps.
        Some("mjs") => "text/javascript",
        Some("map") => "application/json",
        _ => mime_guess::from_path(name).first_raw().unwrap_or("application/octet-stream"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_that_browsers_insist_on() {
        for (name, expected) in [
            ("vnc.html", "text/html"),
            ("a.HTM", "text/html"),
            ("ui.js", "text/javascript"),
            ("ui.mjs", "text/javascript"),
            ("base.css", "text/css"),
            ("README.txt", "text/plain"),
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
