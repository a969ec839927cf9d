//! Coming to rest before the machine is kept.

use super::afterwards::{cloud_init_is_here, output_of};
use super::renew::{Known, Mode, as_it_is, renew};
use super::{Failed, cards, failed, host_keys, sys};
use crate::protocol::Step;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// An emulated Debian is up after some ninety seconds, on a busy host after some minutes. The host has its own bound.
const LONGEST: Duration = Duration::from_secs(900);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is written at the end of a boot comes to the disks in this time; one look at the clock of a busy guest.
const LULL: Duration = Duration::from_millis(300);

/// cloud-init is told to leave the keys alone that the machine was just given; it still makes kinds that are missing.
const KEEP_KEYS: &str = "# Written by anyvirt-renew when others were to go on from this machine: host keys are renewed\n\
    # in each of them, before cloud-init runs again there.\nssh_deletekeys: false\n";
const KEEP_KEYS_FILE: &str = "/etc/cloud/cloud.cfg.d/99-anyvirt-renewal.cfg";

/// Waits until the machine's start is over, tries out each step of a renewal, and writes everything to the disks.
/// Gives what is to be told of it, and what was found out.
pub(super) fn settle() -> Result<(String, Known), Failed> {
    let until = Instant::now() + LONGEST;
    let mut about = Vec::new();
    if Path::new("/run/systemd/system").is_dir() {
        about.push(format!("systemd is {}", wait_for_systemd(until)?));
    }
    if cloud_init_is_here() {
        about.push(format!("cloud-init {}", wait_for_cloud_init(until)?));
        if Path::new(KEEP_KEYS_FILE).parent().is_some_and(Path::is_dir) {
            std::fs::write(KEEP_KEYS_FILE, KEEP_KEYS)
                .map_err(failed(Step::Settle, KEEP_KEYS_FILE))?;
        }
    }
    let control = sys::CardControl::open().map_err(failed(Step::Cards, "a socket"))?;
    let cards = cards::all(&control).map_err(failed(Step::Cards, "/sys/class/net"))?;
    renew(&as_it_is(&cards)?, Mode::Rehearsal, None)?;
    sys::write_all_to_disks();
    sleep(LULL);
    sys::write_all_to_disks();
    if about.is_empty() {
        about.push("nothing to wait for".to_owned());
    }
    // Last, so that as little as can be happens between this and the end of it all.
    let server = host_keys::server_now(Path::new("/"));
    let known = Known {
        cards,
        server: (Instant::now(), server),
    };
    Ok((about.join(", "), known))
}

/// Waits until systemd has no more to start; gives its word for how it went.
fn wait_for_systemd(until: Instant) -> Result<String, Failed> {
    loop {
        let state = output_of("systemctl", &["is-system-running"])
            .map_err(failed(Step::Settle, "systemctl"))?;
        match state.trim() {
            "initializing" | "starting" if Instant::now() < until => sleep(LOOK_EVERY),
            state @ ("initializing" | "starting") => {
                return Err(Failed {
                    step: Step::Settle,
                    message: format!("systemd is still {state} after {} s", LONGEST.as_secs()),
                });
            }
            state => return Ok(state.to_owned()),
        }
    }
}

/// Waits for cloud-init's result; gives how it stands.
fn wait_for_cloud_init(until: Instant) -> Result<&'static str, Failed> {
    loop {
        if Path::new("/run/cloud-init/disabled").exists()
            || Path::new("/etc/cloud/cloud-init.disabled").exists()
        {
            return Ok("does not run");
        }
        if Path::new("/run/cloud-init/result.json").exists() {
            return Ok("is done");
        }
        if !Path::new("/run/cloud-init").exists() {
            return Ok("was not started");
        }
        if Instant::now() >= until {
            return Err(Failed {
                step: Step::Settle,
                message: format!("cloud-init still runs after {} s", LONGEST.as_secs()),
            });
        }
        sleep(LOOK_EVERY);
    }
}
