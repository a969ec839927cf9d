//! Why an image did not become a file.

/// What went wrong, and with which image. The text of [`Display`](std::fmt::Display) is fit for an event.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.message())]
pub struct PullError {
    /// The image, as it was asked for.
    pub reference: String,
    /// What went wrong.
    pub problem: Problem,
}

/// What went wrong with an image.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Problem {
    /// The reference can't be read as one.
    #[error("{0}")]
    InvalidReference(String),
    /// The pull policy forbids to fetch it, and it is not here.
    #[error("not present with pull policy of Never")]
    NeverPull,
    /// There is no such image there.
    #[error("not found: {0}")]
    NotFound(String),
    /// The registry refuses these credentials, or wants some.
    #[error("{0}; if the image is private, name a pull secret with the right user and password")]
    Unauthorized(String),
    /// The registry can't be reached, or the connection broke too often.
    #[error("{0}")]
    Unreachable(String),
    /// The image is for other machines.
    #[error("no image for linux/{wanted}, only for {offered}")]
    NoPlatform {
        /// This machine's architecture, as images name it.
        wanted: &'static str,
        /// What there is.
        offered: String,
    },
    /// What came is not what the digest says, or not as long as the manifest says.
    #[error("{0}")]
    Damaged(String),
    /// A limit was passed.
    #[error("{what} is more than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit, in bytes unless `what` says otherwise.
        limit: u64,
    },
    /// The image holds something other than it should.
    #[error("{0}")]
    Contents(String),
    /// The file in the image can't be used as a disk.
    #[error("{path} is not a disk that can be used: {cause}")]
    NotADisk {
        /// The path in the image.
        path: String,
        /// Why not.
        cause: String,
    },
    /// The image is of a kind this program doesn't know.
    #[error("{0}")]
    Unsupported(String),
    /// A file on this machine can't be written or read.
    #[error("{path}: {cause}")]
    Storage {
        /// The file.
        path: String,
        /// What happened.
        cause: String,
    },
}

impl PullError {
    /// The reason for the container's waiting state, in kubelet's words: `ErrImagePull`, `ErrImageNeverPull` or
    /// `InvalidImageName`. (`ImagePullBackOff` is the caller's word, while it waits to try again.)
    pub fn reason(&self) -> &'static str {
        match self.problem {
            Problem::NeverPull => "ErrImageNeverPull",
            Problem::InvalidReference(_) => "InvalidImageName",
            _ => "ErrImagePull",
        }
    }

    /// Whether trying again can help without anybody changing anything.
    pub fn transient(&self) -> bool {
        matches!(
            self.problem,
            Problem::Unreachable(_) | Problem::Damaged(_) | Problem::Storage { .. }
        )
    }

    /// The sentence kubelet would say.
    pub fn message(&self) -> String {
        let Self { reference, problem } = self;
        match problem {
            Problem::NeverPull => {
                format!("Container image {reference:?} is not present with pull policy of Never")
            }
            Problem::InvalidReference(cause) => {
                format!("Failed to apply default image tag {reference:?}: {cause}")
            }
            problem => format!("Failed to pull image {reference:?}: {problem}"),
        }
    }

    /// The sentence kubelet would say while it waits to try again.
    pub fn back_off_message(&self) -> String {
        format!(
            "Back-off pulling image {:?}: {}: {}",
            self.reference,
            self.reason(),
            self.message()
        )
    }
}

impl Problem {
    pub(crate) fn storage(path: &std::path::Path, cause: &std::io::Error) -> Self {
        Self::Storage {
            path: path.display().to_string(),
            cause: cause.to_string(),
        }
    }

    pub(crate) fn of(self, reference: &str) -> PullError {
        PullError {
            reference: reference.to_owned(),
            problem: self,
        }
    }
}
