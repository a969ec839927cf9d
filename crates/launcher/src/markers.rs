//! What a starting guest writes, read for the steps that it has reached. Pure.
//!
//! Firmware, kernels and user spaces of all kinds write to the serial line, in any pieces, with
//! escape sequences and noise between. A mark is given when a text has come that nothing else
//! writes; a step without such a text gets none. So a tick is never false, only missing: a kernel
//! with `quiet` says nothing, and its step has no signal.

use api::launcher::milestones;

/// What is kept of a line. The texts that are looked for stand at the beginnings of lines; kernels
/// cut theirs at about 1,000 bytes.
const LINE_BYTES: usize = 256;
/// Linux' last words when its timer did not tick often enough in the tenth of a second that it gives it, in
/// `check_timer` (arch/x86/kernel/apic/io_apic.c). An emulated timer ticks when the host finds time for it: of 60 boots
/// beside four others on two busy processors, three ended there. A guest on KVM does not look.
const NO_TICKS: &str = "Kernel panic - not syncing: IO-APIC + timer doesn't work!";
/// A description of trouble for people: one line.
const TEXT_BYTES: usize = 200;

/// Which line the bytes come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// The serial console, which everybody may use.
    Serial,
    /// The firmware's debug console: whatever comes first on it, the firmware wrote.
    Firmware,
}

/// A step that was reached, or a failure.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mark {
    /// One of [`milestones`].
    pub(crate) name: &'static str,
    /// What the guest wrote, for failures.
    pub(crate) text: Option<String>,
}

/// The steps that a guest's own words tell of, in order.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
enum Step {
    #[default]
    Nothing,
    Firmware,
    Kernel,
    UserSpace,
    Login,
}

impl Step {
    fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Nothing => return None,
            Self::Firmware => milestones::FIRMWARE,
            Self::Kernel => milestones::KERNEL,
            Self::UserSpace => milestones::USER_SPACE,
            Self::Login => milestones::LOGIN,
        })
    }
}

/// Where in an escape sequence (ECMA-48) the line is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Escape {
    #[default]
    None,
    /// ESC has come.
    Begun,
    /// ESC and one of `( ) * + #`: one more byte belongs to it.
    OneMore,
    /// ESC `[`: ends with a byte from `@` to `~`.
    Control,
    /// ESC `]`, `P`, `X`, `^`, `_`: ends with BEL or ESC `\`.
    Text,
    /// ESC within such a text.
    TextEnds,
}

/// Reads one line's bytes as they come, in any pieces.
#[derive(Debug)]
pub(crate) struct Scanner {
    origin: Origin,
    line: Vec<u8>,
    escape: Escape,
    reached: Step,
    /// The firmware's words about the first disk it could not boot from.
    boot_failed: Option<String>,
    /// The firmware has started its own shell.
    in_firmwares_shell: bool,
    /// Failures told already, each once.
    failed: Vec<&'static str>,
    /// Nothing has come since the line's end was looked at for a prompt.
    settled: bool,
}

impl Scanner {
    /// A scanner of a line on which nothing has come yet.
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin,
            line: Vec::with_capacity(LINE_BYTES),
            escape: Escape::None,
            reached: Step::Nothing,
            boot_failed: None,
            in_firmwares_shell: false,
            failed: Vec::new(),
            settled: false,
        }
    }

    /// Nothing more is looked for: somebody can log in, so the start is over.
    pub(crate) fn is_done(&self) -> bool {
        self.reached == Step::Login
    }

    /// Takes in `bytes` and gives the marks in them, in order.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Mark> {
        let mut marks = Vec::new();
        self.settled &= bytes.is_empty();
        if !bytes.is_empty() && self.origin == Origin::Firmware {
            self.step(Step::Firmware, &mut marks);
        }
        for byte in bytes {
            if self.is_done() {
                return marks;
            }
            self.byte(*byte, &mut marks);
        }
        marks
    }

    /// Whether the line ends with what may be the prompt of a shell: if nothing more comes for a
    /// while, [`Scanner::settled`] says that it is one.
    pub(crate) fn may_be_prompt(&self) -> bool {
        let wanted = self.origin == Origin::Serial && !self.settled && !self.is_done();
        wanted && prompt(&self.line).is_some()
    }

    /// Nothing more has come for a while: the line's end is a prompt if it looks like one.
    pub(crate) fn settled(&mut self) -> Vec<Mark> {
        let mut marks = Vec::new();
        let found = prompt(&self.line).filter(|_| self.may_be_prompt());
        self.settled = true;
        match found {
            Some(Prompt::Rescue) => {
                let text = text(&self.line);
                self.fail(milestones::EMERGENCY, &text, &mut marks);
            }
            // Otherwise, or after a kernel, it is something of the guest's own.
            Some(Prompt::Firmware) if self.in_firmwares_shell && self.reached <= Step::Firmware => {
                let shell = text(&self.line);
                self.fail_to_boot(&shell, &mut marks);
            }
            // The shell of an emergency is no place to log in.
            Some(Prompt::Shell) if !self.failed.contains(&milestones::EMERGENCY) => {
                self.step(Step::Login, &mut marks);
            }
            Some(Prompt::Shell | Prompt::Firmware) | None => {}
        }
        marks
    }

    fn byte(&mut self, byte: u8, marks: &mut Vec<Mark>) {
        match (self.escape, byte) {
            (Escape::Text | Escape::TextEnds, b'\x07') | (Escape::TextEnds, b'\\') => {
                self.escape = Escape::None;
            }
            (Escape::Text, 0x1b) => self.escape = Escape::TextEnds,
            // A text that was begun by noise must not swallow what follows.
            (Escape::Text | Escape::TextEnds, b'\n' | b'\r') => {
                self.escape = Escape::None;
                self.end_line(marks);
            }
            (Escape::Text | Escape::TextEnds, _) => self.escape = Escape::Text,
            (_, 0x1b) => self.escape = Escape::Begun,
            (Escape::Begun, b'[') => self.escape = Escape::Control,
            (Escape::Begun, b']' | b'P' | b'X' | b'^' | b'_') => self.escape = Escape::Text,
            (Escape::Begun, b'(' | b')' | b'*' | b'+' | b'#') => self.escape = Escape::OneMore,
            (Escape::Control, b'@'..=b'~') => {
                self.escape = Escape::None;
                // The cursor goes elsewhere, or the screen is cleared: what follows is another line.
                if matches!(byte, b'H' | b'f' | b'J' | b'E' | b'F' | b'd') {
                    self.end_line(marks);
                }
            }
            (_, b'\n' | b'\r') => {
                self.escape = Escape::None;
                self.end_line(marks);
            }
            (Escape::Control, _) => {}
            (Escape::Begun | Escape::OneMore, _) => self.escape = Escape::None,
            (Escape::None, 0..b' ' | 0x7f) => {}
            (Escape::None, _) => {
                if self.line.len() < LINE_BYTES {
                    self.line.push(byte);
                }
                if byte == b':' && self.origin == Origin::Serial && is_login(&self.line) {
                    self.step(Step::Login, marks);
                }
            }
        }
    }

    fn end_line(&mut self, marks: &mut Vec<Mark>) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            let words = String::from_utf8_lossy(&line);
            self.whole_line(&words, marks);
        }
        // Its room is used again.
        self.line = line;
        self.line.clear();
    }

    fn whole_line(&mut self, line: &str, marks: &mut Vec<Mark>) {
        let (words, stamped) = match without_stamp(line) {
            Some(words) => (words, true),
            None => (line.trim_start(), false),
        };
        // systemd shows what programs log as if the kernel had said it.
        let by_program = stamped && is_of_program(words);
        if says_no_boot_disk(words, &mut self.boot_failed) {
            self.fail_to_boot(words, marks);
        }
        if self.origin == Origin::Firmware {
            return;
        }
        if is_firmware(words) {
            self.step(Step::Firmware, marks);
        }
        self.in_firmwares_shell |= words.starts_with("UEFI Interactive Shell ");
        if (stamped && !by_program) || is_kernel(words) {
            self.step(Step::Kernel, marks);
        }
        if words.contains(NO_TICKS) && self.reached <= Step::Kernel {
            // Its next boot's words count anew.
            self.reached = Step::Nothing;
            marks.push(mark_of(milestones::BOOTS_AGAIN, words));
        } else if words.contains("Kernel panic - not syncing") {
            self.fail(milestones::PANIC, words, marks);
        }
        // `Kernel command line: ...`: it may hold any of the words below.
        if words.contains("ommand line:") {
            return;
        }
        if by_program || is_user_space(words) {
            self.step(Step::UserSpace, marks);
        }
        if is_emergency(words) {
            self.fail(milestones::EMERGENCY, words, marks);
        }
    }

    /// A step before the latest one gave no sign in its time, and gets none now.
    fn step(&mut self, step: Step, marks: &mut Vec<Mark>) {
        if step <= self.reached {
            return;
        }
        self.reached = step;
        marks.extend(step.name().map(|name| Mark { name, text: None }));
    }

    fn fail_to_boot(&mut self, words: &str, marks: &mut Vec<Mark>) {
        let text = match self.boot_failed.take() {
            Some(first) => format!("{first}; {words}"),
            None => words.to_owned(),
        };
        self.fail(milestones::NO_BOOT_DISK, &text, marks);
    }

    fn fail(&mut self, name: &'static str, words: &str, marks: &mut Vec<Mark>) {
        if self.failed.contains(&name) {
            return;
        }
        self.failed.push(name);
        marks.push(mark_of(name, words));
    }
}

fn mark_of(name: &'static str, words: &str) -> Mark {
    Mark {
        name,
        text: Some(words.trim().chars().take(TEXT_BYTES).collect()),
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

/// What follows a kernel's time stamp, `[    0.123456] ` or `[    0.123456][    T1] `, if the line
/// begins with one.
fn without_stamp(line: &str) -> Option<&str> {
    let (stamp, mut rest) = line.strip_prefix('[')?.split_once(']')?;
    let (seconds, micros) = stamp.trim_start().split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || micros.len() != 6 || !digits(micros) {
        return None;
    }
    // CONFIG_PRINTK_CALLER: the thread or processor.
    if let Some((caller, after)) = rest.strip_prefix('[').and_then(|it| it.split_once(']')) {
        let number = caller.trim_start().trim_start_matches(['T', 'C']);
        if digits(number) {
            rest = after;
        }
    }
    Some(rest.trim_start())
}

/// Whether a line begins with a program and its process, `cloud-init[302]: `.
fn is_of_program(words: &str) -> bool {
    let Some((name, rest)) = words.split_once('[') else {
        return false;
    };
    let number = rest.split_once("]: ").map(|(number, _)| number);
    let number = number.is_some_and(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit()));
    number && !name.is_empty() && !name.contains(' ')
}

fn is_firmware(words: &str) -> bool {
    ["BdsDxe: ", "UEFI firmware ", "SeaBIOS (version ", "iPXE "]
        .iter()
        .any(|start| words.starts_with(start))
}

/// SeaBIOS and EDK II name each device they tried. At the end SeaBIOS says that there is no more, and so does an
/// EDK II without a shell; one with a shell starts that ([`Prompt::Firmware`]).
fn says_no_boot_disk(words: &str, failed: &mut Option<String>) -> bool {
    if words.starts_with("Boot failed: ") || words.starts_with("BdsDxe: failed to load Boot") {
        failed.get_or_insert_with(|| words.trim_end().to_owned());
    }
    words.starts_with("No bootable device.")
        || words.starts_with("BdsDxe: No bootable option or device was found")
}

/// Texts of the kernel's own loader stand without a time stamp.
fn is_kernel(words: &str) -> bool {
    let version = words
        .split_once("Linux version ")
        .is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()));
    version
        || words.starts_with("Booting Linux on physical CPU")
        || words.starts_with("EFI stub: ")
        || words.starts_with("Decompressing Linux")
        || words.starts_with("Booting the kernel")
}

fn is_user_space(words: &str) -> bool {
    let runs = words.starts_with("Run /") && words.contains(" as init process");
    let welcome = words.starts_with("Welcome to ") && !words.starts_with("Welcome to GRUB");
    runs || welcome
        || words.contains("systemd[1]:")
        || words.contains("cloud-init[")
        || ["Cloud-init v.", "INIT: version ", "OpenRC ", "BusyBox v", "dracut: ", "Begin: "]
            .iter()
            .any(|start| words.starts_with(start))
        // systemd shows units so.
        || words.starts_with("[  OK  ] ")
}

fn is_emergency(words: &str) -> bool {
    [
        "You are in emergency mode",
        "You are in rescue mode",
        "Entering emergency mode",
        "Give root password for maintenance",
        "Press Enter for maintenance",
        // Debian's initramfs.
        "ALERT!  ",
    ]
    .iter()
    .any(|start| words.starts_with(start))
}

/// Whether the line is `login:` or `NAME login:` up to here. `Last login:` is what a session says
/// after the prompt.
fn is_login(line: &[u8]) -> bool {
    let Some(before) = line.strip_suffix(b"login:") else {
        return false;
    };
    let Some(name) = before.strip_suffix(b" ") else {
        return before.is_empty();
    };
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty() && name.iter().all(in_name) && name != b"Last"
}

enum Prompt {
    /// A shell that somebody may use.
    Shell,
    /// The shell of an initramfs that found no root file system.
    Rescue,
    /// EDK II's own, which it starts when nothing else boots, and which has no script to run.
    Firmware,
}

/// What the end of a line would be, if nothing followed it.
fn prompt(line: &[u8]) -> Option<Prompt> {
    let line = std::str::from_utf8(line).ok()?;
    if line == "(initramfs) " {
        return Some(Prompt::Rescue);
    }
    if line == "Shell> " {
        return Some(Prompt::Firmware);
    }
    let before = line.strip_suffix("# ").or(line.strip_suffix("$ "))?;
    // `# `, `~ # `, `root@host:/# `, `bash-5.2# `, `[root@host ~]# `
    let before = before.strip_suffix(' ').unwrap_or(before);
    let bracketed = before.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let words = bracketed.unwrap_or(before).split(' ').count();
    let fits = before.len() <= 64 && words <= if bracketed.is_some() { 2 } else { 1 };
    fits.then_some(Prompt::Shell)
}

#[cfg(test)]
mod tests;
