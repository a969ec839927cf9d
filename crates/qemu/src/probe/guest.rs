//! The probe's guest: a firmware image of 64 KiB, some 2 KiB of it code, which goes from the reset
//! vector through real, protected and long mode to the stages of a [`Plan`].
//!
//! It stands at the top of the first mebibyte and at the top of four gibibytes, as a PC's firmware
//! does, so that the same bytes run on KVM from a vCPU's reset state and in QEMU by `-bios`. It needs
//! [`MEMORY_BYTES`] of zeroed memory at address zero, and interrupt controllers of a PC.
//!
//! Every stage reports that it begins, then its result, on [`REPORT_PORT`](super::REPORT_PORT).

use super::assembler::{Assembler, Condition, Label, Operation, Register};
use super::stage::{
    DEVICE_ADDRESS, DEVICE_IDENTITY, END_PORT, EXCEPTION, FAILED, Plan, REPORT_PORT,
    REPORT_READBACK, Stage,
};

/// The size of the image: the least that QEMU takes as firmware.
pub const IMAGE_BYTES: usize = 0x1_0000;
/// Where the image stands. The processor starts in the second.
pub const IMAGE_ADDRESSES: [u64; 2] = [0xf_0000, 0xffff_0000];
/// How much memory it needs at address zero.
pub const MEMORY_BYTES: usize = 0x2_0000;

const ORIGIN: u32 = 0xf_0000;
const RESET_VECTOR: usize = 0xfff0;

/// Words of its own in memory.
const SCRATCH: u32 = 0x500;
const TICKS: u32 = 0x508;
const SECOND_IS_UP: u32 = 0x510;
const RETURN_TO: u32 = 0x518;
/// 16 bytes at a multiple of 16, zero.
const PAIR: u32 = 0x520;
const TABLES: u32 = 0x1000;
const STACK: u32 = 0x7000;
/// Where the second processor starts; SIPI names the page.
const SECOND_START: u32 = 0x8000;
/// For workloads; to the end of the memory.
const WORK_MEMORY: u32 = 0x1_0000;

const INTERRUPT_CONTROLLER: u32 = 0xfee0_0000;
const TIMER_VECTOR: u8 = 0x20;
/// Ticks of the timer until it interrupts. KVM's and QEMU's run at 1 GHz: 0.1 ms.
const TIMER_TICKS: u32 = 100_000;
/// Rounds of [`Stage::Loop`].
const LOOP_ROUNDS: u32 = 20_000;
/// How many instructions [`Stage::Loop`] is, at least.
pub const LOOP_INSTRUCTIONS: u64 = 2 * LOOP_ROUNDS as u64;

/// Selectors of the segments, as SYSCALL and SYSRET want them placed.
const CODE64: u16 = 0x08;
const CODE32: u16 = 0x18;
const DATA: u16 = 0x10;
/// Present, accessed already, so that the processor never writes to the image.
const SEGMENTS: [u64; 6] = [
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_9b00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
];
/// SYSRET loads its code segment from 16 beyond this, its data segment from 8 beyond; in ring 3.
const USER_BASE: u32 = 0x1b;

/// CPUID 1, EDX: FPU, TSC, MSR, PAE, CX8, APIC, SSE, SSE2.
const NEEDED_FEATURES: u32 = 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 25 | 1 << 26;

/// The image of a guest that goes through `plan`.
#[must_use]
pub fn image(plan: &Plan) -> Vec<u8> {
    assemble(|guest| {
        for stage in plan.stages() {
            if !Stage::SWITCHES.contains(stage) {
                guest.stage(*stage);
            }
        }
    })
}

/// The image of a guest that switches to long mode and then does `body`, and ends.
pub(super) fn assemble(body: impl FnOnce(&mut Guest)) -> Vec<u8> {
    let mut guest = Guest::new();
    guest.switch_modes();
    body(&mut guest);
    guest.end();
    guest.handlers();
    guest.tables();
    let mut image = guest.assembler.finish();
    debug_assert!(
        image.len() <= RESET_VECTOR,
        "the code reaches the reset vector"
    );
    image.resize(IMAGE_BYTES, 0);
    // jmp f000:0000
    image[RESET_VECTOR..RESET_VECTOR + 5].copy_from_slice(&[0xea, 0, 0, 0, 0xf0]);
    image
}

/// The code that runs on, as it is written.
pub(super) struct Guest {
    pub(super) assembler: Assembler,
    segments: Label,
    segments_pointer: Label,
    interrupts: Label,
    interrupts_pointer: Label,
    system_call: Label,
    stop: Label,
    handlers: Vec<Label>,
}

impl Guest {
    fn new() -> Self {
        let mut assembler = Assembler::new(ORIGIN);
        Self {
            segments: assembler.label(),
            segments_pointer: assembler.label(),
            interrupts: assembler.label(),
            interrupts_pointer: assembler.label(),
            system_call: assembler.label(),
            stop: assembler.label(),
            handlers: (0..=TIMER_VECTOR).map(|_| assembler.label()).collect(),
            assembler,
        }
    }

    /// Reports that a stage begins.
    fn begin(&mut self, stage: Stage) {
        self.report(stage.begin());
    }

    /// Reports a byte; AL is lost.
    pub(super) fn report(&mut self, byte: u8) {
        self.assembler.bytes(&[0xb0, byte]); // mov al, byte
        self.assembler.output(REPORT_PORT);
    }

    /// Reports the result in AL.
    fn result(&mut self) {
        self.assembler.output(REPORT_PORT);
    }

    /// From the reset state to long mode.
    fn switch_modes(&mut self) {
        let a = &mut self.assembler;
        a.bytes(&[
            0xfa, // cli
            0x31, 0xc0, // xor ax, ax
            0x8e, 0xd8, // mov ds, ax
            0x8e, 0xd0, // mov ss, ax
            0xbc, 0x00, 0x70, // mov sp, STACK
        ]);
        self.begin(Stage::RealMode);
        let a = &mut self.assembler;
        a.bytes(&[
            0xb9, 0x0a, 0x00, // mov cx, 10
            0x31, 0xdb, // xor bx, bx
            0x01, 0xcb, // add bx, cx
            0xe2, 0xfc, // loop to add      bx = 55
            0x53, 0x58, // push bx; pop ax
            0x2c, 54, // sub al, 54
        ]);
        self.result();
        self.begin(Stage::ProtectedMode);
        let a = &mut self.assembler;
        a.bytes(&[0x2e, 0x66, 0x0f, 0x01, 0x16]); // lgdt cs:[segments]
        a.offset_of(self.segments_pointer);
        a.bytes(&[
            0x0f, 0x20, 0xc0, // mov eax, cr0
            0x0c, 0x01, // or al, 1
            0x0f, 0x22, 0xc0, // mov cr0, eax
            0x66, 0xea, // jmp CODE32:protected
        ]);
        let protected = a.label();
        a.address_of(protected);
        a.bytes(&CODE32.to_le_bytes());
        a.place(protected);
        self.load_data_segments();
        let a = &mut self.assembler;
        a.set(Register::Sp, STACK);
        a.set(Register::A, 100_000);
        a.copy(Register::C, Register::A);
        a.bytes(&[0xf7, 0xe1, 0x52, 0x58]); // mul ecx; push edx; pop eax     10^10 >> 32 = 2
        self.result();
        self.begin(Stage::LongMode);
        self.make_page_tables();
        self.enter_long_mode();
        let a = &mut self.assembler;
        // The second page of two mebibytes is the first one once more.
        a.set(Register::Di, SCRATCH);
        a.store_value(Register::Di, 0, 0x1234_5678);
        a.load(Register::A, Register::Di, 0x20_0000);
        a.value(
            Operation::Subtract,
            Register::A,
            0x1234_5678 - u32::from(Stage::LongMode.number()),
        );
        self.result();
    }

    fn load_data_segments(&mut self) {
        self.assembler.set(Register::A, u32::from(DATA));
        // mov ds, eax; mov es, eax; mov ss, eax
        self.assembler.bytes(&[0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0]);
    }

    /// Four tables of one page each, of which a handful of entries is used: two times the first two
    /// mebibytes, for the user too, and the interrupt controllers and the device, uncached.
    fn make_page_tables(&mut self) {
        const PRESENT_WRITABLE_USER: u32 = 7;
        const LARGE: u32 = 0x80;
        const UNCACHED: u32 = 0x18;
        let device = |index: u32| (0xc000_0000 + (index << 21)) | LARGE | UNCACHED | 3;
        let a = &mut self.assembler;
        a.set(Register::Di, TABLES);
        for (offset, entry) in [
            (0x0000, (TABLES + 0x1000) | PRESENT_WRITABLE_USER),
            (0x1000, (TABLES + 0x2000) | PRESENT_WRITABLE_USER),
            (0x1018, (TABLES + 0x3000) | PRESENT_WRITABLE_USER),
            (0x2000, LARGE | PRESENT_WRITABLE_USER),
            (0x2008, LARGE | PRESENT_WRITABLE_USER),
            (0x3000 + 8 * 0x1f6, device(0x1f6)),
            (0x3000 + 8 * 0x1f7, device(0x1f7)),
        ] {
            a.store_value(Register::Di, offset, entry);
        }
    }

    fn enter_long_mode(&mut self) {
        let a = &mut self.assembler;
        a.bytes(&[0x0f, 0x20, 0xe0]); // mov eax, cr4
        // Physical address extension, SSE and its exceptions.
        a.value(Operation::Or, Register::A, 0x620);
        a.bytes(&[0x0f, 0x22, 0xe0]); // mov cr4, eax
        a.set(Register::A, TABLES);
        a.bytes(&[0x0f, 0x22, 0xd8]); // mov cr3, eax
        // EFER: long mode and SYSCALL.
        a.set(Register::C, 0xc000_0080);
        a.bytes(&[0x0f, 0x32]); // rdmsr
        a.value(Operation::Or, Register::A, 0x101);
        a.bytes(&[0x0f, 0x30]); // wrmsr
        a.bytes(&[0x0f, 0x20, 0xc0]); // mov eax, cr0
        // Caches on; paging, write protection, numeric errors, monitoring of the coprocessor.
        a.value(Operation::And, Register::A, 0x9fff_ffff);
        a.value(Operation::Or, Register::A, 0x8001_0022);
        a.bytes(&[0x0f, 0x22, 0xc0]); // mov cr0, eax
        a.bytes(&[0xea]); // jmp CODE64:long
        let long = a.label();
        a.address_of(long);
        a.bytes(&CODE64.to_le_bytes());
        a.place(long);
        self.load_data_segments();
        let a = &mut self.assembler;
        a.set(Register::Sp, STACK);
        a.bytes(&[0x0f, 0x01, 0x1c, 0x25]); // lidt [interrupts]
        a.address_of(self.interrupts_pointer);
    }

    fn stage(&mut self, stage: Stage) {
        self.begin(stage);
        let bad = self.assembler.label();
        match stage {
            Stage::RealMode | Stage::ProtectedMode | Stage::LongMode => {}
            Stage::Cpuid => self.cpuid(bad),
            Stage::Registers => self.model_specific_registers(bad),
            Stage::Ports => {
                let a = &mut self.assembler;
                a.registers(Operation::Xor, Register::A, Register::A);
                a.input(REPORT_PORT);
                a.value(Operation::Compare, Register::A, u32::from(REPORT_READBACK));
                a.jump_if(Condition::NotZero, bad);
            }
            Stage::DeviceMemory => self.device_memory(bad),
            Stage::Loop => {
                let a = &mut self.assembler;
                a.set(Register::C, LOOP_ROUNDS);
                let round = a.here();
                a.decrement(Register::C);
                a.jump_if(Condition::NotZero, round);
            }
            Stage::Instructions => self.instructions(bad),
            Stage::UserMode => {
                let user = self.assembler.label();
                self.in_user_mode(user);
                let past = self.assembler.label();
                self.assembler.jump(past);
                self.assembler.place(user);
                let a = &mut self.assembler;
                a.bytes(&[0x0f, 0x57, 0xc0]); // xorps xmm0, xmm0
                a.bytes(&[0x66, 0x0f, 0x7e, 0xc0]); // movd eax, xmm0
                a.set(Register::Di, SCRATCH);
                a.store(Register::Di, 0, Register::A);
                a.bytes(&[0xc3]); // ret
                a.place(past);
                a.set(Register::Di, SCRATCH);
                a.load(Register::A, Register::Di, 0);
                a.value(Operation::Compare, Register::A, 0);
                a.jump_if(Condition::NotZero, bad);
            }
            Stage::Timer => self.timer(),
            Stage::SecondProcessor => self.second_processor(),
        }
        let a = &mut self.assembler;
        let over = a.label();
        a.set(Register::A, u32::from(stage.number()));
        a.jump(over);
        a.place(bad);
        a.set(Register::A, u32::from(FAILED));
        a.place(over);
        self.result();
    }

    fn cpuid(&mut self, bad: Label) {
        const CPUID: [u8; 2] = [0x0f, 0xa2];
        let a = &mut self.assembler;
        a.set(Register::A, 1);
        a.bytes(&CPUID);
        a.value(Operation::And, Register::D, NEEDED_FEATURES);
        a.value(Operation::Compare, Register::D, NEEDED_FEATURES);
        a.jump_if(Condition::NotZero, bad);
        a.set(Register::A, 0x8000_0001);
        a.bytes(&CPUID);
        a.bytes(&[0x0f, 0xba, 0xe2, 29]); // bt edx, 29     long mode
        a.jump_if(Condition::NotCarry, bad);
    }

    fn model_specific_registers(&mut self, bad: Label) {
        let a = &mut self.assembler;
        // The kernel's GS base, which every 64 bit kernel writes.
        a.set(Register::C, 0xc000_0102);
        a.set(Register::A, 0x0123_4567);
        a.registers(Operation::Xor, Register::D, Register::D);
        a.bytes(&[0x0f, 0x30]); // wrmsr
        a.registers(Operation::Xor, Register::A, Register::A);
        a.bytes(&[0x0f, 0x32]); // rdmsr
        a.value(Operation::Compare, Register::A, 0x0123_4567);
        a.jump_if(Condition::NotZero, bad);
        // Where the local interrupt controller is.
        a.set(Register::C, 0x1b);
        a.bytes(&[0x0f, 0x32]); // rdmsr
        a.value(Operation::And, Register::A, 0xffff_f000);
        a.value(Operation::Compare, Register::A, INTERRUPT_CONTROLLER);
        a.jump_if(Condition::NotZero, bad);
    }

    /// A device outside of KVM, and the version of the interrupt controller, which KVM may play itself.
    fn device_memory(&mut self, bad: Label) {
        let a = &mut self.assembler;
        a.set(Register::Di, DEVICE_ADDRESS as u32);
        a.store_value(Register::Di, 0x10, 0);
        a.load(Register::A, Register::Di, 0);
        a.value(Operation::Compare, Register::A, DEVICE_IDENTITY);
        a.jump_if(Condition::NotZero, bad);
        a.set(Register::Di, INTERRUPT_CONTROLLER);
        a.load(Register::A, Register::Di, 0x30);
        a.value(Operation::And, Register::A, 0xf0);
        a.value(Operation::Compare, Register::A, 0x10);
        a.jump_if(Condition::NotZero, bad);
    }

    fn instructions(&mut self, bad: Label) {
        let a = &mut self.assembler;
        a.bytes(&[0x0f, 0x57, 0xc0]); // xorps xmm0, xmm0
        a.bytes(&[0x66, 0x0f, 0x7e, 0xc3]); // movd ebx, xmm0           ebx = 0
        a.value(Operation::Add, Register::B, 8);
        a.set(Register::A, 1);
        a.bytes(&[0x53, 0x0f, 0xa2, 0x5b]); // push rbx; cpuid; pop rbx
        // popcnt is the one of these that a processor with virtualization may lack.
        let without = a.label();
        a.bytes(&[0x0f, 0xba, 0xe1, 23]); // bt ecx, 23
        a.jump_if(Condition::NotCarry, without);
        a.set(Register::C, 0x55);
        a.bytes(&[0xf3, 0x0f, 0xb8, 0xc1]); // popcnt eax, ecx          eax = 4
        a.value(Operation::Compare, Register::A, 4);
        a.jump_if(Condition::NotZero, bad);
        a.place(without);
        a.set(Register::Di, PAIR);
        for register in [Register::A, Register::D, Register::C] {
            a.registers(Operation::Xor, register, register);
        }
        a.store_value(Register::Di, 0, 0);
        // cmpxchg16b [rdi]: zero there, so it becomes rcx:rbx and ZF is set
        a.bytes(&[0x48, 0x0f, 0xc7, 0x0f]);
        a.jump_if(Condition::NotZero, bad);
        a.bytes(&[0xd9, 0xe8]); // fld1
        a.bytes(&[0xdb, 0x5f, 0x10]); // fistp dword [rdi + 16]    1 there
        a.load(Register::A, Register::Di, 0);
        a.with_memory(Operation::Add, Register::A, Register::Di, 16);
        a.value(Operation::Compare, Register::A, 9);
        a.jump_if(Condition::NotZero, bad);
    }

    /// Calls `function` in the user's ring. Registers are lost.
    ///
    /// The user's code ends by a system call whose number has its highest bit set; any other number
    /// is answered as a kernel would, see [`Guest::handlers`].
    pub(super) fn in_user_mode(&mut self, function: Label) {
        let a = &mut self.assembler;
        let wrmsr = [0x0f, 0x30];
        // STAR: the segments of kernel and user; LSTAR: the handler; FMASK: interrupts off.
        a.set(Register::C, 0xc000_0081);
        a.registers(Operation::Xor, Register::A, Register::A);
        a.set(Register::D, USER_BASE << 16 | u32::from(CODE64));
        a.bytes(&wrmsr);
        a.set(Register::C, 0xc000_0082);
        a.set_address(Register::A, self.system_call);
        a.registers(Operation::Xor, Register::D, Register::D);
        a.bytes(&wrmsr);
        a.set(Register::C, 0xc000_0084);
        a.set(Register::A, 0x200);
        a.bytes(&wrmsr);
        let (user, back) = (a.label(), a.label());
        a.set(Register::Di, RETURN_TO);
        a.set_address(Register::A, back);
        a.store(Register::Di, 0, Register::A);
        a.set_address(Register::C, user);
        a.bytes(&[0x41, 0xbb, 2, 0, 0, 0]); // mov r11d, 2       the user's flags
        a.bytes(&[0x48, 0x0f, 0x07]); // sysretq
        a.place(user);
        a.set(Register::Di, WORK_MEMORY);
        a.call(function);
        a.set(Register::A, u32::MAX);
        a.bytes(&[0x0f, 0x05]); // syscall
        a.place(back);
    }

    fn timer(&mut self) {
        self.mask_other_interrupts();
        let a = &mut self.assembler;
        a.set(Register::Di, INTERRUPT_CONTROLLER);
        for (register, value) in [
            (0xf0, 0x1ff),
            (0x3e0, 0x0b),
            (0x320, u32::from(TIMER_VECTOR)),
            (0x380, TIMER_TICKS),
        ] {
            a.store_value(Register::Di, register, value);
        }
        a.set(Register::Di, TICKS);
        let wait = a.here();
        a.bytes(&[0xfb, 0xf4, 0xfa]); // sti; hlt; cli
        a.load(Register::A, Register::Di, 0);
        a.value(Operation::Compare, Register::A, 0);
        a.jump_if(Condition::Zero, wait);
    }

    /// A PC's other timer ticks from the reset on, at a vector that is an exception of ours.
    fn mask_other_interrupts(&mut self) {
        let a = &mut self.assembler;
        a.bytes(&[0xb0, 0xff]); // mov al, 0xff
        a.output(0x21);
        a.output(0xa1);
        a.set(Register::Di, INTERRUPT_CONTROLLER);
        a.store_value(Register::Di, 0x350, 0x1_0000);
    }

    fn second_processor(&mut self) {
        /// In 16 bit mode: mov byte cs:[SECOND_IS_UP], 1; cli; hlt; jmp to cli
        const CODE: [u8; 12] = [
            0x2e, 0xc6, 0x06, 0x10, 0x05, 1, 0xfa, 0xf4, 0xeb, 0xfc, 0, 0,
        ];
        let a = &mut self.assembler;
        a.set(Register::Di, SECOND_START);
        for (index, word) in CODE.chunks_exact(4).enumerate() {
            let word = word.try_into().map_or(0, u32::from_le_bytes);
            a.store_value(Register::Di, 4 * index as u32, word);
        }
        a.set(Register::Di, INTERRUPT_CONTROLLER);
        // To the processor with number 1: INIT, then twice SIPI with the page of the code.
        for command in [
            0x4500,
            0x4600 | SECOND_START >> 12,
            0x4600 | SECOND_START >> 12,
        ] {
            a.store_value(Register::Di, 0x310, 1 << 24);
            a.store_value(Register::Di, 0x300, command);
        }
        // Its segment starts at its page, so it writes there.
        a.set(Register::Di, SECOND_START + SECOND_IS_UP);
        let wait = a.here();
        a.bytes(&[0xf3, 0x90]); // pause
        a.load(Register::A, Register::Di, 0);
        a.value(Operation::Compare, Register::A, 1);
        a.jump_if(Condition::NotZero, wait);
    }

    /// Ends the guest.
    fn end(&mut self) {
        self.assembler.bytes(&[0xb0, 0]); // mov al, 0
        self.assembler.output(END_PORT);
        self.assembler.place(self.stop);
        self.assembler.bytes(&[0xfa, 0xf4]); // cli; hlt
        self.assembler.jump(self.stop);
    }

    /// What runs when the processor interrupts or the user calls.
    fn handlers(&mut self) {
        let fault = self.assembler.label();
        let (exceptions, timer) = self.handlers.split_at(usize::from(TIMER_VECTOR));
        let a = &mut self.assembler;
        for (number, handler) in exceptions.iter().enumerate() {
            a.place(*handler);
            a.bytes(&[0x6a, number as u8]); // push number
            a.jump(fault);
        }
        a.place(fault);
        a.bytes(&[0xb0, EXCEPTION]); // mov al, EXCEPTION
        a.output(REPORT_PORT);
        a.bytes(&[0x58]); // pop rax
        a.output(REPORT_PORT);
        a.jump(self.stop);

        a.place(timer[0]);
        a.bytes(&[0x57]); // push rdi
        a.set(Register::Di, TICKS);
        a.store_value(Register::Di, 0, 1);
        a.set(Register::Di, INTERRUPT_CONTROLLER);
        a.store_value(Register::Di, 0xb0, 0);
        a.bytes(&[0x5f, 0x48, 0xcf]); // pop rdi; iretq

        self.system_calls();
    }

    /// A kernel's way through a system call in small, for calls of a workload: swap GS, save the
    /// registers, as many instructions as Linux takes for a call that does little (some 200), and
    /// back. A call with a negative number ends the user's code instead.
    fn system_calls(&mut self) {
        const ROUNDS: u32 = 20;
        let a = &mut self.assembler;
        let (end, work, past) = (a.label(), a.label(), a.label());
        a.place(self.system_call);
        a.bytes(&[0x85, 0xc0]); // test eax, eax
        a.jump_if(Condition::Negative, end);
        a.bytes(&[
            0x0f, 0x01, 0xf8, // swapgs
            0x53, 0x51, 0x52, 0x56, 0x57, 0x55, // push rbx, rcx, rdx, rsi, rdi, rbp
            0x41, 0x50, 0x41, 0x51, 0x41, 0x52, 0x41, 0x53, // push r8 to r11
            0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, // push r12 to r15
        ]);
        a.set(Register::Di, SCRATCH);
        a.set(Register::C, ROUNDS);
        let round = a.here();
        a.call(work);
        a.decrement(Register::C);
        a.jump_if(Condition::NotZero, round);
        a.jump(past);
        a.place(work);
        a.load(Register::A, Register::Di, 0);
        a.value(Operation::Add, Register::A, 3);
        a.bytes(&[0xa8, 1]); // test al, 1
        let even = a.label();
        a.jump_if(Condition::Zero, even);
        a.value(Operation::Xor, Register::A, 0x55);
        a.place(even);
        a.store(Register::Di, 0, Register::A);
        a.bytes(&[0xc3]); // ret
        a.place(past);
        a.bytes(&[
            0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, // pop r15 to r12
            0x41, 0x5b, 0x41, 0x5a, 0x41, 0x59, 0x41, 0x58, // pop r11 to r8
            0x5d, 0x5f, 0x5e, 0x5a, 0x59, 0x5b, // pop rbp, rdi, rsi, rdx, rcx, rbx
            0x0f, 0x01, 0xf8, // swapgs
            0x48, 0x0f, 0x07, // sysretq
        ]);
        a.place(end);
        a.set(Register::Sp, STACK);
        a.set(Register::Di, RETURN_TO);
        a.load(Register::A, Register::Di, 0);
        a.bytes(&[0xff, 0xe0]); // jmp rax
    }

    /// The segments and the interrupts, which the processor only reads.
    fn tables(&mut self) {
        let a = &mut self.assembler;
        a.place(self.segments);
        for segment in SEGMENTS {
            a.bytes(&segment.to_le_bytes());
        }
        a.place(self.segments_pointer);
        a.bytes(&(size_of_val(&SEGMENTS) as u16 - 1).to_le_bytes());
        a.address_of(self.segments);

        a.place(self.interrupts);
        // Every gate leads to the same 64 KiB: the lower half of its address is the label's offset.
        for handler in &self.handlers {
            a.offset_of(*handler);
            a.bytes(&CODE64.to_le_bytes());
            a.bytes(&[0, 0x8e]);
            a.bytes(&((ORIGIN >> 16) as u16).to_le_bytes());
            a.bytes(&[0; 8]);
        }
        a.place(self.interrupts_pointer);
        a.bytes(&(16 * self.handlers.len() as u16 - 1).to_le_bytes());
        a.address_of(self.interrupts);
        a.double(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_is_a_few_kilobytes_and_starts_at_the_reset_vector() {
        let image = image(&Plan::with_second_processor());
        assert_eq!(image.len(), IMAGE_BYTES);
        let code = image[..RESET_VECTOR]
            .iter()
            .rposition(|byte| *byte != 0)
            .expect("there is code");
        assert!(code < 4096, "{code} bytes");
        assert_eq!(image[RESET_VECTOR..RESET_VECTOR + 5], [0xea, 0, 0, 0, 0xf0]);
        assert_eq!(image[0], 0xfa, "it begins with cli");
    }

    #[test]
    fn stages_that_are_not_asked_for_are_not_in_the_image() {
        let whole = image(&Plan::whole());
        let switches = image(&Plan::new(&[]));
        let reports = |image: &[u8], stage: Stage| {
            image
                .windows(4)
                .any(|bytes| bytes == [0xb0, stage.begin(), 0xe6, REPORT_PORT])
        };
        for stage in Stage::ALL {
            assert_eq!(reports(&whole, stage), stage != Stage::SecondProcessor);
            assert_eq!(reports(&switches, stage), Stage::SWITCHES.contains(&stage));
        }
    }
}
