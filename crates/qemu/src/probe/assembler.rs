//! A small assembler for x86: just what the probe's guest needs, as bytes, with labels.
//!
//! One method for each form of instruction. The forms with 32 bit operands are encoded alike in 32
//! and in 64 bit mode, where they clear the upper half of their register; the guest's few
//! instructions in 16 bit mode come as bytes ([`Assembler::bytes`]) with their meaning beside them.

/// A place in the code, named before or after it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// The registers that the guest uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Register {
    A = 0,
    C = 1,
    D = 2,
    B = 3,
    Sp = 4,
    Di = 7,
}

impl Register {
    fn number(self) -> u8 {
        self as u8
    }
}

/// When to jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// No carry.
    NotCarry = 3,
    /// Equal, zero.
    Zero = 4,
    /// Not equal, not zero.
    NotZero = 5,
    /// The highest bit is set.
    Negative = 8,
}

/// What the arithmetic unit does with two 32 bit operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Add = 0,
    Or = 1,
    And = 4,
    Subtract = 5,
    Xor = 6,
    Compare = 7,
}

/// How a label's address is written at a place.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// From the end of the field, four bytes.
    Relative,
    /// The offset within the code, two bytes.
    Offset,
    /// The linear address, four bytes.
    Linear,
}

/// Code under construction, which will stand at the linear address `origin`.
#[derive(Debug)]
pub(super) struct Assembler {
    origin: u32,
    code: Vec<u8>,
    labels: Vec<Option<usize>>,
    references: Vec<(usize, Label, Form)>,
}

impl Assembler {
    pub(super) fn new(origin: u32) -> Self {
        Self {
            origin,
            code: Vec::new(),
            labels: Vec::new(),
            references: Vec::new(),
        }
    }

    /// A label to be placed later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label stands here.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    /// A label that stands here.
    pub(super) fn here(&mut self) -> Label {
        let label = self.label();
        self.place(label);
        label
    }

    /// Instructions or data as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    pub(super) fn double(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn reference(&mut self, label: Label, form: Form) {
        self.references.push((self.code.len(), label, form));
        let room = match form {
            Form::Offset => 2,
            Form::Relative | Form::Linear => 4,
        };
        self.code.resize(self.code.len() + room, 0);
    }

    /// The label's offset as two bytes of data, for 16 bit code whose segment starts at the origin.
    pub(super) fn offset_of(&mut self, label: Label) {
        self.reference(label, Form::Offset);
    }

    /// The label's linear address as four bytes of data.
    pub(super) fn address_of(&mut self, label: Label) {
        self.reference(label, Form::Linear);
    }

    /// `mov register, value`.
    pub(super) fn set(&mut self, register: Register, value: u32) {
        self.bytes(&[0xb8 + register.number()]);
        self.double(value);
    }

    /// `mov register, label`.
    pub(super) fn set_address(&mut self, register: Register, label: Label) {
        self.bytes(&[0xb8 + register.number()]);
        self.address_of(label);
    }

    /// `mov to, from`, 32 bits.
    pub(super) fn copy(&mut self, to: Register, from: Register) {
        self.bytes(&[0x89, 0xc0 | from.number() << 3 | to.number()]);
    }

    /// `mov to, [base + offset]`, 32 bits. Not with the stack pointer.
    pub(super) fn load(&mut self, to: Register, base: Register, offset: u32) {
        self.bytes(&[0x8b]);
        self.memory(to.number(), base, offset);
    }

    /// `mov [base + offset], from`, 32 bits.
    pub(super) fn store(&mut self, base: Register, offset: u32, from: Register) {
        self.bytes(&[0x89]);
        self.memory(from.number(), base, offset);
    }

    /// `mov dword [base + offset], value`.
    pub(super) fn store_value(&mut self, base: Register, offset: u32, value: u32) {
        self.bytes(&[0xc7]);
        self.memory(0, base, offset);
        self.double(value);
    }

    fn memory(&mut self, middle: u8, base: Register, offset: u32) {
        debug_assert!(base != Register::Sp, "the stack pointer needs another form");
        self.bytes(&[0x80 | middle << 3 | base.number()]);
        self.double(offset);
    }

    /// `operation to, value`, 32 bits.
    pub(super) fn value(&mut self, operation: Operation, to: Register, value: u32) {
        self.bytes(&[0x81, 0xc0 | (operation as u8) << 3 | to.number()]);
        self.double(value);
    }

    /// `operation to, from`, 32 bits.
    pub(super) fn registers(&mut self, operation: Operation, to: Register, from: Register) {
        self.bytes(&[
            (operation as u8) << 3 | 1,
            0xc0 | from.number() << 3 | to.number(),
        ]);
    }

    /// `operation to, [base + offset]`, 32 bits.
    pub(super) fn with_memory(
        &mut self,
        operation: Operation,
        to: Register,
        base: Register,
        offset: u32,
    ) {
        self.bytes(&[(operation as u8) << 3 | 3]);
        self.memory(to.number(), base, offset);
    }

    /// `dec register`, in 32 and 64 bit mode.
    pub(super) fn decrement(&mut self, register: Register) {
        self.bytes(&[0xff, 0xc8 | register.number()]);
    }

    /// `out port, al`.
    pub(super) fn output(&mut self, port: u8) {
        self.bytes(&[0xe6, port]);
    }

    /// `in al, port`.
    pub(super) fn input(&mut self, port: u8) {
        self.bytes(&[0xe4, port]);
    }

    /// `jmp label`.
    pub(super) fn jump(&mut self, label: Label) {
        self.bytes(&[0xe9]);
        self.reference(label, Form::Relative);
    }

    /// `jcc label`.
    pub(super) fn jump_if(&mut self, condition: Condition, label: Label) {
        self.bytes(&[0x0f, 0x80 | condition as u8]);
        self.reference(label, Form::Relative);
    }

    /// `call label`.
    pub(super) fn call(&mut self, label: Label) {
        self.bytes(&[0xe8]);
        self.reference(label, Form::Relative);
    }

    /// The finished code.
    ///
    /// # Panics
    /// If a label was never placed: a fault of the program being assembled, found by any test of it.
    pub(super) fn finish(mut self) -> Vec<u8> {
        for (at, label, form) in self.references {
            let target = self.labels[label.0].expect("every label of the guest is placed");
            match form {
                Form::Relative => {
                    let distance = (target as i64 - (at as i64 + 4)) as i32;
                    self.code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
                }
                Form::Offset => {
                    self.code[at..at + 2].copy_from_slice(&(target as u16).to_le_bytes());
                }
                Form::Linear => {
                    let address = self.origin + target as u32;
                    self.code[at..at + 4].copy_from_slice(&address.to_le_bytes());
                }
            }
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each form against its bytes as the processor's manual gives them.
    #[test]
    fn instructions_become_their_bytes() {
        type Form = fn(&mut Assembler);
        let forms: [(Form, &[u8]); 14] = [
            (|a| a.set(Register::C, 20_000), &[0xb9, 0x20, 0x4e, 0, 0]),
            (|a| a.copy(Register::Di, Register::A), &[0x89, 0xc7]),
            (
                |a| a.load(Register::A, Register::Di, 0x320),
                &[0x8b, 0x87, 0x20, 3, 0, 0],
            ),
            (
                |a| a.store(Register::B, 8, Register::D),
                &[0x89, 0x93, 8, 0, 0, 0],
            ),
            (
                |a| a.store_value(Register::Di, 0xb0, 1),
                &[0xc7, 0x87, 0xb0, 0, 0, 0, 1, 0, 0, 0],
            ),
            (
                |a| a.value(Operation::Or, Register::B, 0x620),
                &[0x81, 0xcb, 0x20, 6, 0, 0],
            ),
            (
                |a| a.value(Operation::Compare, Register::A, 1),
                &[0x81, 0xf8, 1, 0, 0, 0],
            ),
            (
                |a| a.registers(Operation::Xor, Register::D, Register::D),
                &[0x31, 0xd2],
            ),
            (
                |a| a.with_memory(Operation::Add, Register::A, Register::Di, 16),
                &[0x03, 0x87, 16, 0, 0, 0],
            ),
            (|a| a.decrement(Register::C), &[0xff, 0xc9]),
            (|a| a.output(0xe9), &[0xe6, 0xe9]),
            (|a| a.input(0xe9), &[0xe4, 0xe9]),
            (
                |a| {
                    let back = a.here();
                    a.bytes(&[0x90]);
                    a.jump_if(Condition::NotZero, back);
                },
                &[0x90, 0x0f, 0x85, 0xf9, 0xff, 0xff, 0xff],
            ),
            (
                |a| {
                    let forth = a.label();
                    a.jump(forth);
                    a.bytes(&[0xf4]);
                    a.place(forth);
                    a.address_of(forth);
                    a.offset_of(forth);
                },
                &[0xe9, 1, 0, 0, 0, 0xf4, 6, 0, 0x0f, 0, 6, 0],
            ),
        ];
        for (form, bytes) in forms {
            let mut assembler = Assembler::new(0xf_0000);
            form(&mut assembler);
            assert_eq!(assembler.finish(), bytes);
        }
    }
}
