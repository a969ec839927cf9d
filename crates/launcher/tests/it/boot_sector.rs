//! The smallest guest: 512 bytes that the firmware loads from a disk and starts.

/// What is written first on the serial line.
pub(crate) const GREETING: &str = "anyvirt test guest\r\n";
/// What such a boot writes.
const NO_TICKS: &str = "[    0.044000] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug\r\n";
/// A place of the clock's memory that nobody uses, and that a reset leaves alone.
const COUNTED_AT: u8 = 0x60;
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
    /// As `Polite`, after so many boots that end as Linux' does when its timer does not tick.
    Tickless(u8),
}

/// The boot sector of such a guest.
pub(crate) fn boot_sector(manner: Manner) -> Vec<u8> {
    // The firmware jumps to 0:7c00, with nothing else set up.
    let set_up = [0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x7c]; // ds = ss = 0; sp = 7c00
    let mut code = code(manner, &set_up, 0x7c00);
    assert!(code.len() <= 510, "it fits");
    code.resize(510, 0);
    code.extend([0x55, 0xaa]);
    code
}

/// Such a guest as a kernel of Linux' boot protocol, whose code for the real mode is all there is.
pub(crate) fn kernel(manner: Manner) -> Vec<u8> {
    let mut kernel = vec![0; 512];
    kernel[0x1f1] = 1; // one sector of code
    kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    // The code's first bytes jump over the rest of the header.
    let entry = 0x268;
    let jump = u8::try_from(entry - 0x202).expect("near");
    kernel.extend([0xeb, jump]);
    kernel.extend(b"HdrS");
    kernel.extend([0x0a, 0x02]); // version 2.10
    kernel.resize(entry, 0);
    kernel[0x211] = 1; // loaded high
    kernel[0x22c..0x230].copy_from_slice(&0x37ff_ffff_u32.to_le_bytes()); // highest initrd
    kernel[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes()); // longest arguments
    // Entered with all segments set to where the file's first byte is.
    kernel.extend(code(manner, &[], u16::try_from(entry).expect("near")));
    assert!(kernel.len() <= 1024, "it fits");
    kernel.resize(4096, 0);
    kernel
}

/// `set_up` comes first; `at` is where the code will be, seen from its data segment.
fn code(manner: Manner, set_up: &[u8], at: u16) -> Vec<u8> {
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
    code.put(set_up);
    code.put(&[0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef]); // PM1 enable: the power button
    let mut no_ticks_at = None;
    if let Manner::Tickless(boots) = manner {
        code.put(&[0xb0, COUNTED_AT, 0xe6, 0x70, 0xe4, 0x71]); // mov al, place; out 70, al; in al, 71
        code.put(&[0x3c, boots, 0x73, 9]); // cmp al, boots; jae over the next four
        code.put(&[0xfe, 0xc0, 0xe6, 0x71]); // inc al; out 71, al
        no_ticks_at = Some(code.here() + 1);
        code.put(&[0xbe, 0, 0, 0xeb, 3]); // mov si, the other message; jmp over the next one
    }
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
        Manner::Polite | Manner::Deaf | Manner::Tickless(_) => {
            let look = code.here();
            if !matches!(manner, Manner::Deaf) {
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
    code.message(GREETING, message_at, at);
    if let Some(no_ticks_at) = no_ticks_at {
        code.message(NO_TICKS, no_ticks_at, at);
    }
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

    /// A text, whose address stands in the code `read_at` there.
    fn message(&mut self, text: &str, read_at: usize, code_at: u16) {
        let message = u16::try_from(usize::from(code_at) + self.here()).expect("near");
        self.bytes[read_at..read_at + 2].copy_from_slice(&message.to_le_bytes());
        self.put(text.as_bytes());
        self.put(&[0]);
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
