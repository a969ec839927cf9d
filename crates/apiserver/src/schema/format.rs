//! Formats of strings and numbers. Names that are not known here are only documentation, as upstream.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde_json::Number;

macro_rules! patterns {
    ($($name:ident = $source:expr;)*) => {
        $(static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($source).expect("a literal that the tests compile"));)*
    };
}

patterns! {
    DATE_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]{1,9})?([Zz]|[+-][0-9]{2}:?[0-9]{2})$";
    DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$";
    DURATION = r"^-?([0-9]+(\.[0-9]*)?\s*(ns|nano|nanos|nanosecond|nanoseconds|us|µs|μs|micro|micros|microsecond|microseconds|ms|milli|millis|millisecond|milliseconds|s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|hrs|hour|hours|d|day|days|w|wk|wks|week|weeks)\s*)+$";
    UUID = r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    HOSTNAME = r"^([a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$";
    EMAIL = r"^[^@\s<>]+@[^@\s<>]+$";
    MAC = r"^([0-9a-fA-F]{2}[:-]){5}([0-9a-fA-F]{2})$|^([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}$";
    URI = r"^[a-zA-Z][a-zA-Z0-9+.-]*:[^\s]+$|^/[^\s]*$";
    HEX_COLOR = r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
}

/// Whether a string has the named format.
pub(super) fn matches(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => {
            DATE_TIME.is_match(text) && text.replace(',', ".").parse::<jiff::Timestamp>().is_ok()
        }
        "date" => DATE.is_match(text) && text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => text == "0" || DURATION.is_match(text),
        "byte" => STANDARD.decode(text).is_ok(),
        "uuid" => UUID.is_match(text),
        "uuid3" => UUID.is_match(text) && uuid_version(text) == Some('3'),
        "uuid4" => UUID.is_match(text) && uuid_version(text) == Some('4'),
        "uuid5" => UUID.is_match(text) && uuid_version(text) == Some('5'),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => MAC.is_match(text),
        "hostname" => text.len() <= 255 && HOSTNAME.is_match(text),
        "email" => EMAIL.is_match(text),
        "uri" => URI.is_match(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "k8s-short-name" => text.len() <= 63 && LABEL.is_match(text),
        "k8s-long-name" => text.len() <= 253 && text.split('.').all(|part| LABEL.is_match(part)),
        _ => true,
    }
}

fn uuid_version(text: &str) -> Option<char> {
    text.chars().filter(|letter| *letter != '-').nth(12)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let Ok(length) = length.parse::<u8>() else {
        return false;
    };
    match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => length <= 32,
        Ok(std::net::IpAddr::V6(_)) => length <= 128,
        Err(_) => false,
    }
}

/// Whether a number fits the named format.
pub(super) fn in_range(format: &str, number: &Number) -> bool {
    let whole = number
        .as_i64()
        .map(i128::from)
        .or(number.as_u64().map(i128::from));
    let (low, high) = match format {
        "int32" => (i128::from(i32::MIN), i128::from(i32::MAX)),
        "int64" => (i128::from(i64::MIN), i128::from(i64::MAX)),
        "uint32" => (0, i128::from(u32::MAX)),
        "uint64" => (0, i128::from(u64::MAX)),
        _ => return true,
    };
    match whole {
        Some(whole) => (low..=high).contains(&whole),
        // A float: its type is judged elsewhere; here only its size.
        None => number
            .as_f64()
            .is_some_and(|float| float >= low as f64 && float <= high as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_strings_are_judged() {
        let cases: &[(&str, &str, bool)] = &[
            ("date-time", "2026-11-22T18:30:00Z", true),
            ("date-time", "2026-11-22T18:30:00.123456+01:00", true),
            ("date-time", "2026-13-22T18:30:00Z", false),
            ("date-time", "2026-11-22", false),
            ("date", "2026-02-28", true),
            ("date", "2026-02-30", false),
            ("duration", "1h30m", true),
            ("duration", "1.5h", true),
            ("duration", "2 days", true),
            ("duration", "0", true),
            ("duration", "soon", false),
            ("byte", "aGVsbG8=", true),
            ("byte", "hello!", false),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", true),
            ("uuid4", "123e4567-e89b-12d3-a456-426614174000", false),
            ("uuid4", "123e4567-e89b-42d3-a456-426614174000", true),
            ("ipv4", "10.0.0.1", true),
            ("ipv4", "10.0.0.256", false),
            ("ipv6", "::1", true),
            ("cidr", "10.0.0.0/8", true),
            ("cidr", "10.0.0.0/33", false),
            ("mac", "52:54:00:00:00:01", true),
            ("mac", "52:54", false),
            ("hostname", "a.example", true),
            ("hostname", "-a", false),
            ("email", "a@b", true),
            ("uri", "https://a.example/x", true),
            ("uri", "a b", false),
            ("hexcolor", "#fff", true),
            ("k8s-short-name", "a-b", true),
            ("k8s-short-name", "a.b", false),
            ("k8s-long-name", "a.b", true),
            ("something-else", "", true),
        ];
        for (format, text, good) in cases {
            assert_eq!(matches(format, text), *good, "{format}: {text}");
        }
    }

    #[test]
    fn formats_of_numbers_are_ranges() {
        let cases: &[(&str, Number, bool)] = &[
            ("int32", Number::from(i32::MAX), true),
            ("int32", Number::from(i64::from(i32::MAX) + 1), false),
            ("int64", Number::from(u64::MAX), false),
            ("uint32", Number::from(-1), false),
            ("uint64", Number::from(u64::MAX), true),
            ("double", Number::from(u64::MAX), true),
        ];
        for (format, number, good) in cases {
            assert_eq!(in_range(format, number), *good, "{format}: {number}");
        }
    }
}
