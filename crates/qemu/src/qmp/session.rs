//! One conversation with QEMU.

use std::collections::BTreeMap;

use serde_json::Value;

use super::message::{Command, CommandError, Event};
use crate::version::Version;

/// The longest line that is read. QEMU's longest answers to our commands are below 1 KiB; a line
/// without end must not fill our memory.
pub const LARGEST_LINE_BYTES: usize = 1 << 20;
/// So many lines that are no message of QMP are passed over; after that it is not QEMU that talks.
pub const MOST_GARBAGE: u32 = 16;
/// So many commands may wait for their answers; we send one at a time, and one to stop.
const MOST_PENDING: usize = 64;

/// The number that a command and its answer share.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CommandId(u64);

/// What came from QEMU.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// QEMU's greeting. [`Session::send`] of [`Command::Capabilities`] must follow.
    Greeting(Version),
    /// The answer to a command.
    Answer {
        /// Which one.
        id: CommandId,
        /// What it gave.
        result: Result<Value, CommandError>,
    },
    /// Something happened.
    Event(Event),
    /// A line that is no message, or an answer to nothing; its beginning. It was passed over.
    Garbage(String),
}

/// The conversation cannot go on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SessionError {
    /// A line without end.
    #[error("QEMU's monitor sent a line of more than {LARGEST_LINE_BYTES} bytes")]
    LineTooLong,
    /// This is not QEMU.
    #[error("QEMU's monitor sent {MOST_GARBAGE} lines that are no messages")]
    TooMuchGarbage,
    /// QEMU answers nothing.
    #[error("{MOST_PENDING} commands wait for QEMU's answer")]
    TooManyPending,
}

/// The state of a conversation.
#[derive(Debug, Default)]
pub struct Session {
    line: Vec<u8>,
    broken: Option<SessionError>,
    garbage: u32,
    next: u64,
    pending: BTreeMap<CommandId, &'static str>,
}

impl Session {
    /// A conversation that begins with QEMU's greeting.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes that say `command` to QEMU, and the id of the answer to come.
    ///
    /// # Errors
    /// [`SessionError::TooManyPending`], or why the conversation had ended.
    pub fn send(&mut self, command: &Command) -> Result<(CommandId, Vec<u8>), SessionError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        if self.pending.len() >= MOST_PENDING {
            return Err(SessionError::TooManyPending);
        }
        let id = CommandId(self.next);
        self.next += 1;
        let (name, arguments) = command.wire();
        self.pending.insert(id, name);
        let message = serde_json::json!({"execute": name, "arguments": arguments, "id": id.0});
        let mut bytes = message.to_string().into_bytes();
        bytes.push(b'\n');
        Ok((id, bytes))
    }

    /// Takes bytes as they came, whole lines or not, and gives what they mean, in order.
    ///
    /// # Errors
    /// [`SessionError`]; what came before the error is lost, and every later call gives it again.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Vec<Incoming>, SessionError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let mut incoming = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + piece.len() > LARGEST_LINE_BYTES {
                return Err(self.fail(SessionError::LineTooLong));
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let Some(message) = self.understand(line.trim_ascii()) else {
                    continue;
                };
                if matches!(message, Incoming::Garbage(_)) {
                    self.garbage += 1;
                    if self.garbage >= MOST_GARBAGE {
                        return Err(self.fail(SessionError::TooMuchGarbage));
                    }
                }
                incoming.push(message);
            }
        }
        Ok(incoming)
    }

    fn fail(&mut self, error: SessionError) -> SessionError {
        self.line = Vec::new();
        self.broken = Some(error.clone());
        error
    }

    /// `None` for an empty line.
    fn understand(&mut self, line: &[u8]) -> Option<Incoming> {
        if line.is_empty() {
            return None;
        }
        let message = serde_json::from_slice::<Value>(line).ok();
        let known = message.and_then(|message| self.message(&message));
        Some(known.unwrap_or_else(|| {
            let beginning = line.get(..80).unwrap_or(line);
            Incoming::Garbage(String::from_utf8_lossy(beginning).into_owned())
        }))
    }

    fn message(&mut self, message: &Value) -> Option<Incoming> {
        if let Some(greeting) = message.get("QMP") {
            return Some(Incoming::Greeting(version(greeting)?));
        }
        if let Some(name) = message.get("event") {
            let data = message.get("data").unwrap_or(&Value::Null);
            return Some(Incoming::Event(Event::of(name.as_str()?, data)));
        }
        let id = CommandId(message.get("id")?.as_u64()?);
        let result = match (message.get("return"), message.get("error")) {
            (Some(value), None) => Ok(value.clone()),
            (None, Some(error)) => Err(serde_json::from_value(error.clone()).ok()?),
            _ => return None,
        };
        self.pending.remove(&id)?;
        Some(Incoming::Answer { id, result })
    }
}

fn version(greeting: &Value) -> Option<Version> {
    let numbers = greeting.get("version")?.get("qemu")?;
    let number = |key: &str| u32::try_from(numbers.get(key)?.as_u64()?).ok();
    Some(Version {
        major: number("major")?,
        minor: number("minor")?,
        micro: number("micro")?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::{
        BlockError, DiskStatistics, MigrationState, RunState, ShutdownReason, StateFile,
    };
    use super::*;

    /// Recorded from QEMU 7.2.22.
    const GREETING: &[u8] = b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \"package\": \"Debian 1:7.2+dfsg-7+deb12u18+b3\"}, \"capabilities\": [\"oob\"]}}\r\n";

    #[test]
    fn a_recorded_conversation_is_understood_byte_by_byte() {
        let mut session = Session::new();
        let (capabilities, bytes) = session.send(&Command::Capabilities).expect("sent");
        assert_eq!(
            String::from_utf8(bytes).expect("text"),
            "{\"arguments\":{},\"execute\":\"qmp_capabilities\",\"id\":0}\n"
        );
        let (kvm, _) = session.send(&Command::QueryKvm).expect("sent");
        let (status, _) = session.send(&Command::QueryStatus).expect("sent");
        let (client, _) = session
            .send(&Command::AddVncClient {
                name: "v".to_owned(),
            })
            .expect("sent");
        let mut transcript = GREETING.to_vec();
        transcript.extend(
            b"{\"return\": {}, \"id\": 0}\r\n\
              {\"return\": {\"enabled\": false, \"present\": true}, \"id\": 1}\r\n\
              {\"timestamp\": {\"seconds\": 1795373050, \"microseconds\": 824537}, \"event\": \"RESUME\"}\r\n\
              {\"return\": {\"status\": \"running\", \"singlestep\": false, \"running\": true}, \"id\": 2}\r\n\
              {\"id\": 3, \"error\": {\"class\": \"GenericError\", \"desc\": \"File descriptor named 'v' not found\"}}\r\n\
              {\"timestamp\": {\"seconds\": 1795373050, \"microseconds\": 825952}, \"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-shutdown\"}}\r\n",
        );
        let mut incoming = Vec::new();
        for byte in transcript {
            incoming.extend(session.receive(&[byte]).expect("understood"));
        }
        let [
            greeting,
            ready,
            kvm_answer,
            resumed,
            state,
            refused,
            shutdown,
        ] = &incoming[..]
        else {
            panic!("seven messages: {incoming:?}");
        };
        assert_eq!(
            *greeting,
            Incoming::Greeting(Version {
                major: 7,
                minor: 2,
                micro: 22
            })
        );
        assert!(matches!(ready, Incoming::Answer { id, result: Ok(_) } if *id == capabilities));
        match kvm_answer {
            Incoming::Answer {
                id,
                result: Ok(answer),
            } if *id == kvm => {
                assert_eq!(Command::kvm_enabled(answer), Some(false));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(*resumed, Incoming::Event(Event::Resume));
        match state {
            Incoming::Answer {
                id,
                result: Ok(answer),
            } if *id == status => {
                assert_eq!(Command::run_state(answer), Some(RunState::Running));
            }
            other => panic!("{other:?}"),
        }
        match refused {
            Incoming::Answer {
                id,
                result: Err(error),
            } if *id == client => {
                assert_eq!(
                    error.to_string(),
                    "File descriptor named 'v' not found (GenericError)"
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            *shutdown,
            Incoming::Event(Event::Shutdown {
                guest: true,
                reason: ShutdownReason::GuestShutdown
            })
        );
    }

    #[test]
    fn a_full_disk_names_the_device_of_its_path() {
        let line = b"{\"event\": \"BLOCK_IO_ERROR\", \"timestamp\": {}, \"data\": {\"device\": \"\", \"nospace\": true, \"node-name\": \"image1\", \"reason\": \"No space left on device\", \"operation\": \"write\", \"action\": \"stop\", \"qom-path\": \"/machine/peripheral/disk1/virtio-backend\"}}\n";
        let incoming = Session::new().receive(line).expect("understood");
        assert_eq!(
            incoming,
            [Incoming::Event(Event::BlockIoError(BlockError {
                device: "disk1".to_owned(),
                write: true,
                stopped: true,
                no_space: true,
                reason: "No space left on device".to_owned(),
            }))]
        );
    }

    #[test]
    fn a_port_that_the_guest_opens_is_told_by_the_devices_name() {
        let line = b"{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"VSERPORT_CHANGE\", \"data\": {\"open\": true, \"id\": \"agent0\"}}\n";
        let incoming = Session::new().receive(line).expect("understood");
        assert_eq!(
            incoming,
            [Incoming::Event(Event::PortChange {
                id: "agent0".to_owned(),
                open: true,
            })]
        );
    }

    #[test]
    fn migrations_tell_how_far_they_are() {
        for (status, state) in [
            ("setup", MigrationState::UnderWay),
            ("active", MigrationState::UnderWay),
            ("completed", MigrationState::Completed),
            ("failed", MigrationState::Failed),
            ("cancelling", MigrationState::UnderWay),
            ("cancelled", MigrationState::Failed),
            ("of-tomorrow", MigrationState::UnderWay),
        ] {
            let line = format!(
                "{{\"timestamp\": {{\"seconds\": 1, \"microseconds\": 2}}, \"event\": \"MIGRATION\", \"data\": {{\"status\": \"{status}\"}}}}\n"
            );
            let incoming = Session::new().receive(line.as_bytes()).expect("understood");
            assert_eq!(
                incoming,
                [Incoming::Event(Event::Migration(state))],
                "{status}"
            );
        }
        let answer = serde_json::json!({"status": "failed", "error-desc": "Length mismatch"});
        assert_eq!(Command::migration_failure(&answer), Some("Length mismatch"));
        assert_eq!(Command::migration_failure(&serde_json::json!({})), None);
    }

    #[test]
    fn states_are_named_as_each_version_wants_them() {
        let sent = |command| {
            let (_, bytes) = Session::new().send(&command).expect("sent");
            let message: Value = serde_json::from_slice(&bytes).expect("JSON");
            (
                message["execute"].clone(),
                message["arguments"]["uri"].clone(),
            )
        };
        let old = StateFile::Descriptor("state".to_owned());
        assert_eq!(
            sent(Command::Migrate(old)),
            ("migrate".into(), "fd:state".into())
        );
        let new = StateFile::Set(7);
        assert_eq!(
            sent(Command::MigrateIncoming(new)),
            ("migrate-incoming".into(), "file:/dev/fdset/7".into())
        );
    }

    #[test]
    fn what_all_disks_did_is_one_sum() {
        // Cut down from QEMU 7.2.22.
        let answer = serde_json::json!([
            {"device": "", "node-name": "disk0", "qdev": "/machine/peripheral/disk0/virtio-backend",
             "stats": {"rd_operations": 120, "wr_operations": 7, "flush_operations": 2, "rd_bytes": 9}},
            {"device": "", "stats": {"rd_operations": 1}},
        ]);
        assert_eq!(Command::block_operations(&answer), Some(130));
        assert_eq!(Command::block_operations(&serde_json::json!([])), Some(0));
        assert_eq!(Command::block_operations(&serde_json::json!({})), None);
    }

    #[test]
    fn disks_are_told_apart_by_their_numbers_and_half_an_answer_counts_nothing() {
        let stats = |reads: u64| {
            serde_json::json!({"rd_operations": reads, "rd_bytes": 2, "rd_total_time_ns": 3,
                "wr_operations": 4, "wr_bytes": 5, "wr_total_time_ns": 6,
                "flush_operations": 7, "flush_total_time_ns": 8, "unmap_bytes": 9})
        };
        let answer = serde_json::json!([
            {"device": "", "node-name": "image0", "qdev": "/machine/peripheral/disk0/virtio-backend", "stats": stats(1)},
            {"device": "", "node-name": "image10", "qdev": "/machine/peripheral/disk10", "stats": stats(11)},
            {"device": "", "qdev": "/machine/peripheral/disk2", "stats": {"rd_operations": 1}},
            {"device": "floppy0", "qdev": "/machine/unattached/device[20]", "stats": stats(1)},
            {"device": "", "stats": stats(1)},
        ]);
        let disks = Command::disk_statistics(&answer).expect("an answer");
        let of_first = DiskStatistics {
            reads: 1,
            read_bytes: 2,
            read_nanoseconds: 3,
            writes: 4,
            written_bytes: 5,
            write_nanoseconds: 6,
            flushes: 7,
            flush_nanoseconds: 8,
        };
        let of_last = DiskStatistics {
            reads: 11,
            ..of_first
        };
        assert_eq!(disks, [(0, of_first), (10, of_last)].into());
        assert_eq!(Command::disk_statistics(&serde_json::json!({})), None);
    }

    #[test]
    fn a_line_without_end_ends_the_session_and_frees_its_memory() {
        let mut session = Session::new();
        let half = vec![b'x'; LARGEST_LINE_BYTES / 2 + 1];
        assert_eq!(session.receive(&half), Ok(vec![]));
        assert_eq!(session.receive(&half), Err(SessionError::LineTooLong));
        assert_eq!(session.line.capacity(), 0);
        assert_eq!(session.receive(GREETING), Err(SessionError::LineTooLong));
        assert_eq!(session.send(&Command::Quit), Err(SessionError::LineTooLong));
    }

    #[test]
    fn some_garbage_is_passed_over_and_much_is_not() {
        let mut session = Session::new();
        let deep = "[".repeat(100_000);
        for line in [
            "nonsense",
            "\u{feff}{}",
            "{\"return\": 1, \"id\": 7}",
            "[1]",
            "null",
            &deep,
        ] {
            let incoming = session
                .receive(format!("{line}\n").as_bytes())
                .expect("passed over");
            assert!(
                matches!(&incoming[..], [Incoming::Garbage(text)] if text.len() <= 80),
                "{line}"
            );
        }
        assert_eq!(session.receive(b"\n\r\n"), Ok(vec![]));
        assert_eq!(
            session.receive(&b"\xff\n".repeat(16)),
            Err(SessionError::TooMuchGarbage)
        );
    }

    #[test]
    fn commands_without_answers_are_bounded() {
        let mut session = Session::new();
        for _ in 0..MOST_PENDING {
            session.send(&Command::QueryStatus).expect("sent");
        }
        assert_eq!(
            session.send(&Command::QueryStatus),
            Err(SessionError::TooManyPending)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_pieces_do_not_matter(
            bytes in proptest::collection::vec(prop_oneof![
                Just(b'\n'), Just(b'{'), Just(b'"'), Just(b'}'), any::<u8>()
            ], 0..400),
            cut in 0_usize..400,
        ) {
            let cut = cut.min(bytes.len());
            let whole = Session::new().receive(&bytes);
            let mut session = Session::new();
            let first = session.receive(&bytes[..cut]);
            let second = session.receive(&bytes[cut..]);
            match whole {
                Ok(whole) => prop_assert_eq!(whole, [first.expect("no error"), second.expect("no error")].concat()),
                Err(error) => prop_assert_eq!(second, Err(error)),
            }
        }

        #[test]
        fn texts_of_commands_come_back_as_they_were(name in ".*") {
            let (_, bytes) = Session::new().send(&Command::TakeDescriptor { name: name.clone() }).expect("sent");
            let message: Value = serde_json::from_slice(&bytes).expect("JSON");
            prop_assert_eq!(message["arguments"]["fdname"].as_str(), Some(&name[..]));
            prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }
}
