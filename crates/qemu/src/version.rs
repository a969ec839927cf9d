//! QEMU's versions.

use std::fmt;

/// A version of QEMU. Ordered by age.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub micro: u32,
}

impl Version {
    /// The oldest QEMU we work with: `-netdev stream` came with it. From here to 10 the arguments
    /// of [`crate::command_line`] mean the same.
    pub const OLDEST: Self = Self {
        major: 7,
        minor: 2,
        micro: 0,
    };

    /// Finds the version in what `qemu-system-x86_64 --version` prints.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let words = text.split("version ").nth(1)?;
        Self::of_numbers(words.split([' ', '\n', '(']).next()?)
    }

    /// Reads `7.2` or `7.2.22`, as it is displayed.
    #[must_use]
    pub fn of_numbers(numbers: &str) -> Option<Self> {
        let mut parts = numbers.split('.').map(str::parse);
        let mut next = || parts.next()?.ok();
        Some(Self {
            major: next()?,
            minor: next()?,
            micro: next().unwrap_or(0),
        })
    }

    /// Whether we work with it.
    #[must_use]
    pub fn served(self) -> bool {
        self >= Self::OLDEST
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_by_number() {
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright";
        let old = Version::parse(debian).expect("a version");
        assert_eq!(old.to_string(), "7.2.22");
        let new = Version::parse("QEMU emulator version 10.0.2\n").expect("a version");
        assert!(old < new && old.served() && new.served());
        assert!(
            !Version::parse("QEMU emulator version 6.2.0")
                .expect("a version")
                .served()
        );
        for text in ["", "version ", "QEMU emulator", "version x.y", "version 7"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
