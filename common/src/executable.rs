//! Executable files: resolves names like execvp(3), and detects whether a library can be preloaded (ld.so(8),
//! `LD_PRELOAD`).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Maximum number of nested script interpreters that the kernel follows (`BINPRM_MAX_RECURSION` of
/// fs/exec.c).
const MAX_INTERPRETERS: usize = 5;

/// Length of a script's first line that the kernel reads, in bytes (`BINPRM_BUF_SIZE`).
const MAX_FIRST_LINE: usize = 256;

/// Maximum number of program headers that are read. Only core files have more.
const MAX_PROGRAM_HEADERS: u16 = 512;

/// Maximum length of the dynamic linker's path in bytes (`PATH_MAX`).
const MAX_LINKER_PATH: u64 = 4096;

/// Credentials with which a program is started.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Setuid and similar attributes have no effect (prctl(2), `PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
}

/// The reason why the dynamic linker does not preload a library into a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The program is linked statically.
    Static,
    /// The dynamic linker belongs to another C library.
    Musl,
    /// The program is for another architecture or word length.
    OtherMachine,
    /// The program is setuid.
    Setuid,
    /// The program is setgid.
    Setgid,
    /// The program has file capabilities (capabilities(7)).
    Capabilities,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static => "is statically linked",
            Self::Musl => "is linked with musl",
            Self::OtherMachine => "is for another kind of machine",
            Self::Setuid => "is setuid",
            Self::Setgid => "is setgid",
            Self::Capabilities => "has capabilities",
        })
    }
}

/// The reason why a program is not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is no such file.
    #[error("there is no such program")]
    Missing,
    /// The directory can't be searched, so that the file may exist.
    #[error("{} can't be accessed: {source}", path.display())]
    Hidden {
        /// The path that was tried.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The file is not executable.
    #[error("{} can't be executed", .0.display())]
    NotExecutable(PathBuf),
}

/// Finds the file that execvp(3) would run for `name`: if `name` has no slash, the first match in the
/// directories of `path` (`$PATH`). Relative paths refer to `directory`.
///
/// # Errors
///
/// Fails if no executable file is found.
pub fn find(name: &OsStr, path: &OsStr, directory: &Path) -> Result<PathBuf, FindError> {
    if name.as_bytes().contains(&b'/') {
        return executable(directory.join(name));
    }
    let mut refused = FindError::Missing;
    for place in std::env::split_paths(path) {
        match executable(directory.join(place).join(name)) {
            Err(FindError::Missing) => {}
            Err(error) => refused = error,
            found => return found,
        }
    }
    Err(refused)
}

fn executable(path: PathBuf) -> Result<PathBuf, FindError> {
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() && metadata.mode() & 0o111 != 0 => Ok(path),
        Ok(_) => Err(FindError::NotExecutable(path)),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            Err(FindError::Hidden { path, source })
        }
        Err(_) => Err(FindError::Missing),
    }
}

/// Returns why a library can't be preloaded into `program`, and the file that is the reason: for a script,
/// its interpreter. `None` if there is no obstacle, or if the file can't be read.
#[must_use]
pub fn obstacle(program: &Path, caller: Caller) -> Option<(PathBuf, Obstacle)> {
    let mut file = program.to_owned();
    for _ in 0..=MAX_INTERPRETERS {
        // Opening a FIFO would block.
        let metadata = fs::metadata(&file).ok().filter(Metadata::is_file)?;
        let opened = File::open(&file).ok()?;
        if let Some(interpreter) = interpreter(&opened) {
            file = interpreter;
            continue;
        }
        let found = of_linking(&opened).or_else(|| of_rights(&file, &metadata, caller))?;
        return Some((file, found));
    }
    None
}

/// The interpreter of a script: the first word after `#!` (execve(2)).
fn interpreter(file: &File) -> Option<PathBuf> {
    let mut begin = [0; MAX_FIRST_LINE];
    let length = file.read_at(&mut begin, 0).ok()?;
    let line = begin[..length].strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let word = line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?;
    Some(OsString::from_vec(word.to_vec()).into())
}

/// Length and field offsets of `Elf64_Ehdr` and `Elf64_Phdr` (elf(5)).
const HEADER: usize = 64;
const CLASS: usize = 4;
const PROGRAM_HEADERS: u64 = 32;
const PROGRAM_HEADER_SIZE: u64 = 54;
const PROGRAM_HEADER_COUNT: u64 = 56;
const SEGMENT_OFFSET: u64 = 8;
const SEGMENT_LENGTH: u64 = 32;

/// `ELFCLASS64` and `PT_INTERP`.
const CLASS_64: u8 = 2;
const INTERPRETER: u32 = 3;

/// Returns the obstacle that follows from how the program is linked.
fn of_linking(file: &File) -> Option<Obstacle> {
    let header: [u8; HEADER] = bytes(file, 0).ok()?;
    let ours: [u8; HEADER] = bytes(&File::open("/proc/self/exe").ok()?, 0).ok()?;
    if !header.starts_with(b"\x7fELF") || ours[CLASS] != CLASS_64 {
        return None;
    }
    // Class, byte order and architecture.
    let machine = |header: [u8; HEADER]| [header[CLASS], header[5], header[18], header[19]];
    if machine(header) != machine(ours) {
        return Some(Obstacle::OtherMachine);
    }
    match linker(file).ok()? {
        None => Some(Obstacle::Static),
        Some(path) if path.windows(7).any(|part| part == b"ld-musl") => Some(Obstacle::Musl),
        Some(_) => None,
    }
}

/// The dynamic linker (`PT_INTERP`) of a program for this architecture.
fn linker(file: &File) -> io::Result<Option<Vec<u8>>> {
    let word = |offset| bytes(file, offset).map(u64::from_ne_bytes);
    let half = |offset| bytes(file, offset).map(u16::from_ne_bytes);
    let (headers, size) = (word(PROGRAM_HEADERS)?, half(PROGRAM_HEADER_SIZE)?);
    for index in 0..half(PROGRAM_HEADER_COUNT)?.min(MAX_PROGRAM_HEADERS) {
        let header = headers.saturating_add(u64::from(index) * u64::from(size));
        if bytes(file, header).map(u32::from_ne_bytes)? == INTERPRETER {
            let length = word(header.saturating_add(SEGMENT_LENGTH))?.min(MAX_LINKER_PATH);
            let mut path = vec![0; usize::try_from(length).expect("a path has a bounded length")];
            file.read_exact_at(&mut path, word(header.saturating_add(SEGMENT_OFFSET))?)?;
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn bytes<const N: usize>(file: &File, offset: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Returns the obstacle that follows from setuid, setgid and file capabilities (getauxval(3), `AT_SECURE`).
fn of_rights(path: &Path, metadata: &Metadata, caller: Caller) -> Option<Obstacle> {
    if caller.no_new_privileges {
        return None;
    }
    let has = |bits| metadata.mode() & bits == bits;
    if has(0o4000) && metadata.uid() != caller.uid {
        return Some(Obstacle::Setuid);
    }
    if has(0o2010) && metadata.gid() != caller.gid {
        return Some(Obstacle::Setgid);
    }
    // Root gains nothing by file capabilities.
    let has_capabilities =
        caller.uid != 0 && rustix::fs::getxattr(path, "security.capability", &mut [0; 64]).is_ok();
    has_capabilities.then_some(Obstacle::Capabilities)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOBODY: Caller = Caller { uid: 65534, gid: 65534, no_new_privileges: false };

    /// A directory for a test, removed on drop.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("executable-{}-{name}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            Self(directory)
        }

        fn write(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// A modified copy of this test program.
    fn altered(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = fs::read("/proc/self/exe").unwrap();
        change(&mut bytes);
        bytes
    }

    fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
        let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to);
    }

    #[test]
    fn a_program_is_found_as_the_system_finds_it() {
        let directory = Directory::new("find");
        directory.write("program", b"", 0o755);
        directory.write("text", b"", 0o644);
        let found = |name: &str, path: &str| find(name.as_ref(), path.as_ref(), &directory.0);
        assert_eq!(found("./program", "").unwrap(), directory.0.join("./program"));
        assert_eq!(found("program", "/nonexistent:.").unwrap(), directory.0.join("./program"));
        assert!(found("sh", "/nonexistent:/usr/bin:/bin").is_ok());
        assert!(matches!(found("program", "/nonexistent"), Err(FindError::Missing)));
        assert!(matches!(found("/nonexistent", "/bin"), Err(FindError::Missing)));
        assert!(matches!(found("text", "."), Err(FindError::NotExecutable(_))));
        assert!(matches!(found("./", "."), Err(FindError::NotExecutable(_))));
    }

    #[test]
    fn linking_is_detected_in_programs_and_through_scripts() {
        let directory = Directory::new("linking");
        let found = |path: &Path| obstacle(path, NOBODY).map(|(_, found)| found);
        assert_eq!(found(Path::new("/proc/self/exe")), None);
        let musl =
            directory.write("musl", &altered(|bytes| replace(bytes, b"/ld-linux", b"/ld-musl-")), 0o755);
        assert_eq!(found(&musl), Some(Obstacle::Musl));
        let other = directory.write("other", &altered(|bytes| bytes[18] ^= 1), 0o755);
        assert_eq!(found(&other), Some(Obstacle::OtherMachine));
        // Without program headers there is no dynamic linker.
        let fixed = directory.write("static", &altered(|bytes| bytes[56..58].fill(0)), 0o755);
        assert_eq!(found(&fixed), Some(Obstacle::Static));
        let script = format!("#! {} -x\nnonsense", fixed.display());
        let script = directory.write("script", script.as_bytes(), 0o755);
        assert_eq!(obstacle(&script, NOBODY), Some((fixed, Obstacle::Static)));
        let endless = directory.0.join("endless");
        directory.write("endless", format!("#!{}\n", endless.display()).as_bytes(), 0o755);
        for unknown in
            [directory.write("text", b"echo", 0o755), directory.write("empty", b"", 0o755), endless]
        {
            assert_eq!(found(&unknown), None);
        }
        for length in [4, 20, 60, 64, 100] {
            let cut = directory.write("cut", &altered(|bytes| bytes.truncate(length)), 0o755);
            assert_eq!(found(&cut), None, "{length}");
        }
    }

    #[test]
    fn privileges_matter_if_they_exceed_those_of_the_caller() {
        let directory = Directory::new("rights");
        let program = altered(|_| {});
        let setuid = directory.write("setuid", &program, 0o4755);
        let setgid = directory.write("setgid", &program, 0o2755);
        let found = |path: &Path, caller| obstacle(path, caller).map(|(_, found)| found);
        let metadata = fs::metadata(&setuid).unwrap();
        let owner = Caller { uid: metadata.uid(), gid: metadata.gid(), ..NOBODY };
        let stranger = Caller { uid: owner.uid + 1, gid: owner.gid + 1, ..NOBODY };
        assert_eq!(found(&setuid, stranger), Some(Obstacle::Setuid));
        assert_eq!(found(&setgid, stranger), Some(Obstacle::Setgid));
        assert_eq!((found(&setuid, owner), found(&setgid, owner)), (None, None));
        let tied = Caller { no_new_privileges: true, ..stranger };
        assert_eq!((found(&setuid, tied), found(&setgid, tied)), (None, None));
    }
}
