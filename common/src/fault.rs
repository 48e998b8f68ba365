//! Faults of this program: states that can't occur. A fault ends its process with a log line that names the
//! location.

use std::panic::{self, PanicHookInfo};
use std::process::abort;

use crate::log::Escaped;

/// Installs a panic hook: a panic in any task or thread passes one line to `say` and ends the process with
/// SIGABRT. Nothing is unwound, so that no task continues without another that it depends on.
pub fn end_process(say: impl Fn(&str) + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |fault| {
        say(&line(fault));
        abort();
    }));
}

fn line(fault: &PanicHookInfo<'_>) -> String {
    let place = fault.location().map(ToString::to_string).unwrap_or_default();
    // The payload of `panic!`, without and with arguments.
    let payload = fault.payload();
    let what =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    format!("internal error at {place}: {}", Escaped(what.unwrap_or("panic")))
}
