//! The probe's guest under QEMU's TCG: a processor that is no KVM's, which must pass every stage.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use qemu::probe::guest::image;
use qemu::probe::{END_PORT, Plan, REPORT_PORT, Report, Stage, healthy_report};

/// Runs the guest as a machine's firmware; answers with its report and QEMU's exit code.
fn under_tcg(plan: &Plan, machine: &str, processor: &str) -> (Vec<u8>, Option<i32>) {
    let mut firmware = tempfile::NamedTempFile::new().expect("a file");
    firmware.write_all(&image(plan)).expect("room for 64 KiB");
    #[expect(clippy::disallowed_methods, reason = "a test of what QEMU makes of it")]
    let output = Command::new("qemu-system-x86_64")
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-accel", "tcg", "-m", "16", "-smp", "2", "-no-reboot"])
        .args(["-M", machine, "-cpu", processor])
        .args(["-chardev", "stdio,id=report"])
        .arg("-device")
        .arg(format!(
            "isa-debugcon,iobase={REPORT_PORT:#x},chardev=report"
        ))
        .arg("-device")
        .arg(format!("isa-debug-exit,iobase={END_PORT:#x},iosize=1"))
        .arg("-bios")
        .arg(firmware.path())
        .stdin(Stdio::null())
        .output()
        .expect("QEMU is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("Error"), "{errors}");
    (output.stdout, output.status.code())
}

/// What the guest writes at its end makes QEMU's exit code: twice zero, and one.
const ENDED: Option<i32> = Some(1);

#[test]
fn the_guest_passes_every_stage_under_tcg_on_each_machine() {
    let plan = Plan::with_second_processor();
    for (machine, processor) in [("pc", "max"), ("q35", "max"), ("pc", "qemu64")] {
        let (report, code) = under_tcg(&plan, machine, processor);
        let read: Vec<Report> = report.iter().map(|byte| Report::of(*byte)).collect();
        assert_eq!(
            report,
            healthy_report(&plan),
            "{machine} {processor}: {read:?}"
        );
        assert_eq!(code, ENDED, "{machine} {processor}");
    }
}

/// A stage that is not asked for is not run; so the report tells what really ran.
#[test]
fn only_the_stages_of_the_plan_run() {
    let plan = Plan::new(&[Stage::Loop]);
    let (report, code) = under_tcg(&plan, "pc", "max");
    assert_eq!(report, [0x81, 1, 0x82, 2, 0x83, 3, 0x88, 8]);
    assert_eq!(code, ENDED);
}

/// Keeps every processor busy until dropped.
struct Busy(Arc<AtomicBool>, Vec<std::thread::JoinHandle<()>>);

impl Busy {
    fn all_processors() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = (0..count)
            .map(|_| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        Self(stop, threads)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        for thread in self.1.drain(..) {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_hundred_guests_of_a_hundred_pass_under_tcg_also_on_a_busy_machine() {
    let plan = Plan::whole();
    let expected = (healthy_report(&plan), ENDED);
    for busy in [false, true] {
        let _load = busy.then(Busy::all_processors);
        for run in 0..100 {
            let seen = under_tcg(&plan, "pc", "max");
            assert_eq!(seen, expected, "run {run}, busy {busy}");
        }
    }
}
