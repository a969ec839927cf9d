//! A guest of one disk sector, in real mode only: even a KVM that runs guests' kernels in software gets through it.
//!
//! It prints [`BOOT_SECTOR_HELLO`] on the first serial port, halts, and prints [`BOOT_SECTOR_ANSWER`] for each byte it
//! is sent.

/// What the guest prints first.
pub const BOOT_SECTOR_HELLO: &str = "the boot sector runs";
/// What it prints for each byte it receives.
pub const BOOT_SECTOR_ANSWER: &str = "the boot sector answers";

/// A disk of a mebibyte: what some firmware takes for the least a disk can have.
const DISK_BYTES: usize = 1 << 20;
const SECTOR_BYTES: usize = 512;
/// Where the BIOS puts the sector.
const ORIGIN: u16 = 0x7c00;
/// The length of [`code`], where the texts follow.
const CODE_BYTES: u16 = 0x44;

/// The disk's bytes.
pub fn boot_sector_disk() -> Vec<u8> {
    let hello = format!("{BOOT_SECTOR_HELLO}\r\n\0").into_bytes();
    let answer = format!("{BOOT_SECTOR_ANSWER}\r\n\0").into_bytes();
    let hello_at = ORIGIN + CODE_BYTES;
    // A short text: it fits the sector many times.
    let answer_at = hello_at + hello.len() as u16;
    let mut disk = code(hello_at, answer_at);
    assert_eq!(
        disk.len(),
        usize::from(CODE_BYTES),
        "the texts' addresses count on it"
    );
    disk.extend(hello);
    disk.extend(answer);
    disk.resize(SECTOR_BYTES - 2, 0);
    disk.extend([0x55, 0xaa]);
    disk.resize(DISK_BYTES, 0);
    disk
}

#[rustfmt::skip]
fn code(hello: u16, answer: u16) -> Vec<u8> {
    let ([h0, h1], [a0, a1]) = (hello.to_le_bytes(), answer.to_le_bytes());
    vec![
        0xea, 0x05, 0x7c, 0x00, 0x00, // 00        jmp 0:7c05, whatever segment the BIOS came with
        0xfa,                         // 05        cli
        0x31, 0xc0,                   // 06        xor ax, ax
        0x8e, 0xd8,                   // 08        mov ds, ax
        0x8e, 0xd0,                   // 0a        mov ss, ax
        0xbc, 0x00, 0x7c,             // 0c        mov sp, 7c00
        0xfc,                         // 0f        cld
        0xbe, h0, h1,                 // 10        mov si, hello
        0xe8, 0x16, 0x00,             // 13        call print
        0xfb,                         // 16 wait:  sti
        0xf4,                         // 17        hlt, until the BIOS's timer ticks: 18 times a second
        0xba, 0xfd, 0x03,             // 18        mov dx, 3fd: the serial line's status
        0xec,                         // 1b        in al, dx
        0xa8, 0x01,                   // 1c        test al, 1: has it received anything?
        0x74, 0xf6,                   // 1e        jz wait
        0xba, 0xf8, 0x03,             // 20        mov dx, 3f8
        0xec,                         // 23        in al, dx
        0xbe, a0, a1,                 // 24        mov si, answer
        0xe8, 0x02, 0x00,             // 27        call print
        0xeb, 0xea,                   // 2a        jmp wait
        0xac,                         // 2c print: lodsb
        0x84, 0xc0,                   // 2d        test al, al
        0x74, 0x12,                   // 2f        jz done
        0x88, 0xc4,                   // 31        mov ah, al
        0xba, 0xfd, 0x03,             // 33        mov dx, 3fd
        0xec,                         // 36 full:  in al, dx
        0xa8, 0x20,                   // 37        test al, 20: can it send?
        0x74, 0xfb,                   // 39        jz full
        0xba, 0xf8, 0x03,             // 3b        mov dx, 3f8
        0x88, 0xe0,                   // 3e        mov al, ah
        0xee,                         // 40        out dx, al
        0xeb, 0xe9,                   // 41        jmp print
        0xc3,                         // 43 done:  ret
    ]
}
