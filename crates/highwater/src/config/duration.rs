//! Durations as operators write them: a whole number and a unit, `500ms`, `10s`, `2m`, `1h`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// Reads a duration; never zero, because every duration in the settings is a bound, and a bound of zero forbids.
///
/// # Errors
/// What is wrong, as the rest of a sentence.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("'{text}' is not a duration; write a whole number and a unit, like 500ms, 10s or 2m");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    match number.checked_mul(unit_ms) {
        Some(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(format!("'{text}' is out of range; it must be more than zero")),
    }
}

/// For `#[serde(deserialize_with)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// The same, for a limit that there need not be: `0s` is none.
pub fn deserialize_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "0s" => Ok(Duration::ZERO),
        text => parse(text).map_err(de::Error::custom),
    }
}

/// The same, for a key that may be left out.
pub fn deserialize_some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_unit_make_a_duration() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "5 s",
            "5sec",
            "0s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
