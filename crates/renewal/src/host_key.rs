//! An SSH server's key as its two files, in the form of OpenSSH's `PROTOCOL.key`.

use crate::protocol::HostKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const KIND: &[u8] = b"ssh-ed25519";
/// Characters of a line in the private file, as `ssh-keygen` breaks them.
const WIDTH: usize = 70;
/// The private part is filled up to a multiple of this many bytes: the block of the cipher `none`.
const BLOCK: usize = 8;

/// The files of an Ed25519 key pair: its 32 secret bytes and the public key that belongs to them (RFC 8032). Without
/// a passphrase, as an SSH server needs it.
pub fn host_key(seed: &[u8; 32], public: &[u8; 32]) -> Option<HostKey> {
    let mut blob = Vec::new();
    string(&mut blob, KIND);
    string(&mut blob, public);

    let mut private = Vec::new();
    // Two equal numbers show a reader that it has used the right passphrase; there is none here.
    private.extend_from_slice(&public[..4]);
    private.extend_from_slice(&public[..4]);
    string(&mut private, KIND);
    string(&mut private, public);
    string(&mut private, &[&seed[..], &public[..]].concat());
    string(&mut private, b"");
    private.extend((1_u8..).take(private.len().next_multiple_of(BLOCK) - private.len()));

    let mut file = b"openssh-key-v1\0".to_vec();
    for nothing in [&b"none"[..], b"none", b""] {
        string(&mut file, nothing);
    }
    file.extend_from_slice(&1_u32.to_be_bytes());
    string(&mut file, &blob);
    string(&mut file, &private);

    let mut text = "-----BEGIN OPENSSH PRIVATE KEY-----\n".to_owned();
    for (place, character) in STANDARD.encode(&file).chars().enumerate() {
        if place > 0 && place % WIDTH == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END OPENSSH PRIVATE KEY-----\n");
    HostKey::new(&text, &format!("ssh-ed25519 {}\n", STANDARD.encode(&blob)))
}

/// A length and so many bytes; all of them are short.
fn string(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Id;

    /// RFC 8032, 7.1, test 1. `ssh-keygen -y` of OpenSSH 9.2 gives the public file for this private one, and
    /// `ssh-keygen -l` takes both.
    #[test]
    fn the_files_are_those_that_openssh_reads() {
        let bytes = |first: &str, second: &str| {
            let halves = [first, second].map(|half| Id::parse(half).expect("digits").0);
            <[u8; 32]>::try_from(halves.concat()).expect("32 bytes")
        };
        let key = host_key(
            &bytes(
                "9d61b19deffd5a60ba844af492ec2cc4",
                "4449c5697b326919703bac031cae7f60",
            ),
            &bytes(
                "d75a980182b10ab7d54bfed3c964073a",
                "0ee172f3daa62325af021a68f707511a",
            ),
        )
        .expect("a key");
        assert!(key.private().contains(
            "\nAQAAAAtzc2gtZWQyNTUxOQAAACDXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg\n\
             AAAECdYbGd7/1aYLqESvSS7CzEREnFaXsyaRlwO6wDHK5/YNdamAGCsQq31Uv+08lkBzoO\n\
             4XLz2qYjJa8CGmj3B1EaAAAAAAECAwQF\n-----END"
        ));
        assert_eq!(
            key.public(),
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea\n"
        );
        assert!(key.private().lines().all(|line| line.len() <= WIDTH));
    }
}
