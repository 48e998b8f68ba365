//! Log lines as JSON, one object on each line, with the fields that the journal has.

use std::fmt::Debug;
use std::sync::Arc;

use chrono::{SecondsFormat, Utc};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::lines::Lines;

/// A layer that writes events as JSON.
pub(super) struct Json {
    pub(super) streams: Vec<Arc<Lines>>,
    /// Name of the instance, which is a field of each line.
    pub(super) instance: String,
}

impl<S: Subscriber> Layer<S> for Json {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = Line {
            level: level(*event.metadata().level()),
            message: &fields.message,
            instance: &self.instance,
            fields: &fields.others,
        };
        let text = line.text();
        for lines in &self.streams {
            lines.push(&text);
        }
    }
}

/// The line that says how many lines were dropped.
pub(super) fn dropped(count: u64) -> String {
    let message = format!("{count} log lines were dropped");
    Line { level: level(Level::WARN), message: &message, instance: "", fields: &[] }.text()
}

/// Names of levels, as most collectors of logs expect them.
fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        _ => "debug",
    }
}

struct Line<'a> {
    level: &'static str,
    message: &'a str,
    /// Empty for lines that concern the log itself.
    instance: &'a str,
    fields: &'a [(&'static str, Value)],
}

impl Line<'_> {
    /// The text, with its newline.
    fn text(&self) -> String {
        // Maps with string keys can always be written to memory.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true))?;
        map.serialize_entry("level", self.level)?;
        map.serialize_entry("message", self.message)?;
        if !self.instance.is_empty() {
            map.serialize_entry("websockify_instance", self.instance)?;
        }
        for (name, value) in self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push((field.name(), value.into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => self.others.push((name, text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_object_whatever_the_message() {
        let line = Line {
            level: "info",
            message: "a \"b\"\n\u{1b}[31m",
            instance: "vnc",
            fields: &[("websockify_bytes_in", 7.into()), ("websockify_user", "al\\ice".into())],
        };
        let text = line.text();
        assert_eq!(text.matches('\n').count(), 1);
        let object: Value = text.parse().unwrap();
        assert_eq!(object["message"], "a \"b\"\n\u{1b}[31m");
        assert_eq!(
            (&object["websockify_bytes_in"], &object["websockify_user"]),
            (&7.into(), &"al\\ice".into())
        );
        assert!(text.starts_with("{\"time\":\"20") && text.contains("Z\",\"level\":\"info\","), "{text}");
    }
}
