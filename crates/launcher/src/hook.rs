//! Puts the program that renews a guest into one whose image has none, through the guest agent.
//!
//! The program is written to a file in the guest's memory, started so that it outlives the agent, and its file removed:
//! from then on it is in the guest's memory alone, and so in the template that is made of it. A guest that starts anew
//! does not have it any more, and is not renewed any more either.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

/// Bytes of the program in one message: the agent reads 4 KiB at a time and holds a whole message in memory.
const PIECE: usize = 48 << 10;
/// Bytes of an answer: the list of commands has some five thousand.
const LONGEST_ANSWER: usize = 64 << 10;
/// Between two looks whether the program has been started.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Tells the answer to this beginning from those to whatever was asked before.
const BEGINNING: u64 = 0x616e_7976;
/// What the agent must do for this.
const COMMANDS: [&str; 5] = [
    "guest-file-open",
    "guest-file-write",
    "guest-file-close",
    "guest-exec",
    "guest-exec-status",
];
/// Folders in memory. One of them permits programs to be started from it, as a rule the first.
const FOLDERS: [&str; 3] = ["/dev/shm", "/run", "/tmp"];
const FILE: &str = ".anyvirt-renew-program";

/// Starts the program `$1` so that it lives on when the agent is restarted, and removes it. systemd before version 240
/// cannot say when a program has begun to run: there it gets a moment before its file goes.
const START: &str = r#"
chmod 700 "$1" || exit 1
if [ -d /run/systemd/system ] && command -v systemd-run > /dev/null; then
  run="systemd-run --quiet --collect --unit=anyvirt-renew"
  $run --property=Type=exec "$1" || { $run "$1" && sleep 2; }
else
  "$1" --detach
fi
ended=$?
rm -f "$1"
exit $ended
"#;

/// Why the program could not be put into the guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// No agent, or one that hangs.
    #[error("the guest agent has not answered {command} within {} s", within.as_secs())]
    Silent {
        /// What it was asked.
        command: &'static str,
        /// For how long it was waited.
        within: Duration,
    },
    /// The channel is gone, and the guest with it.
    #[error("the guest agent's channel is closed: {0}")]
    Closed(#[from] io::Error),
    /// The guest's owner has switched something off.
    #[error("the guest agent's command {0} is disabled in the guest")]
    Disabled(&'static str),
    /// The agent is too old for something.
    #[error("the guest agent does not know the command {0}")]
    Unknown(&'static str),
    /// The agent did not do what it was told.
    #[error("the guest agent refused {command}: {said}")]
    Refused {
        /// What it was told.
        command: &'static str,
        /// Its words.
        said: String,
    },
    /// The program was written but did not start.
    #[error("the program that renews the guest did not start in it: {0}")]
    NotStarted(String),
}

/// Puts `program` into the guest over the agent's `channel`, and starts it there; it then opens a port of its own.
/// Waits for each answer no longer than `each`.
pub(crate) async fn place<C: AsyncRead + AsyncWrite + Unpin>(
    channel: &mut C,
    program: &[u8],
    each: Duration,
) -> Result<(), PlaceError> {
    let mut agent = Agent {
        channel,
        each,
        rest: Vec::new(),
    };
    agent.begin().await?;
    let info = agent.ask("guest-info", None).await?;
    is_able(&info)?;
    let mut last = PlaceError::NotStarted("no folder permits it".to_owned());
    for folder in FOLDERS {
        let file = format!("{folder}/{FILE}");
        match agent.try_place(&file, program).await {
            Ok(()) => return Ok(()),
            // A folder that is not there, is read-only or permits no programs: perhaps the next one is better.
            Err(error @ (PlaceError::Refused { .. } | PlaceError::NotStarted(_))) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Tells the guest what time it is, over the agent's `channel`. Waits for each answer no longer than `each`.
pub(crate) async fn set_clock<C: AsyncRead + AsyncWrite + Unpin>(
    channel: &mut C,
    each: Duration,
) -> Result<(), PlaceError> {
    let mut agent = Agent {
        channel,
        each,
        rest: Vec::new(),
    };
    agent.begin().await?;
    // What the agent has waited for is over: it is asked at once.
    let nanoseconds = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    let time = json!({"time": nanoseconds});
    agent.ask("guest-set-time", Some(time)).await.map(drop)
}

/// Err: the command that is missing.
fn is_able(info: &Value) -> Result<(), PlaceError> {
    let known = info.get("supported_commands").and_then(Value::as_array);
    for name in COMMANDS {
        let command = known
            .into_iter()
            .flatten()
            .find(|command| command.get("name").and_then(Value::as_str) == Some(name));
        match command.map(|command| command.get("enabled") == Some(&Value::Bool(true))) {
            Some(true) => {}
            Some(false) => return Err(PlaceError::Disabled(name)),
            None => return Err(PlaceError::Unknown(name)),
        }
    }
    Ok(())
}

/// The agent, asked one thing after the other.
struct Agent<'a, C> {
    channel: &'a mut C,
    each: Duration,
    /// What came after the latest answer.
    rest: Vec<u8>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Agent<'_, C> {
    /// Makes sure that the next answer belongs to the next question.
    async fn begin(&mut self) -> Result<(), PlaceError> {
        let command = "guest-sync";
        let question = json!({"execute": command, "arguments": {"id": BEGINNING}});
        let each = self.each;
        let begun = async {
            self.say(&question).await?;
            loop {
                let answer = self.line().await?;
                if answer.get("return").and_then(Value::as_u64) == Some(BEGINNING) {
                    return Ok(());
                }
            }
        };
        let silent = PlaceError::Silent {
            command,
            within: each,
        };
        timeout(each, begun).await.unwrap_or(Err(silent))
    }

    /// Asks, and gives what is returned.
    async fn ask(
        &mut self,
        command: &'static str,
        arguments: Option<Value>,
    ) -> Result<Value, PlaceError> {
        let mut question = json!({"execute": command});
        if let Some(arguments) = arguments {
            question["arguments"] = arguments;
        }
        let each = self.each;
        let asked = async {
            self.say(&question).await?;
            self.line().await
        };
        let silent = PlaceError::Silent {
            command,
            within: each,
        };
        let mut answer = timeout(each, asked).await.unwrap_or(Err(silent))?;
        if let Some(value) = answer.get_mut("return") {
            return Ok(value.take());
        }
        let class = answer.pointer("/error/class").and_then(Value::as_str);
        let said = answer.pointer("/error/desc").and_then(Value::as_str);
        let said = said.unwrap_or("neither an answer nor an error");
        Err(match class {
            // Both are told so by agents that have the command.
            Some("CommandNotFound") if said.contains("disabled") => PlaceError::Disabled(command),
            Some("CommandNotFound") => PlaceError::Unknown(command),
            _ => PlaceError::Refused {
                command,
                said: readable(said),
            },
        })
    }

    async fn say(&mut self, question: &Value) -> Result<(), PlaceError> {
        self.channel
            .write_all(format!("{question}\n").as_bytes())
            .await?;
        Ok(self.channel.flush().await?)
    }

    /// The next line that is an object of JSON; others are no answers.
    async fn line(&mut self) -> Result<Value, PlaceError> {
        let mut buffer = [0; 4096];
        loop {
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                // An agent that was just started may put 0xff before its first answer.
                let start = line.iter().position(|byte| *byte != 0xff).unwrap_or(0);
                if let Ok(answer @ Value::Object(_)) = serde_json::from_slice(&line[start..]) {
                    return Ok(answer);
                }
            }
            if self.rest.len() > LONGEST_ANSWER {
                // Nothing that was asked here is answered at such length.
                self.rest.clear();
            }
            match self.channel.read(&mut buffer).await? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => self.rest.extend_from_slice(&buffer[..count]),
            }
        }
    }

    async fn try_place(&mut self, file: &str, program: &[u8]) -> Result<(), PlaceError> {
        let opened = json!({"path": file, "mode": "wb"});
        let handle = self.ask("guest-file-open", Some(opened)).await?;
        for piece in program.chunks(PIECE) {
            let arguments = json!({"handle": handle, "buf-b64": STANDARD.encode(piece)});
            let written = self.ask("guest-file-write", Some(arguments)).await?;
            if written.get("count").and_then(Value::as_u64) != Some(piece.len() as u64) {
                return Err(PlaceError::Refused {
                    command: "guest-file-write",
                    said: format!("{} bytes were to be written: {written}", piece.len()),
                });
            }
        }
        self.ask("guest-file-close", Some(json!({"handle": handle})))
            .await?;
        self.start(file).await
    }

    async fn start(&mut self, file: &str) -> Result<(), PlaceError> {
        let arguments = json!({
            "path": "/bin/sh",
            "arg": ["-c", START, "sh", file],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "capture-output": true,
        });
        let process = self.ask("guest-exec", Some(arguments)).await?;
        let until = Instant::now() + self.each;
        loop {
            let status = self
                .ask("guest-exec-status", Some(json!({"pid": process["pid"]})))
                .await?;
            if status.get("exited") == Some(&Value::Bool(true)) {
                return match status.get("exitcode").and_then(Value::as_i64) {
                    Some(0) => Ok(()),
                    _ => Err(PlaceError::NotStarted(words(&status))),
                };
            }
            if Instant::now() > until {
                return Err(PlaceError::NotStarted(format!(
                    "it was not there after {} s",
                    self.each.as_secs()
                )));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// How a program ended, with what it said.
fn words(status: &Value) -> String {
    let code = status.get("exitcode").or_else(|| status.get("signal"));
    let said = status
        .get("err-data")
        .and_then(Value::as_str)
        .and_then(|said| STANDARD.decode(said).ok())
        .unwrap_or_default();
    let code = code.map_or_else(|| "?".to_owned(), Value::to_string);
    readable(&format!(
        "{} (status {code})",
        String::from_utf8_lossy(&said).trim()
    ))
}

/// A line of bounded length: a guest may say anything.
fn readable(said: &str) -> String {
    const LONGEST: usize = 300;
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    said.chars().map(printable).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt as _, BufReader, DuplexStream};

    /// An agent that answers each question by `answer`, until it is asked no more. Gives all questions.
    async fn agent(
        channel: DuplexStream,
        mut answer: impl FnMut(&str, &Value) -> Option<Value>,
    ) -> Vec<Value> {
        let mut channel = BufReader::new(channel);
        let mut asked = Vec::new();
        let mut line = String::new();
        channel
            .write_all(b"{\"return\": 3}\nnonsense\n\xff{\"error\": {}}\n")
            .await
            .expect("written");
        while channel
            .read_line(&mut line)
            .await
            .is_ok_and(|count| count > 0)
        {
            let question: Value = serde_json::from_str(&line).expect("JSON");
            line.clear();
            let command = question["execute"].as_str().expect("a command").to_owned();
            let said = match command.as_str() {
                "guest-sync" => Some(json!({"return": question["arguments"]["id"]})),
                _ => answer(&command, &question["arguments"]),
            };
            asked.push(question);
            if let Some(said) = said {
                let said = format!("{said}\n");
                channel.write_all(said.as_bytes()).await.expect("written");
            }
        }
        asked
    }

    fn info(but: Option<&str>) -> Value {
        let commands: Vec<Value> = COMMANDS
            .iter()
            .map(|name| json!({"name": name, "enabled": Some(*name) != but}))
            .collect();
        json!({"return": {"version": "7.2.22", "supported_commands": commands}})
    }

    /// What a willing agent says.
    fn willing(command: &str, told: &Value) -> Value {
        json!({"return": match command {
            "guest-file-open" => json!(1000),
            "guest-file-write" => {
                let bytes = STANDARD.decode(told["buf-b64"].as_str().expect("text")).expect("base64");
                json!({"count": bytes.len(), "eof": false})
            }
            "guest-exec" => json!({"pid": 7}),
            "guest-exec-status" => json!({"exited": true, "exitcode": 0}),
            _ => json!({}),
        }})
    }

    const EACH: Duration = Duration::from_secs(20);

    async fn placed(
        program: &[u8],
        answer: impl FnMut(&str, &Value) -> Option<Value>,
    ) -> (Result<(), PlaceError>, Vec<Value>) {
        let (mut ours, theirs) = tokio::io::duplex(4096);
        tokio::join!(
            async move { place(&mut ours, program, EACH).await },
            agent(theirs, answer)
        )
    }

    #[tokio::test(start_paused = true)]
    async fn the_program_is_written_whole_and_started_from_a_folder_that_permits_it() {
        let program: Vec<u8> = (0..PIECE * 2 + 5).map(|byte| (byte % 251) as u8).collect();
        let mut starts = 0;
        let (result, asked) = placed(&program, |command, told| {
            Some(match command {
                "guest-info" => info(None),
                // The first folder permits no programs, and the second is not there.
                "guest-exec-status" if starts == 1 => {
                    let said = STANDARD.encode("Permission denied\n");
                    json!({"return": {"exited": true, "exitcode": 126, "err-data": said}})
                }
                "guest-file-open"
                    if told["path"]
                        .as_str()
                        .is_some_and(|path| path.starts_with("/run/")) =>
                {
                    json!({"error": {"class": "GenericError", "desc": "No such file or directory"}})
                }
                _ => {
                    starts += usize::from(command == "guest-exec");
                    willing(command, told)
                }
            })
        })
        .await;
        result.expect("placed");
        let last = asked
            .iter()
            .rposition(|asked| asked["execute"] == "guest-file-open")
            .expect("opened");
        assert_eq!(
            asked[last]["arguments"]["path"],
            "/tmp/.anyvirt-renew-program"
        );
        let written: Vec<u8> = asked[last..]
            .iter()
            .filter_map(|asked| asked["arguments"]["buf-b64"].as_str())
            .flat_map(|text| STANDARD.decode(text).expect("base64"))
            .collect();
        assert_eq!(written, program);
    }

    #[tokio::test(start_paused = true)]
    async fn each_refusal_is_told_by_its_name() {
        let refuse = |what: &'static str, class: &'static str, words: &'static str| {
            move |command: &str, told: &Value| {
                Some(match command {
                    _ if command == what => json!({"error": {"class": class, "desc": words}}),
                    "guest-info" => info(None),
                    _ => willing(command, told),
                })
            }
        };
        let (result, asked) = placed(b"x", |_, _| Some(info(Some("guest-exec")))).await;
        let told = result.expect_err("disabled").to_string();
        assert_eq!(
            told,
            "the guest agent's command guest-exec is disabled in the guest"
        );
        assert_eq!(asked.len(), 2, "{asked:?}");
        let (result, _) = placed(
            b"x",
            refuse(
                "guest-exec",
                "CommandNotFound",
                "Command guest-exec has been disabled",
            ),
        )
        .await;
        assert!(
            matches!(result, Err(PlaceError::Disabled("guest-exec"))),
            "{result:?}"
        );
        let (result, _) = placed(
            b"x",
            refuse(
                "guest-info",
                "CommandNotFound",
                "The command guest-info has not been found",
            ),
        )
        .await;
        assert!(
            matches!(result, Err(PlaceError::Unknown("guest-info"))),
            "{result:?}"
        );
        let (result, _) = placed(
            b"x",
            refuse("guest-file-write", "GenericError", "No space\u{7} left"),
        )
        .await;
        let told = result.expect_err("refused").to_string();
        assert_eq!(
            told,
            "the guest agent refused guest-file-write: No space  left"
        );
        let (result, _) = placed(b"x", |command, told| match command {
            "guest-exec-status" => Some(json!({"return": {"exited": true, "exitcode": 1}})),
            "guest-info" => Some(info(None)),
            _ => Some(willing(command, told)),
        })
        .await;
        assert!(
            result
                .expect_err("ended")
                .to_string()
                .ends_with("(status 1)")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_hangs_is_not_waited_for() {
        let before = Instant::now();
        let (result, _) = placed(b"x", |_, _| None).await;
        let told = result.expect_err("silent").to_string();
        assert_eq!(
            told,
            "the guest agent has not answered guest-info within 20 s"
        );
        assert_eq!(before.elapsed(), EACH);
        let (result, _) = placed(b"x", |command, told| match command {
            "guest-info" => Some(info(None)),
            "guest-exec-status" => Some(json!({"return": {"exited": false}})),
            _ => Some(willing(command, told)),
        })
        .await;
        let told = result.expect_err("never there").to_string();
        assert!(told.contains("not there after 20 s"), "{told}");
    }
}
