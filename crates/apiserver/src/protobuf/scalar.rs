//! The small types of Kubernetes' protobuf whose JSON is not an object: times, quantities, numbers, raw JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Number, Value};

use super::wire::{Payload, Reader};

/// UTF-8 text.
pub(super) fn text(bytes: &[u8]) -> Result<String, String> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|error| format!("is not UTF-8: {error}"))
}

/// Standard base64, as Go's JSON writes a byte slice.
pub(super) fn base64(bytes: &[u8]) -> Value {
    Value::String(STANDARD.encode(bytes))
}

/// A double. Go writes whole ones without a fraction.
pub(super) fn double(bits: u64) -> Result<Value, String> {
    let value = f64::from_bits(bits);
    // Up to 2^53 a double holds every whole number exactly, so nothing is lost on the way to an integer.
    if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and within the range, checked above"
        )]
        return Ok(Value::from(value as i64));
    }
    Number::from_f64(value)
        .map(Value::Number)
        .ok_or_else(|| format!("{value} is not a JSON number"))
}

/// `Time`: RFC 3339 in whole seconds. An empty message is Go's zero time, which is JSON's null.
pub(super) fn time(bytes: &[u8]) -> Result<Value, String> {
    let Some((seconds, _)) = seconds_and_nanoseconds(bytes)? else {
        return Ok(Value::Null);
    };
    let moment = Timestamp::from_second(seconds).map_err(|_| out_of_range(seconds))?;
    Ok(Value::String(
        moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    ))
}

/// `MicroTime`: RFC 3339 with exactly six decimals.
pub(super) fn micro_time(bytes: &[u8]) -> Result<Value, String> {
    let Some((seconds, nanoseconds)) = seconds_and_nanoseconds(bytes)? else {
        return Ok(Value::Null);
    };
    let nanoseconds = i32::try_from(nanoseconds).map_err(|_| out_of_range(nanoseconds))?;
    let moment = Timestamp::new(seconds, nanoseconds).map_err(|_| out_of_range(seconds))?;
    Ok(Value::String(
        moment.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
    ))
}

fn out_of_range(number: i64) -> String {
    format!("{number} is not within the years 1 to 9999")
}

fn seconds_and_nanoseconds(bytes: &[u8]) -> Result<Option<(i64, i64)>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanoseconds) = (0, 0);
    let mut fields = Reader::new(bytes);
    while let Some((number, payload)) = fields.next_field()? {
        match (number, payload) {
            (1, Payload::Varint(value)) => seconds = value.cast_signed(),
            (2, Payload::Varint(value)) => nanoseconds = value.cast_signed(),
            _ => {}
        }
    }
    Ok(Some((seconds, nanoseconds)))
}

/// `Quantity`: its canonical text. A message without it is zero.
pub(super) fn quantity(bytes: &[u8]) -> Result<Value, String> {
    let mut value = "0".to_owned();
    let mut fields = Reader::new(bytes);
    while let Some((number, payload)) = fields.next_field()? {
        if let (1, Payload::Bytes(bytes)) = (number, payload) {
            value = text(bytes)?;
        }
    }
    Ok(Value::String(value))
}

/// `IntOrString`: a number or a text, whichever its `type` says.
pub(super) fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut integer, mut string) = (false, 0_i64, String::new());
    let mut fields = Reader::new(bytes);
    while let Some((number, payload)) = fields.next_field()? {
        match (number, payload) {
            (1, Payload::Varint(kind)) => is_text = kind == 1,
            (2, Payload::Varint(value)) => integer = value.cast_signed(),
            (3, Payload::Bytes(bytes)) => string = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text {
        Value::String(string)
    } else {
        Value::from(integer)
    })
}

/// `FieldsV1`, `RawExtension`, `JSON`: one bytes field with JSON inside. Nothing inside is null.
pub(super) fn raw_json(bytes: &[u8]) -> Result<Value, String> {
    let mut raw: &[u8] = &[];
    let mut fields = Reader::new(bytes);
    while let Some((number, payload)) = fields.next_field()? {
        if let (1, Payload::Bytes(bytes)) = (number, payload) {
            raw = bytes;
        }
    }
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(raw).map_err(|error| format!("does not hold JSON: {error}"))
}

/// `Verbs`, `ExtraValue`: a message around a list of texts, in JSON only the list.
pub(super) fn text_list(bytes: &[u8]) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    let mut fields = Reader::new(bytes);
    while let Some((number, payload)) = fields.next_field()? {
        if let (1, Payload::Bytes(bytes)) = (number, payload) {
            values.push(Value::String(text(bytes)?));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_written_as_go_writes_them() {
        let moment = [0x08, 0x80, 0xab, 0xcc, 0xbf, 0x06, 0x10, 0xe8, 0x07];
        assert_eq!(time(&moment), Ok(json!("2025-04-07T00:00:00Z")));
        assert_eq!(
            micro_time(&moment),
            Ok(json!("2025-04-07T00:00:00.000001Z"))
        );
        assert_eq!(time(&[]), Ok(Value::Null));
        let far = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(time(&far).is_err());
        assert!(micro_time(&far).is_err());
    }

    #[test]
    fn whole_doubles_have_no_fraction() {
        assert_eq!(double(1.0_f64.to_bits()), Ok(json!(1)));
        assert_eq!(double(0.5_f64.to_bits()), Ok(json!(0.5)));
        assert!(double(f64::NAN.to_bits()).is_err());
    }

    #[test]
    fn int_or_string_follows_its_type() {
        assert_eq!(
            int_or_string(&[0x08, 0, 0x10, 0x50, 0x1a, 0]),
            Ok(json!(80))
        );
        assert_eq!(
            int_or_string(&[0x08, 1, 0x10, 0, 0x1a, 2, b'a', b'b']),
            Ok(json!("ab"))
        );
    }

    #[test]
    fn raw_json_is_parsed() {
        assert_eq!(raw_json(&[0x0a, 2, b'{', b'}']), Ok(json!({})));
        assert_eq!(raw_json(&[]), Ok(Value::Null));
        assert!(raw_json(&[0x0a, 1, b'{']).is_err());
    }
}
