//! A fault in any thread ends the process at once, with one line.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;

use common::fault;

const SIGABRT: i32 = 6;

#[test]
fn a_fault_in_any_thread_ends_the_process_with_one_line() -> std::io::Result<()> {
    let this = std::env::current_exe()?;
    let ended = Command::new(this).args(["--exact", "fault", "--ignored", "--nocapture"]).output()?;
    assert_eq!(ended.status.signal(), Some(SIGABRT), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr);
    let lines: Vec<_> = said.lines().filter(|line| line.contains("fault.rs")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].starts_with("internal error at ") && lines[0].ends_with(": two\\nlines"), "{said}");
    Ok(())
}

#[test]
#[ignore = "ends its process; the other one runs it"]
fn fault() {
    fault::end_process(|line| eprintln!("{line}"));
    let ended = thread::spawn(|| panic!("two\nlines")).join();
    eprintln!("fault.rs: went on: {ended:?}");
}
