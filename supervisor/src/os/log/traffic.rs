//! `--traffic`: a mark on standard output for each piece of forwarded data, as in the original.

use std::sync::Arc;

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::Fields;
use super::lines::Lines;

/// Target of events with marks. The log itself ignores it.
pub(super) const TARGET: &str = "traffic";

const LEGEND: &str = "
Traffic Legend:
    }  - Client receive
    }. - Client receive partial
    {  - Target receive

    >  - Target send
    >. - Target send partial
    <  - Client send
    <. - Client send partial
";

/// Shows marks of a gateway. Only valid marks are shown, as the gateway may be compromised.
pub(super) fn show(marks: &str) {
    let mut text = String::with_capacity(marks.len());
    for mark in marks.chars() {
        match mark {
            '\n' => text.push_str(LEGEND),
            '{' | '}' | '<' | '>' | '.' => text.push(mark),
            _ => {}
        }
    }
    tracing::info!(target: TARGET, "{text}");
}

/// Writes marks.
pub(super) struct Marks(pub(super) Arc<Lines>);

impl<S: Subscriber> Layer<S> for Marks {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.push(&fields.message);
    }
}
