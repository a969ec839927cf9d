//! Secrets that are handed out: ids of sessions, keys of links.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// 256 random bits as text that fits into cookies and URLs.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// The text of these bits, which the caller drew from a generator fit for secrets.
    #[must_use]
    pub fn of(bits: [u8; 32]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(bits))
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A secret has no place in a log.
        formatter.write_str("Secret")
    }
}

/// What requests of the session `id` that change something carry in a header, which no other site's page can set. It
/// follows from the id, which it does not tell, so that nobody has to keep it.
pub(crate) fn csrf(id: &str) -> Secret {
    Secret::of(digest(&format!("anyvirt console csrf {id}")))
}

/// By what secrets are kept and compared: looking one up takes the same time however much of a guess is right.
pub(crate) type Digest = [u8; 32];

/// The digest of a text.
pub(crate) fn digest(text: &str) -> Digest {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_keeps_all_its_bits_and_shows_none_in_a_log() {
        let (one, other) = (Secret::of([1; 32]), Secret::of([2; 32]));
        assert_ne!(one.text(), other.text());
        assert_eq!(one.text().len(), 43);
        assert!(!format!("{one:?}").contains(one.text()));
    }

    #[test]
    fn each_session_has_its_own_csrf_token_always_the_same() {
        let (one, other) = (Secret::of([1; 32]), Secret::of([2; 32]));
        assert_eq!(csrf(one.text()), csrf(one.text()));
        assert_ne!(csrf(one.text()), csrf(other.text()));
        assert_ne!(csrf(one.text()), one);
        // Not what it is kept by, which others may come to see.
        assert_ne!(csrf(one.text()), Secret::of(digest(one.text())));
    }
}
