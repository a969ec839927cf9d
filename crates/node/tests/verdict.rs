//! The verdict on the real device of the machine that runs this test.

use std::path::Path;
use std::time::{Duration, Instant};

use host::facts::{Device, device, module_loaded};
use host::kvm::{self, Ending, Guest, Mode};
use node::hardware::{DEVICE, take_verdict};
use qemu::probe::Class;

#[test]
fn a_verdict_is_taken_in_well_under_a_second_and_says_why() {
    let start = Instant::now();
    let verdict = take_verdict(Path::new(DEVICE));
    let elapsed = start.elapsed();
    println!(
        "{} in {elapsed:?}: {}",
        verdict.class.name(),
        verdict.evidence
    );
    assert!(elapsed < Duration::from_millis(900), "{elapsed:?}");
    assert!(!verdict.evidence.is_empty());
    if device(Path::new(DEVICE)) == Device::Missing {
        assert_eq!(verdict.class, Class::DeviceMissing);
    }
}

/// The control: a probe that is content when a guest halts passes on a KVM that runs the guest's
/// kernel in software, while ours refuses. If this fails, ours is no better than that.
#[test]
fn a_guest_that_only_halts_passes_where_the_probe_refuses() {
    if !module_loaded("kvm_pvm") || device(Path::new(DEVICE)) != Device::Usable {
        println!("no software KVM here: nothing to compare");
        return;
    }
    let halt = Guest {
        mode: Mode::Real,
        code: vec![0xf4],
        deadline: Duration::from_millis(500),
    };
    let naive = kvm::run(Path::new(DEVICE), &halt).expect("a guest can be made");
    assert_eq!(naive.ending, Ending::Halted, "the naive probe passes");
    let verdict = take_verdict(Path::new(DEVICE));
    assert_eq!(
        verdict.class,
        Class::GuestKernelEmulated,
        "{}",
        verdict.evidence
    );
}

#[test]
fn something_else_than_kvm_is_refused() {
    assert_eq!(
        take_verdict(Path::new("/dev/nonexistent")).class,
        Class::DeviceMissing
    );
    let other = take_verdict(Path::new("/dev/null"));
    assert!(!other.usable(), "{}", other.evidence);
    assert_eq!(other.class, Class::SetupFailed);
}
