//! Reads protobuf's wire format: tags, varints, fixed numbers and length-delimited bytes. Borrows everything, trusts nothing.

/// One field as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Walks over the fields of one message, in the order in which they were written.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The next field's number and payload, or nothing at the end of the message.
    pub(super) fn next_field(&mut self) -> Result<Option<(u32, Payload<'a>)>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|number| (1..=0x1fff_ffff).contains(number))
            .ok_or_else(|| format!("field number {} is out of range", tag >> 3))?;
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| truncated())?;
                Payload::Bytes(self.take(length)?)
            }
            5 => Payload::Fixed32(u32::from_le_bytes(self.array()?)),
            other => {
                return Err(format!(
                    "wire type {other} of field {number} is not supported"
                ));
            }
        };
        Ok(Some((number, payload)))
    }

    /// One varint: at most ten bytes, least significant group first.
    pub(super) fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                break;
            }
            value |= group << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a varint does not fit in 64 bits".to_owned())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], String> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(truncated)?;
        self.rest = rest;
        Ok(head)
    }
}

fn truncated() -> String {
    "the message ends in the middle of a field".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wire_type_is_read() {
        let bytes = [
            0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 0, 0, 0, 0x21, 2, 0, 0, 0, 0, 0, 0,
            0,
        ];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.next_field(), Ok(Some((1, Payload::Varint(150)))));
        assert_eq!(reader.next_field(), Ok(Some((2, Payload::Bytes(b"hi")))));
        assert_eq!(reader.next_field(), Ok(Some((3, Payload::Fixed32(1)))));
        assert_eq!(reader.next_field(), Ok(Some((4, Payload::Fixed64(2)))));
        assert_eq!(reader.next_field(), Ok(None));
    }

    #[test]
    fn a_negative_number_takes_ten_bytes() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Reader::new(&bytes).varint(), Ok(u64::MAX));
    }

    #[test]
    fn broken_input_is_refused_with_its_reason() {
        for (bytes, part) in [
            (&[0x08_u8][..], "ends in the middle"),
            (&[0x12, 0x05, b'h'], "ends in the middle"),
            (&[0x0b], "wire type 3"),
            (&[0x00], "field number 0"),
            (
                &[
                    0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
                ],
                "64 bits",
            ),
        ] {
            let error = Reader::new(bytes)
                .next_field()
                .expect_err("must be refused");
            assert!(error.contains(part), "{bytes:?}: {error}");
        }
    }
}
