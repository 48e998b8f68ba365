//! The file of an instance, read without blocking.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use common::config::file::{ListenKeys, MAX_FILE_BYTES, parse_listeners};

/// Maximum length of an instance's name in bytes, so that the unit name is valid (systemd.unit(5)).
const MAX_NAME_BYTES: usize = 200;

/// The file of an instance whose name can be used in a unit name without escaping.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// The name of the instance.
    pub(crate) name: &'a str,
    /// The path of the file.
    pub(crate) path: &'a Path,
}

impl<'a> Source<'a> {
    /// Returns `None` for a file that is not a configuration.
    pub(crate) fn new(path: &'a Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".toml")?;
        let fits = !name.is_empty()
            && !name.starts_with('.')
            && name.len() <= MAX_NAME_BYTES
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c));
        fits.then_some(Self { name, path })
    }

    /// The socket unit of the instance.
    pub(crate) fn unit(&self) -> String {
        format!("websockify@{}.socket", self.name)
    }

    /// The addresses of its listeners.
    pub(crate) fn read(&self) -> Result<ListenKeys, String> {
        let text = self.text().map_err(|error| format!("error: {}: {error}", self.path.display()))?;
        parse_listeners(&text, self.path).map_err(|error| error.to_string())
    }

    /// Reads the file. Opening a FIFO must not block.
    fn text(&self) -> io::Result<String> {
        let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("is not a file"));
        }
        read_bounded(&file)
    }
}

fn read_bounded(file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("is longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_need_no_escaping_are_instances() {
        let name = |path: &'static str| Source::new(Path::new(path)).map(|source| source.name);
        assert_eq!(name("/etc/websockify/vnc.toml"), Some("vnc"));
        assert_eq!(name("/etc/websockify/a_B-1.2:3.toml"), Some("a_B-1.2:3"));
        let others = [
            ".toml",
            ".vnc.toml",
            "vnc.toml~",
            "vnc",
            "a b.toml",
            "a\\x2d.toml",
            "ü.toml",
            "%i.toml",
            "a@b.toml",
        ];
        for other in others {
            assert_eq!(name(other), None, "{other}");
        }
        assert!(Source::new(Path::new(&format!("{}.toml", "a".repeat(201)))).is_none());
    }

    #[test]
    fn a_fifo_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vnc.toml");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Source::new(&path).unwrap().read().unwrap_err().contains("is not a file"));
    }
}
