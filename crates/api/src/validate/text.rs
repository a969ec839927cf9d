//! Texts with rules: names, quantities, UUIDs.

use super::cause::{Causes, Path};
use crate::quantity::{Amount, Quantity};

/// The longest name that is one DNS label.
pub(super) const LABEL_BYTES: usize = 63;
/// The longest DNS name.
const SUBDOMAIN_BYTES: usize = 253;

/// The amount, or a cause if it cannot be read.
pub(super) fn quantity(path: &Path, quantity: &Quantity, causes: &mut Causes) -> Option<Amount> {
    match quantity.parse() {
        Ok(amount) => Some(amount),
        Err(error) => {
            causes.invalid(path, format!("{path} '{quantity}': {error}"));
            None
        }
    }
}

/// Why `name` is no DNS label (RFC 1123), in Kubernetes' words.
pub(super) fn not_a_label(name: &str) -> Option<String> {
    if name.len() > LABEL_BYTES {
        return Some(format!("must be no more than {LABEL_BYTES} bytes"));
    }
    (!is_label(name)).then(|| {
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
         must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex \
         used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            .to_owned()
    })
}

/// Why `name` is no DNS subdomain (RFC 1123), in Kubernetes' words.
pub(super) fn not_a_subdomain(name: &str) -> Option<String> {
    if name.len() > SUBDOMAIN_BYTES {
        return Some(format!("must be no more than {SUBDOMAIN_BYTES} bytes"));
    }
    (!name.split('.').all(is_label)).then(|| {
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
         '.', and must start and end with an alphanumeric character"
            .to_owned()
    })
}

fn is_label(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.bytes().all(|byte| alphanumeric(byte) || byte == b'-')
        && name.bytes().next().is_some_and(alphanumeric)
        && name.bytes().next_back().is_some_and(alphanumeric)
}

/// Is it a value of a Kubernetes label?
pub(super) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_qualified(value)
}

/// Is it a key of a Kubernetes label or annotation: a name, perhaps with a DNS name before it?
pub(super) fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => not_a_subdomain(prefix).is_none() && is_qualified(name),
        None => is_qualified(key),
    }
}

fn is_qualified(name: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    name.len() <= LABEL_BYTES
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && ends(name.bytes().next())
        && ends(name.bytes().next_back())
}

/// Is it a name as QEMU uses them for processor models, features and machine types?
pub(super) fn is_hardware_name(name: &str) -> bool {
    name.len() <= 64
        && name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
}

/// Is it a UUID in the form of 8-4-4-4-12 hexadecimal digits?
pub(super) fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups
            .iter()
            .all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Can it be shown on one line?
pub(super) fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// The six bytes of a MAC address written with colons or dashes.
pub(super) fn mac_address(text: &str) -> Option<[u8; 6]> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut bytes = [0; 6];
    let mut groups = text.split(separator);
    for byte in &mut bytes {
        let group = groups.next().filter(|group| group.len() == 2)?;
        *byte = u8::from_str_radix(group, 16)
            .ok()
            .filter(|_| !group.starts_with('+'))?;
    }
    groups.next().is_none().then_some(bytes)
}

/// Does `name` match `pattern`, in which `*` stands for any text?
pub(super) fn matches_pattern(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(start) else {
        return false;
    };
    let at_a_boundary = |at: &usize| name.is_char_boundary(*at);
    (0..=name.len())
        .filter(at_a_boundary)
        .any(|at| matches_pattern(rest, &name[at..]))
}
