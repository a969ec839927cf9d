//! Failures, told so that a person can go on: what, why, and what to do; and the exit codes.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Not done, for a reason without a code of its own.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The object does not exist.
    NotFound = 3,
    /// Waiting took too long.
    TimedOut = 4,
    /// The server refuses in this state.
    Conflict = 5,
    /// The server cannot be reached.
    Unreachable = 6,
    /// Acceleration, or a device, is missing.
    Acceleration = 7,
    /// Not allowed.
    Forbidden = 8,
    /// Interrupted by the person.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb did not do what it was asked to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// Commands that help, each with what it does.
    pub(crate) fixes: Vec<(String, String)>,
    pub(crate) exit: Exit,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            fixes: Vec::new(),
            exit: Exit::Failure,
        }
    }

    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    pub(crate) fn fix(mut self, command: &str, what: &str) -> Self {
        self.fixes.push((command.to_owned(), what.to_owned()));
        self
    }

    /// The failure of a request to `server`.
    pub(crate) fn of(error: kube::Error, server: &str) -> Self {
        match error {
            kube::Error::Api(status) => {
                let exit = match status.code {
                    404 => Exit::NotFound,
                    409 => Exit::Conflict,
                    401 | 403 => Exit::Forbidden,
                    504 => Exit::TimedOut,
                    _ => Exit::Failure,
                };
                Self::new(status.message.clone()).exit(exit)
            }
            kube::Error::Service(error) => Self::unreachable(server, &innermost(&*error)),
            kube::Error::HyperError(error) => Self::unreachable(server, &innermost(&error)),
            other => Self::new(format!("{server}: {}", chain(&other))),
        }
    }

    fn unreachable(server: &str, why: &str) -> Self {
        Self::new(format!("cannot reach {server}: {why}"))
            .exit(Exit::Unreachable)
            .fix("anyvirt up", "starts the server")
    }
}

/// What an error says at its root: for a connection, the system's own words.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// All that an error says, from the outside in.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}
