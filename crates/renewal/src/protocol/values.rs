//! What stands in orders and proofs.

use std::fmt;
use std::time::Duration;

/// Random bytes or a key, never shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{N} bytes")
    }
}

/// 128 bits that stand for something: a UUID, or a machine-id, which has no dashes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// 32 hexadecimal digits.
    pub fn plain(self) -> String {
        hex(&self.0)
    }

    /// From 32 hexadecimal digits, with or without the dashes of a UUID.
    pub fn parse(text: &str) -> Option<Self> {
        let dashed = text.len() == 36
            && text
                .bytes()
                .enumerate()
                .all(|(place, byte)| (byte == b'-') == matches!(place, 8 | 13 | 18 | 23));
        let digits = if dashed {
            text.replace('-', "")
        } else {
            text.to_owned()
        };
        unhex(&digits)?.try_into().ok().map(Self)
    }
}

/// As a UUID.
impl fmt::Display for Id {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.plain();
        let [a, b, c, d, e] =
            [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap_or_default());
        write!(to, "{a}-{b}-{c}-{d}-{e}")
    }
}

/// A network card's address.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// From six pairs of hexadecimal digits with colons between.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text
            .split(':')
            .map(|pair| unhex(pair).and_then(|bytes| <[u8; 1]>::try_from(bytes).ok()))
            .map(|byte| byte.map(|[byte]| byte))
            .collect::<Option<Vec<u8>>>()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(to, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// A network card: found by the address that the template's guest gave it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Card {
    /// The template's address.
    pub old: Mac,
    /// The address it is to have.
    pub new: Mac,
}

/// A time of day: since the beginning of 1970.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Time {
    /// Whole seconds.
    pub seconds: u64,
    /// And nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Time {
    /// Times after this are not understood: the year 2554, where nanoseconds no longer fit in 64 bits.
    const LAST: u64 = u64::MAX / 1_000_000_000;

    /// From seconds, a point and nine digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (seconds, nanoseconds) = text.split_once('.')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(seconds) || !digits(nanoseconds) || nanoseconds.len() != 9 {
            return None;
        }
        let seconds = seconds
            .parse()
            .ok()
            .filter(|seconds| *seconds < Self::LAST)?;
        Some(Self {
            seconds,
            nanoseconds: nanoseconds.parse().ok()?,
        })
    }

    /// How long after `earlier`; none: it is before it.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        let of = |time: Self| Duration::new(time.seconds, time.nanoseconds);
        of(self).checked_sub(of(earlier))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}.{:09}", self.seconds, self.nanoseconds)
    }
}

/// A guest's name: letters, digits, dashes and points, as a host name has them.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Name(String);

impl Name {
    /// The kernel takes no more, in bytes.
    pub const LONGEST: usize = 64;

    /// None: it is empty or too long, holds something else, or begins or ends with a dash or a point.
    pub fn new(text: &str) -> Option<Self> {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        (text.len() <= Self::LONGEST
            && text.bytes().all(inside)
            && edge(text.bytes().next())
            && edge(text.bytes().last()))
        .then(|| Self(text.to_owned()))
    }

    /// It.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

/// cloud-init's word for one machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InstanceId(String);

impl InstanceId {
    /// Bytes: a name of Kubernetes and a UUID fit.
    pub const LONGEST: usize = 320;

    /// None: it is empty or too long, or holds something that is not visible ASCII.
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty()
            && text.len() <= Self::LONGEST
            && text.bytes().all(|byte| byte.is_ascii_graphic()))
        .then(|| Self(text.to_owned()))
    }

    /// It.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An Ed25519 key pair of an SSH server, as `ssh-keygen -t ed25519` writes it.
#[derive(Clone, Eq, PartialEq)]
pub struct HostKey {
    private: String,
    public: String,
}

impl HostKey {
    /// Bytes of the private file: it has 387 with an empty comment.
    pub const LONGEST_PRIVATE: usize = 700;
    /// Bytes of the public file.
    pub const LONGEST_PUBLIC: usize = 300;

    /// `private`: the content of `ssh_host_ed25519_key`; `public`: of the file beside it. None: one of them does not
    /// look like that.
    pub fn new(private: &str, public: &str) -> Option<Self> {
        let line_of_text = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        (private.len() <= Self::LONGEST_PRIVATE
            && public.len() <= Self::LONGEST_PUBLIC
            && private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n")
            && private.ends_with("-----END OPENSSH PRIVATE KEY-----\n")
            && private
                .bytes()
                .all(|byte| byte == b'\n' || line_of_text(byte))
            && public.starts_with("ssh-ed25519 ")
            && public.trim_end_matches('\n').bytes().all(line_of_text))
        .then(|| Self {
            private: private.to_owned(),
            public: public.to_owned(),
        })
    }

    /// The private file: secret.
    pub fn private(&self) -> &str {
        &self.private
    }

    /// The public file.
    pub fn public(&self) -> &str {
        &self.public
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("HostKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// Hexadecimal digits of `bytes`, in small letters.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The other way, with letters of both sizes. None: something else is in there, or half a byte.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}
