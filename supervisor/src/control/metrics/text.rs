//! The OpenMetrics text format, version 1.0.

use std::fmt::{Display, Write};

/// A text of metrics, written family by family.
#[derive(Debug)]
pub(super) struct Text {
    out: String,
    /// The value of the label `instance_name`, which every sample has.
    instance: String,
    /// The family of the samples that follow.
    family: &'static str,
}

impl Text {
    /// An empty text for the instance `name`.
    pub(super) fn new(instance: &str) -> Self {
        Self { out: String::new(), instance: escaped(instance), family: "" }
    }

    /// Begins a family.
    fn begin(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        // Writing to a string can't fail.
        let _ = write!(self.out, "# TYPE {name} {kind}\n# HELP {name} {help}\n");
    }

    /// A family of counters.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) {
        self.begin(name, "counter", help);
    }

    /// A sample of a counter.
    pub(super) fn total(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample("_total", labels, value);
    }

    /// A family with one gauge.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.gauges(name, help);
        self.value(&[], value);
    }

    /// A family of gauges.
    pub(super) fn gauges(&mut self, name: &'static str, help: &str) {
        self.begin(name, "gauge", help);
    }

    /// A sample of [`Self::gauges`].
    pub(super) fn value(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample("", labels, value);
    }

    /// An `info` family: labels that do not change.
    pub(super) fn info(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)]) {
        self.begin(name, "info", help);
        self.sample("_info", labels, 1);
    }

    /// A histogram: for each bound the number of values between the bound before and this one, and the sum of all
    /// values. The last bound is infinite.
    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &str,
        buckets: impl Iterator<Item = (String, u64)>,
        sum: f64,
    ) {
        self.begin(name, "histogram", help);
        let mut count = 0_u64;
        for (bound, more) in buckets {
            count = count.saturating_add(more);
            self.sample("_bucket", &[("le", &bound)], count);
        }
        self.sample("_count", &[], count);
        self.sample("_sum", &[], format_args!("{sum:.6}"));
    }

    /// The finished text.
    pub(super) fn end(mut self) -> String {
        self.out.push_str("# EOF\n");
        self.out
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.out, "{}{suffix}{{instance_name=\"{}\"", self.family, self.instance);
        for (label, text) in labels {
            let _ = write!(self.out, ",{label}=\"{}\"", escaped(text));
        }
        let _ = writeln!(self.out, "}} {value}");
    }
}

/// Escapes a label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_the_format_says() {
        let mut text = Text::new("a\"b\\c\nd");
        text.counter("things", "How many.");
        text.total(&[("kind", "x")], 3);
        text.histogram("spread", "How long.", [("1".into(), 2), ("+Inf".into(), 1)].into_iter(), 1.5);
        let instance = r#"instance_name="a\"b\\c\nd""#;
        let lines = [
            "# TYPE things counter",
            "# HELP things How many.",
            &format!("things_total{{{instance},kind=\"x\"}} 3"),
            "# TYPE spread histogram",
            "# HELP spread How long.",
            &format!("spread_bucket{{{instance},le=\"1\"}} 2"),
            &format!("spread_bucket{{{instance},le=\"+Inf\"}} 3"),
            &format!("spread_count{{{instance}}} 3"),
            &format!("spread_sum{{{instance}}} 1.500000"),
            "# EOF",
        ];
        assert_eq!(text.end().lines().collect::<Vec<_>>(), lines);
    }
}
