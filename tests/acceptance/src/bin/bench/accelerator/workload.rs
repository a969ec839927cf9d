//! Runs inside the measured guest: a static program without dependencies, compiled by the bench.
//! Each piece of work prints `MARK name seconds`; the last waits for a connection from the host.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::time::Instant;

const MEBIBYTE: usize = 1 << 20;
/// Sent to the host, then received from it.
const NETWORK_BYTES: usize = 48 * MEBIBYTE;
const DISK_BYTES: usize = 96 * MEBIBYTE;
const RANDOM_READS: u64 = 1500;
/// Of eight multiplications and additions each.
const FUSED_ROUNDS: u32 = 500_000;

fn timed(name: &str, work: impl FnOnce()) {
    let began = Instant::now();
    work();
    println!("MARK {name} {:.4}", began.elapsed().as_secs_f64());
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn integer() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut numbers: Vec<u64> = (0..400_000).map(|_| next(&mut state)).collect();
    numbers.sort_unstable();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for _ in 0..8 {
        for number in &numbers {
            hash = (hash ^ number)
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(17);
        }
    }
    black_box(hash);
}

/// Additions, multiplications and divisions of single numbers.
fn floating() {
    let mut sum = 1.0_f64;
    for index in 1..3_000_000_u32 {
        let x = black_box(f64::from(index));
        sum = (sum * 0.999_999 + x) / 1.000_001;
    }
    black_box(sum);
}

/// The mathematical library, which chooses its code by the processor's features.
fn library() {
    let mut sum = 0.0_f64;
    for index in 1..120_000_u32 {
        let x = black_box(f64::from(index) / 1000.0);
        sum += x.sin() * (x / 200.0).exp() + x.ln() + x.powf(1.3);
    }
    black_box(sum);
}

/// A loop that a library has in several forms, and chooses by the processor's features.
fn fused() {
    let (mut sums, factors) = ([0.5_f64; 8], [0.999_f64; 8]);
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("fma") {
        for _ in 0..FUSED_ROUNDS {
            // SAFETY: the processor has the feature.
            unsafe { fused_by_hardware(&mut sums, black_box(&factors)) };
        }
        black_box(sums);
        return;
    }
    for _ in 0..FUSED_ROUNDS {
        for (sum, factor) in sums.iter_mut().zip(black_box(&factors)) {
            *sum = *sum * factor + 1.0;
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx,fma")]
unsafe fn fused_by_hardware(sums: &mut [f64; 8], factors: &[f64; 8]) {
    for (sum, factor) in sums.iter_mut().zip(factors) {
        *sum = sum.mul_add(*factor, 1.0);
    }
}

fn memory() {
    let from = vec![7_u8; 24 * MEBIBYTE];
    let mut to = vec![0_u8; 24 * MEBIBYTE];
    for _ in 0..12 {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
    }
}

fn forget_cached_pages() {
    std::fs::write("/proc/sys/vm/drop_caches", "3").expect("root may");
}

fn disk_write(disk: &mut File) {
    let block = vec![0xa5_u8; MEBIBYTE];
    disk.seek(SeekFrom::Start(0)).expect("a disk");
    for _ in 0..DISK_BYTES / MEBIBYTE {
        disk.write_all(&block).expect("written");
    }
    disk.sync_all().expect("on disk");
}

fn disk_read(disk: &mut File) {
    let mut block = vec![0_u8; MEBIBYTE];
    disk.seek(SeekFrom::Start(0)).expect("a disk");
    for _ in 0..DISK_BYTES / MEBIBYTE {
        disk.read_exact(&mut block).expect("read");
    }
}

fn disk_random(disk: &mut File) {
    let mut block = vec![0_u8; 4096];
    let mut state = 88_172_645_463_325_252;
    for _ in 0..RANDOM_READS {
        let page = next(&mut state) % (DISK_BYTES as u64 / 4096);
        disk.seek(SeekFrom::Start(page * 4096)).expect("a disk");
        disk.read_exact(&mut block).expect("read");
    }
}

fn network() {
    let listener = TcpListener::bind("0.0.0.0:8080").expect("a free port");
    println!("MARK listening 0");
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut block = vec![1_u8; 64 << 10];
    // The host speaks first.
    stream.read_exact(&mut block[..1]).expect("received");
    timed("network", || {
        for _ in 0..NETWORK_BYTES / block.len() {
            stream.write_all(&block).expect("sent");
        }
        let mut left = NETWORK_BYTES;
        while left > 0 {
            let count = stream.read(&mut block).expect("received");
            assert!(count > 0, "the host closed early");
            left -= count;
        }
        stream.write_all(&[1]).expect("sent");
    });
}

fn main() {
    let name = std::env::args().nth(1).unwrap_or_default();
    let compute = |work: fn()| {
        // The first round translates the code; programs that matter run longer than that.
        timed(&name, || (0..4).for_each(|_| work()));
    };
    let disk = |work: fn(&mut File)| {
        let mut disk = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/vda")
            .expect("the disk");
        forget_cached_pages();
        timed(&name, || work(&mut disk));
    };
    match name.as_str() {
        "integer" => compute(integer),
        "floating" => compute(floating),
        "library" => compute(library),
        "fused" => compute(fused),
        "memory" => compute(memory),
        "disk-write" => disk(disk_write),
        "disk-read" => disk(disk_read),
        "disk-random" => disk(disk_random),
        "network" => network(),
        other => panic!("there is no work {other:?}"),
    }
    println!("MARK end 0");
}
