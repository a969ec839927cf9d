//! Rounds of suspend and resume, snapshot and restore, and fork, with a guest that counts, writes and verifies all the
//! time; and a server that is killed in between.

use crate::warm::{BOOT, SCRATCH, Stage, ask, files_below, qemu_of};
use crate::{Console, PATIENCE, wait_for};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The guest's work: it writes a block to its disk, reads an older one past its cache, compares it with the sum that it
/// has in memory, and counts. Memory and disk of different instants do not agree for long.
const WORK: &str = r#"n=0; while :; do n=$((n+1)); b=$((n%64)); dd if=/dev/urandom of=/tmp/block bs=4k count=8 2>/dev/null; md5sum < /tmp/block > /tmp/sum.$b; dd if=/tmp/block of=/dev/vda bs=4k seek=$((b*8)) conv=fsync,notrunc 2>/dev/null; o=$((n*7%64)); echo 1 > /proc/sys/vm/drop_caches; if [ -f /tmp/sum.$o ] && [ "$(dd if=/dev/vda bs=4k skip=$((o*8)) count=8 2>/dev/null | md5sum)" != "$(cat /tmp/sum.$o)" ]; then echo "block $o in round $n" >> /tmp/bad; fi; echo $n > /tmp/count.new; mv /tmp/count.new /tmp/count; sleep 0.1; done"#;

/// The machine's name.
const MACHINE: &str = "tortured";
/// So far may a guest's clock be from ours: it counts in seconds, and a busy host answers late.
const CLOCK: u64 = 3;

/// What a round does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Round {
    /// It is suspended, and resumed.
    Suspend,
    /// The same, and the server is killed once that was asked.
    SuspendAndKill,
    /// It is restored to the instant of a snapshot.
    Restore,
    /// It goes on, and so does another one.
    Fork,
}

impl Round {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Suspend,
        Self::SuspendAndKill,
        Self::Restore,
        Self::Fork,
    ];
}

/// What a guest says of itself.
#[derive(Clone, Debug)]
struct Seen {
    count: u64,
    boot_id: String,
    machine_id: String,
}

/// The machine, at work.
struct Tortured {
    stage: Stage,
}

impl Tortured {
    fn begin() -> Self {
        let stage = Stage::warm();
        stage.server.apply(&stage.manifest(MACHINE, &[SCRATCH]));
        stage.runs_from_a_template(MACHINE);
        let this = Self { stage };
        let mut shell = this.shell(MACHINE);
        ask(&mut shell, &format!("({WORK}) > /dev/null 2>&1 & true"));
        drop(shell);
        wait_for("the guest's work", PATIENCE, || {
            let seen = this.look(MACHINE);
            (seen.count > 0).then_some(()).ok_or(format!("{seen:?}"))
        });
        this
    }

    /// A shell of the guest, whether somebody is logged in or not.
    fn shell(&self, name: &str) -> Console {
        let mut console = Console::attach(&self.stage.server, name);
        console.send("\n");
        if console.expect_one_of(&["# ", "login:"], PATIENCE).0 == 1 {
            console.send("root\n");
            console.expect("# ", PATIENCE);
        }
        console
    }

    /// Asks the guest how it is. All that it has verified was as it should be, and its clock is right.
    fn look(&self, name: &str) -> Seen {
        let mut shell = self.shell(name);
        let mut ask = |command: &str| ask(&mut shell, command);
        let before = seconds_now();
        let clock: u64 = ask("date +%s").parse().expect("seconds");
        let after = seconds_now();
        assert!(
            (before - CLOCK..=after + CLOCK).contains(&clock),
            "the guest's clock shows {clock}, it is {before} to {after}"
        );
        let bad = ask("tail -n 1 /tmp/bad 2>/dev/null");
        assert_eq!(bad, "", "its memory and its disk are of one instant");
        let count = ask("cat /tmp/count 2>/dev/null || echo 0");
        Seen {
            count: count.parse().expect("a number"),
            boot_id: ask("cat /proc/sys/kernel/random/boot_id"),
            machine_id: ask("cat /etc/machine-id"),
        }
    }

    /// Runs anyvirt; it has to succeed.
    fn anyvirt(&self, words: &[&str]) {
        let said = self.stage.server.anyvirt(words);
        let log = || crate::tail(&self.stage.server.log());
        assert!(
            said.success,
            "anyvirt {words:?}: {}{}\n{}",
            said.out,
            said.err,
            log()
        );
    }

    /// The guest goes on from where it was, and works.
    fn goes_on(&self, before: &Seen) {
        let first = self.look(MACHINE);
        assert_eq!(first.boot_id, before.boot_id, "it has not booted");
        assert!(first.count >= before.count, "{first:?} after {before:?}");
        wait_for("the guest to work on", PATIENCE, || {
            let seen = self.look(MACHINE);
            (seen.count > first.count + 1)
                .then_some(())
                .ok_or(format!("{seen:?}"))
        });
    }

    /// Kills the server, whatever it does just then, and starts it again.
    fn kill_at_any_moment(&mut self, random: &mut StdRng) {
        // Not until something is there, but at a moment that nobody chose.
        std::thread::sleep(Duration::from_millis(random.random_range(0..1500)));
        self.stage.server.kill();
        self.stage.server.up();
    }

    fn suspended(&self) {
        let status = "/status/printableStatus";
        self.stage
            .server
            .wait_until("vm", MACHINE, status, "Suspended", BOOT);
        wait_for("no QEMU of it", PATIENCE, || {
            let left = qemu_of(&self.stage.server);
            left.is_empty().then_some(()).ok_or(format!("{left:?}"))
        });
    }

    fn round(&mut self, round: Round, number: usize, random: &mut StdRng) {
        let before = self.look(MACHINE);
        match round {
            Round::Suspend => {
                self.anyvirt(&["suspend", MACHINE]);
                self.suspended();
                self.anyvirt(&["resume", MACHINE]);
                self.goes_on(&before);
            }
            Round::SuspendAndKill => {
                self.anyvirt(&["suspend", MACHINE, "--no-wait"]);
                self.kill_at_any_moment(random);
                self.suspended();
                self.anyvirt(&["resume", MACHINE, "--no-wait"]);
                self.kill_at_any_moment(random);
                let status = "/status/printableStatus";
                self.stage
                    .server
                    .wait_until("vm", MACHINE, status, "Running", BOOT);
                self.goes_on(&before);
            }
            Round::Restore => {
                let snapshot = format!("snapshot-{number}");
                self.anyvirt(&["snapshot", MACHINE, "--memory", "--name", &snapshot]);
                ask(&mut self.shell(MACHINE), "touch /tmp/after");
                self.anyvirt(&["restore", MACHINE, "--snapshot", &snapshot, "--stop"]);
                self.stage
                    .server
                    .wait_until("vmi", MACHINE, "/status/phase", "Running", BOOT);
                let after = ask(&mut self.shell(MACHINE), "ls /tmp/after 2>/dev/null");
                assert_eq!(after, "", "what came after the snapshot is not there");
                self.goes_on(&before);
                self.stage
                    .server
                    .kubectl(&["delete", "vmsnapshot", &snapshot]);
                self.stage.server.kubectl(&["delete", "vmrestore", "--all"]);
            }
            Round::Fork => {
                let name = format!("fork-{number}");
                self.anyvirt(&[
                    "fork",
                    MACHINE,
                    "--count",
                    "1",
                    "--name-prefix",
                    &format!("{name}-"),
                ]);
                let forks = self.stage.server.kubectl(&["get", "vm", "-o", "name"]);
                let fork = forks.lines().find_map(|line| {
                    let found = line.rsplit('/').next()?;
                    found.starts_with(&name).then(|| found.to_owned())
                });
                let fork = fork.expect("the fork");
                self.stage
                    .server
                    .wait_until("vmi", &fork, "/status/phase", "Running", BOOT);
                let other = self.look(&fork);
                assert_ne!(other.boot_id, before.boot_id);
                assert_ne!(other.machine_id, before.machine_id);
                assert!(other.count >= before.count, "{other:?} after {before:?}");
                self.goes_on(&before);
                self.stage.server.kubectl(&["delete", "vm", &fork]);
                wait_for("one QEMU", PATIENCE, || {
                    let left = qemu_of(&self.stage.server);
                    (left.len() == 1).then_some(()).ok_or(format!("{left:?}"))
                });
            }
        }
    }

    /// No file of any round is left.
    fn leaves_nothing(&self) {
        let saved = self.stage.server.data_directory().join("saved");
        wait_for("nothing saved is left", PATIENCE, || {
            let left = files_below(&saved);
            left.is_empty().then_some(()).ok_or(format!("{left:?}"))
        });
    }
}

fn seconds_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a clock after 1970").as_secs()
}

/// What a machine went through: by kind of round, how many milliseconds each took.
pub type Told = BTreeMap<Round, Vec<u128>>;

/// Tortures a machine for so many rounds, whose kinds `seed` decides after one of each; `tell` hears of each.
///
/// # Panics
/// As soon as something is not as it should be, in words.
pub fn torture(seed: u64, rounds: usize, mut tell: impl FnMut(usize, Round, Duration)) -> Told {
    let mut random = StdRng::seed_from_u64(seed);
    let mut machine = Tortured::begin();
    let mut told = Told::new();
    for number in 0..rounds {
        let first = Round::ALL.get(number).copied();
        let round = first.or_else(|| Round::ALL.choose(&mut random).copied());
        let round = round.expect("there are some");
        let began = Instant::now();
        machine.round(round, number, &mut random);
        machine.leaves_nothing();
        tell(number, round, began.elapsed());
        told.entry(round)
            .or_default()
            .push(began.elapsed().as_millis());
    }
    told
}
