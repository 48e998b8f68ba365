//! Faults of our own: what can't be. A process in which it is all the same ends, with a line that says where.

use std::panic::{self, PanicHookInfo};
use std::process::abort;

use crate::log::Escaped;

/// From now on a panic, in whatever task or thread, has `say` write one line, and ends the process with SIGABRT.
/// Nothing of it is undone before: no task may go on without another one that it relies upon.
pub fn end_process(say: impl Fn(&str) + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |fault| {
        say(&line(fault));
        abort();
    }));
}

fn line(fault: &PanicHookInfo<'_>) -> String {
    let place = fault.location().map(ToString::to_string).unwrap_or_default();
    // What `panic!` passes, without values in its text and with them.
    let payload = fault.payload();
    let what =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    format!("internal error at {place}: {}", Escaped(what.unwrap_or("panic")))
}
