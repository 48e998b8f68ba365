//! Points in time: a date and time with an offset (RFC 3339), or seconds since 1970.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::value::{Datetime, Offset};

use crate::config::value::{HELP, quoted};

/// The last second that is accepted, the end of the year 9999. It keeps sums from overflowing.
const LAST: u64 = 253_402_300_799;

const EXAMPLE: &str = "2026-12-24T18:00:00Z";

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub SystemTime);

impl Moment {
    /// Converts seconds since 1970; `None` before that or after the year 9999.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        let since = Duration::try_from_secs_f64(seconds).ok().filter(|since| since.as_secs() <= LAST)?;
        Some(Self(UNIX_EPOCH + since))
    }

    /// Converts a date and time with an offset.
    fn from_datetime(datetime: &Datetime) -> Result<Self, &'static str> {
        let date = datetime.date.ok_or("a time without a date")?;
        let time = datetime.time.ok_or("a date without a time")?;
        let offset = match datetime.offset.ok_or("a date and time without an offset")? {
            Offset::Z => 0,
            Offset::Custom { minutes } => i64::from(minutes),
        };
        let days = days(date.year.into(), date.month.into(), date.day.into());
        let minutes = days * 1440 + i64::from(time.hour) * 60 + i64::from(time.minute) - offset;
        let seconds = u64::try_from(minutes * 60 + i64::from(time.second.unwrap_or(0)));
        let seconds =
            seconds.ok().filter(|seconds| *seconds <= LAST).ok_or("a time before 1970 or after 9999")?;
        Ok(Self(UNIX_EPOCH + Duration::new(seconds, time.nanosecond.unwrap_or(0).min(999_999_999))))
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 719_469
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MomentVisitor)
    }
}

struct MomentVisitor;

fn wrong<E: Error>(what: &str) -> E {
    E::custom(format!("{what} is not a point in time{HELP}write date, time and offset: {EXAMPLE}"))
}

impl<'de> Visitor<'de> for MomentVisitor {
    type Value = Moment;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a date and time such as {EXAMPLE}, or seconds since 1970")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
        let datetime = text.parse::<Datetime>().map_err(|_| wrong::<E>(&quoted(text)))?;
        Moment::from_datetime(&datetime).map_err(wrong)
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Moment, E> {
        let since = Some(seconds).filter(|seconds| *seconds <= LAST);
        since
            .map(|since| Moment(UNIX_EPOCH + Duration::from_secs(since)))
            .ok_or_else(|| wrong(&seconds.to_string()))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Moment, E> {
        u64::try_from(seconds)
            .map_or_else(|_| Err(wrong(&seconds.to_string())), |seconds| self.visit_u64(seconds))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Moment, E> {
        Moment::from_seconds(seconds).ok_or_else(|| wrong(&seconds.to_string()))
    }

    /// The `toml` crate passes its dates and times as maps.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Moment, A::Error> {
        let datetime = Datetime::deserialize(MapAccessDeserializer::new(map))?;
        Moment::from_datetime(&datetime).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Table {
        at: Moment,
    }

    fn seconds(value: &str) -> Result<f64, String> {
        let table = toml::from_str::<Table>(&format!("at = {value}")).map_err(|error| error.to_string())?;
        Ok(table.at.0.duration_since(UNIX_EPOCH).unwrap().as_secs_f64())
    }

    #[test]
    fn dates_and_numbers_are_points_in_time() {
        for (value, expected) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("1970-03-01T00:00:00Z", 59.0 * 86400.0),
            ("2000-02-29T12:00:00Z", 951_825_600.0),
            ("2026-11-30T06:00:00.5Z", 1_796_018_400.5),
            ("2026-11-30T07:00:00+01:00", 1_796_018_400.0),
            ("\"2026-11-29T22:00:00-08:00\"", 1_796_018_400.0),
            ("2100-03-01T00:00:00Z", 4_107_542_400.0),
            ("1796018400", 1_796_018_400.0),
            ("1796018400.25", 1_796_018_400.25),
            ("253402300799", 253_402_300_799.0),
        ] {
            assert_eq!(seconds(value), Ok(expected), "{value}");
        }
    }

    #[test]
    fn other_values_are_rejected() {
        for value in [
            "-1",
            "-0.5",
            "253402300800",
            "1e300",
            "inf",
            "nan",
            "1969-12-31T23:59:59Z",
            "18:00:00",
            "2026-12-24",
            "2026-12-24T18:00:00",
            "\"tomorrow\"",
            "true",
            "{ x = 1 }",
        ] {
            assert!(seconds(value).is_err(), "{value}");
        }
    }
}
