//! Durations in the configuration file: a whole number and a unit, such as `30s`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::option::OptionError;
use super::value::{self, Rejected, Value, quoted};

/// Longest accepted duration. A longer one is certainly a mistake, and the limit keeps sums from overflowing.
pub const MAX: Duration = Duration::from_secs(366 * DAY);

const DAY: u64 = 24 * 60 * 60;

/// Milliseconds in each unit, largest first.
const UNITS: [(&str, u64); 5] = [("d", DAY * 1000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The reason why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DurationError {
    /// The number has no unit.
    #[error("no unit")]
    NoUnit,
    /// The text has another form.
    #[error("not a whole number and a unit")]
    Syntax,
    /// The duration is zero.
    #[error("zero")]
    Zero,
    /// The duration exceeds [`MAX`].
    #[error("longer than a year")]
    TooLong,
}

/// Parses `250ms`, `30s`, `5m`, `2h` or `1d`. A space before the unit is allowed.
///
/// # Errors
///
/// If the text is anything else, or the duration is zero or longer than a year.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    if number.is_empty() {
        return Err(DurationError::Syntax);
    }
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(DurationError::NoUnit);
    }
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(DurationError::Syntax)?;
    let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
    let duration = Duration::from_millis(number.checked_mul(*scale).ok_or(DurationError::TooLong)?);
    if duration.is_zero() {
        Err(DurationError::Zero)
    } else if duration > MAX {
        Err(DurationError::TooLong)
    } else {
        Ok(duration)
    }
}

/// Formats a duration in the largest unit of which it is a whole multiple. Fractions of a millisecond, which
/// no configuration can contain, are dropped.
pub(super) fn format(duration: Duration) -> String {
    let millis = duration.as_millis();
    let whole = UNITS.iter().find(|(_, scale)| millis > 0 && millis % u128::from(*scale) == 0);
    let (unit, scale) = whole.unwrap_or(&("ms", 1));
    format!("{}{unit}", millis / u128::from(*scale))
}

/// Parses the value of an option: an interval in whole seconds, where 0 means none.
pub(super) fn seconds(text: &str) -> Result<Duration, OptionError> {
    let seconds = integer(text).ok_or_else(|| {
        let text = format!("invalid integer value: '{}'", text.escape_debug());
        OptionError::new(text, "give whole seconds, or 0 for none")
    })?;
    let interval = u64::try_from(seconds).ok().map(Duration::from_secs);
    interval.filter(|interval| *interval <= MAX).ok_or_else(|| {
        let help = "give whole seconds up to a year, or 0 for none";
        OptionError::new(format!("{seconds} seconds can't be an interval"), help)
    })
}

/// Parses an integer as optparse does: decimal, hexadecimal with `0x`, binary with `0b`, or octal with a
/// leading zero.
fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = if let Some(digits) = lower.strip_prefix("0x") {
        (digits, 16)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (digits, 2)
    } else {
        (text, if text.starts_with('0') { 8 } else { 10 })
    };
    i64::from_str_radix(digits, radix).ok()
}

impl Value for Duration {
    const EXPECTED: &'static str = "a duration such as \"30s\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        parse(text).map_err(|error| {
            let help = if error == DurationError::NoUnit {
                format!("add a unit (ms, s, m, h, d): \"{}s\"", text.trim())
            } else {
                "write a number above zero and a unit: \"250ms\", \"30s\", \"5m\", \"2h\"".to_owned()
            };
            Rejected::new(format!("{} is not a duration: {error}", quoted(text)), help)
        })
    }

    fn help_for_number(number: &str) -> String {
        format!("write a unit (ms, s, m, h, d) and quotes: \"{number}s\"")
    }
}

/// A duration, or `"off"`.
impl Value for Option<Duration> {
    const EXPECTED: &'static str = "a duration such as \"30s\", or \"off\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        if text == "off" {
            return Ok(None);
        }
        Duration::from_text(text)
            .map(Some)
            .map_err(|error| Rejected { help: error.help + ", or \"off\"", ..error })
    }

    fn help_for_number(number: &str) -> String {
        if number == "0" { "write \"off\"".to_owned() } else { Duration::help_for_number(number) }
    }
}

/// Serialises durations as text in human-readable formats, and as they are in binary messages. For
/// `#[serde(with = "WithUnit")]`.
pub(super) struct WithUnit;

impl WithUnit {
    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&format(*value))
        } else {
            value.serialize(serializer)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        if deserializer.is_human_readable() {
            value::read(deserializer)
        } else {
            Duration::deserialize(deserializer)
        }
    }
}

/// As [`WithUnit`], for durations that may be `"off"`.
pub(super) struct WithUnitOrOff;

impl WithUnitOrOff {
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&value.map_or("off".to_owned(), format))
        } else {
            value.serialize(serializer)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        if deserializer.is_human_readable() {
            value::read(deserializer)
        } else {
            Option::deserialize(deserializer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatted_durations_parse_to_the_same_value() {
        for text in ["1ms", "250ms", "1500ms", "30s", "90s", "5m", "61m", "2h", "1d"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(parse("120 s"), Ok(Duration::from_secs(120)));
        assert_eq!(format(Duration::from_secs(120)), "2m");
    }

    #[test]
    fn other_texts_are_rejected() {
        use DurationError::{NoUnit, Syntax, TooLong, Zero};
        let wrong = [
            ("30", NoUnit),
            ("", Syntax),
            ("s", Syntax),
            ("-1s", Syntax),
            ("1.5s", Syntax),
            ("5min", Syntax),
            ("1h30m", Syntax),
            ("0s", Zero),
            ("367d", TooLong),
            ("99999999999999999999999d", TooLong),
            ("18446744073709551615d", TooLong),
        ];
        for (text, error) in wrong {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }
}
