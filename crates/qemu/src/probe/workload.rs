//! Work for a comparison of speed: the same bytes run in a guest and on the machine itself.
//!
//! Each [`Workload`] is a function of the user's ring that measures itself by the processor's time
//! stamp counter; a guest of QEMU's TCG sees the host's, so both count the same cycles. Around it is
//! the probe's guest ([`image`]), or a program for this machine's Linux ([`program`]).

use super::assembler::{Assembler, Condition, Operation, Register};
use super::guest::{Guest, assemble};
use super::stage::REPORT_PORT;

/// How often each workload is run in a guest; the first time also pays for its translation.
pub const CHUNKS: usize = 8;
/// Where the guest keeps a result until it is reported.
const RESULT: u32 = 0x540;
/// What the guest reports before the results of a workload.
const MARK: u8 = 0xc0;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// Integers: shifts, a table of 4 KiB, calls, branches that are now and then taken.
    Compute = 0,
    /// 16 KiB are read, added up and written elsewhere, again and again.
    Memory = 1,
    /// System calls: into this machine's kernel, and into one of ours in the guest that does about as
    /// much. A likeness, not the same instructions: no program runs in this machine's kernel mode.
    System = 2,
}

impl Workload {
    /// All of them, in the order in which the guest does them.
    pub const ALL: [Self; 3] = [Self::Compute, Self::Memory, Self::System];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
            Self::System => "system",
        }
    }

    /// Writes its code: a function by the calling convention of System V, with the address of zeroed
    /// memory as its argument and the number of cycles as its result. Some 0.3 ms.
    fn write(self, a: &mut Assembler) {
        /// lfence; rdtsc; shl rdx, 32; or rax, rdx
        const NOW: [u8; 12] = [
            0x0f, 0xae, 0xe8, 0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0,
        ];
        a.bytes(&[0x53]); // push rbx
        a.bytes(&NOW);
        a.bytes(&[0x49, 0x89, 0xc0]); // mov r8, rax
        match self {
            Self::Compute => compute(a),
            Self::Memory => memory(a),
            Self::System => system(a),
        }
        a.bytes(&NOW);
        a.bytes(&[0x4c, 0x29, 0xc0]); // sub rax, r8
        a.bytes(&[0x5b, 0xc3]); // pop rbx; ret
    }
}

fn compute(a: &mut Assembler) {
    const ROUNDS: u32 = 30_000;
    let (mix, past, skip) = (a.label(), a.label(), a.label());
    a.set(Register::A, 0x9e37_79b9);
    a.set(Register::C, ROUNDS);
    a.registers(Operation::Xor, Register::B, Register::B);
    let round = a.here();
    a.call(mix);
    a.copy(Register::D, Register::A);
    a.value(Operation::And, Register::D, 0xffc);
    a.bytes(&[0x03, 0x1c, 0x17]); // add ebx, [rdi + rdx]
    a.bytes(&[0xa8, 7]); // test al, 7
    a.jump_if(Condition::NotZero, skip);
    a.bytes(&[0x0f, 0xaf, 0xd8]); // imul ebx, eax
    a.place(skip);
    a.bytes(&[0x89, 0x1c, 0x17]); // mov [rdi + rdx], ebx
    a.decrement(Register::C);
    a.jump_if(Condition::NotZero, round);
    a.jump(past);
    // Marsaglia's xorshift of 32 bits.
    a.place(mix);
    for (shift, by) in [(0xe2, 13), (0xea, 17), (0xe2, 5)] {
        a.copy(Register::D, Register::A);
        a.bytes(&[0xc1, shift, by]); // shl or shr edx, by
        a.registers(Operation::Xor, Register::A, Register::D);
    }
    a.bytes(&[0xc3]); // ret
    a.place(past);
}

fn memory(a: &mut Assembler) {
    const PASSES: u32 = 150;
    const WORDS: u32 = 2048;
    a.set(Register::A, PASSES);
    let pass = a.here();
    a.set(Register::C, WORDS);
    let word = a.here();
    a.bytes(&[0x48, 0x8b, 0x54, 0xcf, 0xf8]); // mov rdx, [rdi + rcx*8 - 8]
    a.bytes(&[0x48, 0x01, 0xd3]); // add rbx, rdx
    a.bytes(&[0x48, 0x89, 0x94, 0xcf]); // mov [rdi + rcx*8 + 0x4000 - 8], rdx
    a.double(0x4000 - 8);
    a.decrement(Register::C);
    a.jump_if(Condition::NotZero, word);
    a.decrement(Register::A);
    a.jump_if(Condition::NotZero, pass);
}

fn system(a: &mut Assembler) {
    const CALLS: u32 = 1_500;
    /// `getppid`, which the kernel answers without locks and C libraries do not cache.
    const GET_PARENT: u32 = 110;
    a.set(Register::B, CALLS);
    let call = a.here();
    a.set(Register::A, GET_PARENT);
    a.bytes(&[0x0f, 0x05]); // syscall
    a.decrement(Register::B);
    a.jump_if(Condition::NotZero, call);
}

/// Where a program's code and its memory stand, and how much memory that is.
const PROGRAM_ADDRESS: u32 = 0x40_0000;
const PROGRAM_MEMORY: u32 = 0x80_0000;
const PROGRAM_MEMORY_BYTES: u32 = 0x1_0000;
/// ELF's own header, and three that describe what to load.
const HEADER_BYTES: u32 = 64 + 3 * 56;

/// A program for x86-64 Linux (a static ELF file of less than two kilobytes) that does the same work
/// and writes the same results to its standard output, without the report of stages.
#[must_use]
pub fn program() -> Vec<u8> {
    let mut a = Assembler::new(PROGRAM_ADDRESS + HEADER_BYTES);
    // The end of the memory is free in every workload.
    let result = PROGRAM_MEMORY + PROGRAM_MEMORY_BYTES - 8;
    let write = |a: &mut Assembler, bytes: u32| {
        a.set(Register::A, 1);
        a.set(Register::Di, 1);
        a.bytes(&[0xbe]); // mov esi, result
        a.double(result);
        a.set(Register::D, bytes);
        a.bytes(&[0x0f, 0x05]); // syscall
    };
    for workload in Workload::ALL {
        let (function, past) = (a.label(), a.label());
        a.jump(past);
        a.place(function);
        workload.write(&mut a);
        a.place(past);
        a.set(Register::Di, result);
        a.store_value(Register::Di, 0, u32::from(MARK | workload as u8));
        write(&mut a, 1);
        for _ in 0..CHUNKS {
            a.set(Register::Di, PROGRAM_MEMORY);
            a.call(function);
            a.bytes(&[0x48, 0x89, 0x04, 0x25]); // mov [result], rax
            a.double(result);
            write(&mut a, 8);
        }
    }
    a.set(Register::A, 60);
    a.registers(Operation::Xor, Register::Di, Register::Di);
    a.bytes(&[0x0f, 0x05]); // syscall: exit(0)
    let code = a.finish();
    let mut file = elf_header(HEADER_BYTES as usize + code.len());
    file.extend(code);
    file
}

/// The headers of a program with code that is read and executed, memory that is read and written, and
/// a stack that is not executed.
fn elf_header(file_bytes: usize) -> Vec<u8> {
    const LOAD: u32 = 1;
    const STACK: u32 = 0x6474_e551;
    const EXECUTE: u32 = 1;
    const WRITE: u32 = 2;
    const READ: u32 = 4;
    let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    header.resize(16, 0);
    // An executable, for x86-64, version 1.
    header.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [u64::from(PROGRAM_ADDRESS + HEADER_BYTES), 64, 0] {
        header.extend(word.to_le_bytes());
    }
    header.extend([0; 4]);
    for half in [64_u16, 56, 3, 64, 0, 0] {
        header.extend(half.to_le_bytes());
    }
    let file_bytes = file_bytes as u64;
    for (kind, rights, address, in_file, in_memory) in [
        (
            LOAD,
            READ | EXECUTE,
            PROGRAM_ADDRESS,
            file_bytes,
            file_bytes,
        ),
        (
            LOAD,
            READ | WRITE,
            PROGRAM_MEMORY,
            0,
            u64::from(PROGRAM_MEMORY_BYTES),
        ),
        (STACK, READ | WRITE, 0, 0, 0),
    ] {
        header.extend(kind.to_le_bytes());
        header.extend(rights.to_le_bytes());
        let address = u64::from(address);
        for word in [0, address, address, in_file, in_memory, 0x1000] {
            header.extend(word.to_le_bytes());
        }
    }
    header
}

/// The image of a guest that does every workload [`CHUNKS`] times and reports the cycles of each.
#[must_use]
pub fn image() -> Vec<u8> {
    assemble(|guest| {
        for workload in Workload::ALL {
            let a = &mut guest.assembler;
            let (function, measure, past) = (a.label(), a.label(), a.label());
            a.jump(past);
            a.place(function);
            workload.write(a);
            a.place(measure);
            a.call(function);
            a.bytes(&[0x48, 0x89, 0x04, 0x25]); // mov [RESULT], rax
            a.double(RESULT);
            a.bytes(&[0xc3]); // ret
            a.place(past);
            guest.report(MARK | workload as u8);
            for _ in 0..CHUNKS {
                guest.in_user_mode(measure);
                report_result(guest);
            }
        }
    })
}

/// Reports the eight bytes at [`RESULT`].
fn report_result(guest: &mut Guest) {
    let a = &mut guest.assembler;
    a.bytes(&[0xbe]); // mov esi, RESULT
    a.double(RESULT);
    a.set(Register::C, 8);
    let byte = a.here();
    a.bytes(&[0xac]); // lodsb
    a.output(REPORT_PORT);
    a.decrement(Register::C);
    a.jump_if(Condition::NotZero, byte);
}

/// The cycles of each run of a workload in a guest, in order, without the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The kind of work.
    pub workload: Workload,
    /// Cycles of each run.
    pub cycles: Vec<u64>,
}

/// What a guest's report says. The guest reports from the switch of modes on.
///
/// # Errors
/// A sentence, if the report is not one of a guest that did all its work.
pub fn read_report(report: &[u8]) -> Result<Vec<Measured>, String> {
    let switches = super::healthy_report(&super::Plan::new(&[]));
    let results = report
        .strip_prefix(switches.as_slice())
        .ok_or_else(|| format!("the guest did not reach long mode; it reported {report:02x?}"))?;
    read_results(results)
}

/// What the [`program`] wrote.
///
/// # Errors
/// A sentence, if it did not do all its work.
pub fn read_results(mut rest: &[u8]) -> Result<Vec<Measured>, String> {
    let mut found = Vec::new();
    for workload in Workload::ALL {
        let cut = || format!("the report ends within its work on {}", workload.name());
        let (mark, results) = rest.split_first().ok_or_else(cut)?;
        if *mark != MARK | workload as u8 {
            return Err(format!(
                "the report has {mark:#04x} where its work on {} begins",
                workload.name()
            ));
        }
        let (results, after) = results.split_at_checked(8 * CHUNKS).ok_or_else(cut)?;
        let cycles = results
            .chunks_exact(8)
            .skip(1)
            .map(|bytes| bytes.try_into().map_or(0, u64::from_le_bytes))
            .collect();
        found.push(Measured { workload, cycles });
        rest = after;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Vec<u8> {
        let mut report = super::super::healthy_report(&super::super::Plan::new(&[]));
        for workload in Workload::ALL {
            report.push(MARK | workload as u8);
            for chunk in 0..CHUNKS as u64 {
                report.extend((1000 + chunk).to_le_bytes());
            }
        }
        report
    }

    #[test]
    fn a_report_is_read_without_the_first_run() {
        let found = read_report(&report()).expect("it is whole");
        assert_eq!(found.len(), 3);
        assert_eq!(found[2].workload, Workload::System);
        assert_eq!(found[0].cycles, [1001, 1002, 1003, 1004, 1005, 1006, 1007]);
    }

    #[test]
    fn a_report_that_is_cut_or_strange_is_refused() {
        let whole = report();
        for length in 0..whole.len() {
            assert!(read_report(&whole[..length]).is_err(), "{length}");
        }
        let mut strange = whole;
        strange[6] ^= 1;
        assert!(read_report(&strange).is_err());
    }

    #[test]
    fn the_program_is_small_and_its_headers_are_as_long_as_they_say() {
        let program = program();
        assert!(program.len() < 2048 + 512, "{}", program.len());
        assert_eq!(elf_header(0).len(), HEADER_BYTES as usize);
        assert_eq!(program[..4], *b"\x7fELF");
    }
}
