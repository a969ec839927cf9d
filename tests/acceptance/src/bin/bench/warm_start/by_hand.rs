//! The same guests with plain QEMU: booted once, and restored as often as one likes.

use super::PATIENCE_FOR_A_BOOT;
use acceptance::run;
use laboratory::bare::{Bare, Kept, Shape};
use laboratory::guests;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A guest that takes less than this part of a processor has nothing to do any more.
const IDLE: f64 = 0.1;
const LOOK: Duration = Duration::from_secs(2);

/// A guest that was booted by hand and kept.
pub(super) struct ByHand {
    kept: Kept,
    /// Its disk, over which each clone gets one of its own.
    disk: Option<PathBuf>,
    /// From QEMU's start to the login prompt, in ms.
    pub(super) cold: f64,
}

impl ByHand {
    /// The small guest.
    pub(super) fn small(files: &guests::SmallGuest, cache: &Path) -> std::io::Result<Self> {
        let recipe = format!("{files:?}");
        Self::kept(&cache.join("by-hand-small"), &recipe, |_| {
            Ok((Shape::small(files, 128), None))
        })
    }

    /// The Debian guest.
    pub(super) fn debian(disk: &Path, cache: &Path) -> std::io::Result<Self> {
        let recipe = disk.display().to_string();
        Self::kept(&cache.join("by-hand"), &recipe, |folder| {
            let own = folder.join("disk.qcow2");
            if !own.exists() {
                overlay(&own, disk)?;
            }
            Ok((debian_shape(&own), Some(own)))
        })
    }

    /// One that an earlier run has kept in `folder`, if it was made by this `recipe` and this QEMU; else it is booted
    /// now. `guest` gives its shape and its disk, which is made if it is not there.
    fn kept(
        folder: &Path,
        recipe: &str,
        guest: impl FnOnce(&Path) -> std::io::Result<(Shape, Option<PathBuf>)>,
    ) -> std::io::Result<Self> {
        let version = run(Path::new("qemu-system-x86_64"), &["--version"], &[]).out;
        let recipe = format!("{recipe}\n{version}");
        let noted = folder.join("recipe");
        if let Ok(text) = std::fs::read_to_string(&noted)
            && let Some(cold) = text.strip_prefix(&recipe)
        {
            let cold = cold.trim().parse().map_err(std::io::Error::other)?;
            let (shape, disk) = guest(folder)?;
            let (memory, state) = (folder.join("memory"), folder.join("state"));
            let kept = Kept {
                shape,
                memory,
                state,
            };
            return Ok(Self { kept, disk, cold });
        }
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        let (shape, disk) = guest(folder)?;
        let made = Self::boot(shape, disk, folder)?;
        // Noted last: what is cut short is made again.
        std::fs::write(noted, format!("{recipe}{}", made.cold))?;
        Ok(made)
    }

    fn boot(shape: Shape, disk: Option<PathBuf>, folder: &Path) -> std::io::Result<Self> {
        let began = Instant::now();
        let mut machine = Bare::boot(&shape, &folder.join("memory"), PATIENCE_FOR_A_BOOT)?;
        machine.wait_for("login:", PATIENCE_FOR_A_BOOT)?;
        let cold = began.elapsed().as_secs_f64() * 1000.0;
        let until = Instant::now() + PATIENCE_FOR_A_BOOT;
        while used(machine.process(), LOOK) > IDLE {
            if Instant::now() > until {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
        }
        let kept = machine.keep(&folder.join("state"), PATIENCE_FOR_A_BOOT)?;
        Ok(Self { kept, disk, cold })
    }

    /// From QEMU's start to the answer of a clone on its serial line, in ms.
    pub(super) fn restore(&self) -> std::io::Result<f64> {
        let folder = tempfile::tempdir()?;
        let mut kept = self.kept.clone();
        let began = Instant::now();
        if let Some(disk) = &self.disk {
            let own = folder.path().join("disk.qcow2");
            overlay(&own, disk)?;
            kept.shape = debian_shape(&own);
        }
        let mut machine = Bare::restore(&kept, PATIENCE_FOR_A_BOOT)?;
        machine.type_in("\r")?;
        machine.wait_for("login:", PATIENCE_FOR_A_BOOT)?;
        Ok(began.elapsed().as_secs_f64() * 1000.0)
    }
}

fn debian_shape(disk: &Path) -> Shape {
    Shape {
        mebibytes: 512,
        arguments: [
            "-drive",
            &format!("file={},if=virtio,format=qcow2", disk.display()),
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}

fn overlay(new: &Path, base: &Path) -> std::io::Result<()> {
    let (new, base) = (new.to_string_lossy(), base.to_string_lossy());
    let arguments = [
        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &base, &new,
    ];
    let said = run(Path::new("qemu-img"), &arguments, &[]);
    match said.success {
        true => Ok(()),
        false => Err(std::io::Error::other(said.err)),
    }
}

/// The part of a processor that a process uses during `time`.
fn used(process: u32, time: Duration) -> f64 {
    let ticks = || -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let rest = stat.rsplit(") ").next().unwrap_or_default();
        let number = |field: usize| -> f64 {
            let field = rest.split(' ').nth(field);
            field.and_then(|text| text.parse().ok()).unwrap_or_default()
        };
        // utime and stime; `state` is the first of the rest.
        number(11) + number(12)
    };
    let before = ticks();
    std::thread::sleep(time);
    let each = rustix::param::clock_ticks_per_second() as f64;
    (ticks() - before) / each / time.as_secs_f64()
}
