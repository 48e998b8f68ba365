//! `websockify-generator`: tells systemd where the sockets of each instance listen (systemd.generator(7)).
//!
//! For each `NAME.toml` in the configuration directory it writes a drop-in of `websockify@NAME.socket` with
//! `ListenStream=`. It runs at boot and at each `systemctl daemon-reload` or `enable`. Most of the system is
//! not available then, and waits for it, so the generator only reads a few small files.
//!
//! A file that can't be used gets no drop-in. Its socket unit runs `websockify-generator --check NAME` before
//! it listens, and fails with the reason, where an administrator will look for it.
#![forbid(unsafe_code)]

mod dropin;
mod source;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::exit_code;
use dropin::Dropin;
use source::Source;

/// Maximum run time in seconds, after which SIGALRM ends the process. Even a slow disk needs a hundredth of
/// that.
const DEADLINE_SECONDS: u32 = 5;

/// Maximum number of instances: a directory that was filled by mistake must not delay the boot.
const MAX_INSTANCES: usize = 4096;

fn main() -> ExitCode {
    nix::unistd::alarm::set(DEADLINE_SECONDS);
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let args: Vec<_> = args.collect();
    match args.as_slice() {
        [option, file] if option == "--check" => match check(Path::new(file)) {
            Ok(()) => exit_code::SUCCESS.into(),
            Err(problem) => {
                complain(&problem);
                exit_code::CONFIG.into()
            }
        },
        // systemd passes three directories of different priority. The first has the normal one.
        [normal] | [normal, _, _] if !normal.as_encoded_bytes().starts_with(b"-") => {
            match configurations(&program) {
                Some(directory) => generate(&directory, Path::new(normal)).into(),
                None => exit_code::SUCCESS.into(),
            }
        }
        _ => {
            complain("usage: websockify-generator DIRECTORY, or websockify-generator --check FILE");
            exit_code::USAGE.into()
        }
    }
}

/// The configuration directory: that of the user if the user's manager runs the generator.
fn configurations(program: &OsStr) -> Option<PathBuf> {
    let mine = Path::new(program).parent().is_some_and(|directory| directory.ends_with("user-generators"));
    if !mine {
        return Some(PathBuf::from("/etc/websockify"));
    }
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))?;
    Some(directory.join("websockify"))
}

/// Writes the drop-ins for all files in `directory` below `output`.
fn generate(directory: &Path, output: &Path) -> u8 {
    let Ok(entries) = fs::read_dir(directory) else { return exit_code::SUCCESS };
    let mut code = exit_code::SUCCESS;
    for entry in entries.flatten().take(MAX_INSTANCES) {
        let path = entry.path();
        let Some(source) = Source::new(&path) else { continue };
        // The socket unit of the instance reports the reason.
        let Ok(dropin) = source.read().and_then(|keys| Dropin::new(&source, &keys)) else { continue };
        if let Err(error) = dropin.write(output) {
            complain(&format!(
                "cannot write the drop-ins of {} to {}: {error}",
                source.unit(),
                output.display()
            ));
            code = exit_code::FAILURE;
        }
    }
    code
}

/// Returns the reason why a file gets no drop-in.
fn check(path: &Path) -> Result<(), String> {
    let source = Source::new(path).ok_or_else(|| {
        format!(
            "error: {}: an instance's file is called NAME.toml, with letters, digits, '_', '-', '.' and ':'",
            path.display()
        )
    })?;
    let keys = source.read()?;
    Dropin::new(&source, &keys).map(drop)
}

/// Prints a message. Errors are ignored, as there is no other place to report them.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}
