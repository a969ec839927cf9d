//! The smallest guest: 512 bytes that the firmware loads from a disk and starts.

/// What is written first on the serial line.
pub(crate) const GREETING: &str = "anyvirt test guest\r\n";
/// What is written when the power button was pressed.
const PRESSED: u8 = b'!';

/// What a guest does after its greeting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// Writes back what it reads from the serial line, and shuts down when the power button is
    /// pressed.
    Polite,
    /// As `Polite`, but the power button does nothing.
    Deaf,
    /// Shuts down at once.
    Brief,
    /// Writes without end, and reads nothing.
    Flood,
}

/// The boot sector of such a guest.
pub(crate) fn boot_sector(manner: Manner) -> Vec<u8> {
    let mut code = Code::default();
    code.put(&[0xeb, 0]); // jmp start
    let write = code.here();
    code.put(&[0x88, 0xc4]); // mov ah, al
    code.put(&[0xba, 0xfd, 0x03]); // mov dx, line status
    let busy = code.here();
    code.put(&[0xec, 0xa8, 0x20]); // in al, dx; test al, can write
    code.short(0x74, busy); // jz busy
    code.put(&[0x88, 0xe0, 0xba, 0xf8, 0x03, 0xee, 0xc3]); // mov al, ah; mov dx, data; out; ret
    let off = code.here();
    code.put(&[0xb0, PRESSED]); // mov al, '!'
    code.call(write);
    code.put(&[0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef]); // mov dx, PM1 control; mov ax, S5; out
    let end = code.here();
    code.put(&[0xf4]); // hlt
    code.short(0xeb, end);

    code.bytes[1] = u8::try_from(code.here() - 2).expect("near");
    code.put(&[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x7c]); // ds = ss = 0; sp = 7c00
    code.put(&[0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef]); // PM1 enable: the power button
    let message_at = code.here() + 1;
    code.put(&[0xbe, 0, 0]); // mov si, message
    let next = code.here();
    code.put(&[0xac, 0x84, 0xc0, 0x74, 0x05]); // lodsb; test al, al; jz over the next two
    code.call(write);
    code.short(0xeb, next);
    match manner {
        Manner::Brief => code.near(off),
        Manner::Flood => {
            let again = code.here();
            code.put(&[0xb0, b'y']); // mov al, 'y'
            code.call(write);
            code.short(0xeb, again);
        }
        Manner::Polite | Manner::Deaf => {
            let look = code.here();
            if matches!(manner, Manner::Polite) {
                code.put(&[0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01]); // PM1 status: pressed?
                code.short(0x75, off); // jnz off
            }
            code.put(&[0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01]); // line status: can read?
            code.short(0x74, look);
            code.put(&[0xba, 0xf8, 0x03, 0xec]); // in al, data
            code.call(write);
            code.short(0xeb, look);
        }
    }
    let message = u16::try_from(0x7c00 + code.here())
        .expect("near")
        .to_le_bytes();
    code.bytes[message_at..message_at + 2].copy_from_slice(&message);
    code.put(GREETING.as_bytes());
    code.put(&[0]);
    assert!(code.here() <= 510, "it fits");
    code.bytes.resize(510, 0);
    code.put(&[0x55, 0xaa]);
    code.bytes
}

#[derive(Default)]
struct Code {
    bytes: Vec<u8>,
}

impl Code {
    fn here(&self) -> usize {
        self.bytes.len()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A short jump back.
    fn short(&mut self, instruction: u8, target: usize) {
        let distance = i8::try_from(target as i64 - (self.here() as i64 + 2)).expect("near");
        self.put(&[instruction, distance.cast_unsigned()]);
    }

    fn call(&mut self, target: usize) {
        self.far(0xe8, target);
    }

    fn near(&mut self, target: usize) {
        self.far(0xe9, target);
    }

    fn far(&mut self, instruction: u8, target: usize) {
        let distance = i16::try_from(target as i64 - (self.here() as i64 + 3)).expect("near");
        self.put(&[instruction]);
        self.put(&distance.to_le_bytes());
    }
}
