//! Faults of this program: states that can't occur. A process in which one occurs ends with a line that names the
//! place.

use std::panic::{self, PanicHookInfo};
use std::process::abort;

use crate::log::Escaped;

/// From now on a panic in any task or thread passes one line to `say` and ends the process with SIGABRT. Nothing is
/// unwound, so that no task goes on without another that it relies on.
pub fn end_process(say: impl Fn(&str) + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |fault| {
        say(&line(fault));
        abort();
    }));
}

fn line(fault: &PanicHookInfo<'_>) -> String {
    let place = fault.location().map(ToString::to_string).unwrap_or_default();
    // The payload of `panic!`, with and without arguments.
    let payload = fault.payload();
    let what =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    format!("internal error at {place}: {}", Escaped(what.unwrap_or("panic")))
}
