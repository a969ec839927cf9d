//! Kubernetes quantities: `512Mi`, `1.5G`, `100m`, to numbers and back.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as KubernetesQuantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount as the user wrote it. It may be unreadable until [`Quantity::parse`] was asked, because
/// validation, not decoding, tells the user what is wrong and where.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Quantity(pub String);

/// Why a text is no quantity.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)]
pub struct NotAQuantity;

/// A number in thousandths, the finest amount a quantity keeps.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Amount {
    thousandths: i128,
}

/// The largest amount a quantity can hold, as upstream caps it.
const LARGEST: i128 = i64::MAX as i128;

const BINARY: [(&str, u32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

impl Quantity {
    /// An amount of bytes, written with the largest binary suffix that divides it.
    pub fn from_bytes(bytes: u64) -> Self {
        let suffix = BINARY.iter().rev().find(|(_, shift)| {
            bytes != 0 && *shift < u64::BITS && bytes.trailing_zeros() >= *shift
        });
        match suffix {
            Some((suffix, shift)) => Self(format!("{}{suffix}", bytes >> shift)),
            None => Self(bytes.to_string()),
        }
    }

    /// An amount in thousandths, e.g. of processors: 1500 is `1500m`, 2000 is `2`.
    pub fn from_thousandths(thousandths: u64) -> Self {
        if thousandths.is_multiple_of(1000) {
            Self((thousandths / 1000).to_string())
        } else {
            Self(format!("{thousandths}m"))
        }
    }

    /// The number. Finer parts than a thousandth are rounded away from zero, as upstream does.
    ///
    /// # Errors
    /// [`NotAQuantity`] if the text cannot be read.
    pub fn parse(&self) -> Result<Amount, NotAQuantity> {
        parse(&self.0)
    }

    /// Whole units (bytes, for memory), rounded up; `None` if unreadable or negative.
    pub fn to_units(&self) -> Option<u64> {
        self.parse().ok()?.to_units()
    }

    /// Thousandths (millicores, for processors); `None` if unreadable or negative.
    pub fn to_thousandths(&self) -> Option<u64> {
        u64::try_from(self.parse().ok()?.thousandths).ok()
    }
}

impl Amount {
    /// A whole number of units.
    pub fn of_units(units: u64) -> Self {
        Self {
            thousandths: i128::from(units) * 1000,
        }
    }

    /// Whole units, rounded up; `None` if negative.
    pub fn to_units(self) -> Option<u64> {
        u64::try_from(self.thousandths)
            .ok()
            .map(|thousandths| thousandths.div_ceil(1000))
            .or_else(|| u64::try_from(self.thousandths.checked_add(999)?.checked_div(1000)?).ok())
    }

    /// Thousandths of a unit; may be negative.
    pub fn thousandths(self) -> i128 {
        self.thousandths
    }

    /// Below zero?
    pub fn is_negative(self) -> bool {
        self.thousandths < 0
    }

    /// Without a fraction?
    pub fn is_whole(self) -> bool {
        self.thousandths % 1000 == 0
    }
}

fn parse(text: &str) -> Result<Amount, NotAQuantity> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(NotAQuantity);
    }
    let magnitude = scaled(whole, fraction, suffix)?;
    let thousandths = magnitude.min(LARGEST * 1000);
    Ok(Amount {
        thousandths: if negative { -thousandths } else { thousandths },
    })
}

/// `whole.fraction` times the suffix' factor, in thousandths, rounded up.
fn scaled(whole: &str, fraction: &str, suffix: &str) -> Result<i128, NotAQuantity> {
    // 18 digits after the point are finer than any amount of bytes below 2^63 can show; what is cut
    // off counts as one more unit of the last place, which the rounding up below needs.
    let kept = &fraction[..fraction.len().min(18)];
    let cut = fraction[kept.len()..].bytes().any(|digit| digit != b'0');
    let digits = format!("{whole}{kept}");
    let digits = digits.trim_start_matches('0');
    if digits.len() > 36 {
        return Ok(LARGEST * 1000);
    }
    let mantissa: i128 = if digits.is_empty() {
        0
    } else {
        digits.parse().map_err(|_| NotAQuantity)?
    };
    let mantissa = mantissa + i128::from(cut);
    let places = i32::try_from(kept.len()).map_err(|_| NotAQuantity)?;
    if let Some((_, shift)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        let product = mantissa.saturating_mul(1_i128 << shift);
        return Ok(times_power_of_ten(product, 3 - places));
    }
    let exponent = match DECIMAL.iter().find(|(name, _)| *name == suffix) {
        Some((_, exponent)) => *exponent,
        None => decimal_exponent(suffix)?,
    };
    Ok(times_power_of_ten(mantissa, 3 - places + exponent))
}

/// The number behind `e` or `E`.
fn decimal_exponent(suffix: &str) -> Result<i32, NotAQuantity> {
    let digits = suffix.strip_prefix(['e', 'E']).ok_or(NotAQuantity)?;
    // More digits than this are no exponent of anything that could be meant.
    if digits.len() > 6 {
        return Err(NotAQuantity);
    }
    digits.parse().map_err(|_| NotAQuantity)
}

fn times_power_of_ten(value: i128, exponent: i32) -> i128 {
    if value == 0 {
        return 0;
    }
    let power = 10_i128.checked_pow(exponent.unsigned_abs());
    match (power, exponent < 0) {
        (Some(power), false) => value.saturating_mul(power),
        (None, false) => i128::MAX,
        (Some(power), true) => value / power + i128::from(value % power != 0),
        (None, true) => 1,
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<Quantity> for KubernetesQuantity {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.0)
    }
}

impl From<KubernetesQuantity> for Quantity {
    fn from(quantity: KubernetesQuantity) -> Self {
        Self(quantity.0)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// YAML's `cpu: 2` arrives as a number.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Whole(i64),
            Fraction(f64),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Whole(number) => number.to_string(),
            Written::Fraction(number) => number.to_string(),
        }))
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        const GI: i128 = 1 << 30;
        for (text, thousandths) in [
            ("1", 1000),
            ("100m", 100),
            ("1.5", 1500),
            ("0.5Gi", GI / 2 * 1000),
            ("1Ki", 1024 * 1000),
            ("1k", 1000 * 1000),
            ("2e3", 2000 * 1000),
            ("2E", 2_000_000_000_000_000_000_000),
            ("1E3", 1000 * 1000),
            (".5", 500),
            ("5.", 5000),
            ("-1", -1000),
            ("+1", 1000),
            ("0.1m", 1),
            ("1n", 1),
            ("0", 0),
        ] {
            assert_eq!(parse(text).unwrap().thousandths(), thousandths, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "Mi",
            "1Xi",
            "1 Mi",
            "1.2.3",
            ".",
            "-",
            "abc",
            "1e",
            "1e99999999",
            "1mi",
            "é",
        ] {
            assert_eq!(parse(text), Err(NotAQuantity), "{text}");
        }
    }

    #[test]
    fn huge_numbers_are_capped_not_wrapped() {
        let huge = "9".repeat(60);
        assert_eq!(parse(&huge).unwrap().thousandths(), LARGEST * 1000);
        assert_eq!(parse("1e999999").unwrap().thousandths(), LARGEST * 1000);
        assert_eq!(
            Quantity("1e999999".to_owned()).to_units(),
            Some(i64::MAX as u64)
        );
    }

    #[test]
    fn bytes_are_written_with_the_largest_suffix_that_divides_them() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1"),
            (1024, "1Ki"),
            (1 << 30, "1Gi"),
            (1536 << 20, "1536Mi"),
        ] {
            assert_eq!(Quantity::from_bytes(bytes).0, text);
        }
    }

    proptest! {
        #[test]
        fn bytes_survive_the_way_to_text_and_back(bytes in 0..=i64::MAX as u64) {
            prop_assert_eq!(Quantity::from_bytes(bytes).to_units(), Some(bytes));
        }

        #[test]
        fn thousandths_survive_the_way_to_text_and_back(thousandths in 0..=u64::from(u32::MAX)) {
            prop_assert_eq!(Quantity::from_thousandths(thousandths).to_thousandths(), Some(thousandths));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
