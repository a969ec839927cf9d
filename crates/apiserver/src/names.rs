//! Which names objects may have, and how names are made up.

use rand::Rng;
use serde_json::Value;

use crate::resource_type::NameRule;
use crate::status::Cause;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', \
regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

/// What is wrong with `name`; `None` when nothing is.
pub(crate) fn fault(rule: NameRule, name: &str) -> Option<String> {
    let (limit, good, text) = match rule {
        NameRule::Subdomain => (253, name.split('.').all(is_label), SUBDOMAIN),
        NameRule::Label => (63, is_label(name), LABEL),
        NameRule::PathSegment => {
            return match name {
                "." | ".." => Some(format!("may not be '{name}'")),
                _ if name.contains('/') => Some("may not contain '/'".to_owned()),
                _ if name.contains('%') => Some("may not contain '%'".to_owned()),
                _ => None,
            };
        }
    };
    if name.len() > limit {
        return Some(format!("must be no more than {limit} bytes"));
    }
    (!good).then(|| text.to_owned())
}

/// Whether `text` is an RFC 1123 label, its length aside.
pub(crate) fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| alphanumeric(*byte))
        && bytes.last().is_some_and(|byte| alphanumeric(*byte))
        && bytes
            .iter()
            .all(|byte| alphanumeric(*byte) || *byte == b'-')
}

/// The cause of a bad `metadata.name`, if it is bad.
pub(crate) fn name_cause(rule: NameRule, name: &str) -> Option<Cause> {
    fault(rule, name).map(|why| Cause::invalid("metadata.name", &Value::from(name), &why))
}

/// Faults of label keys (or annotation keys, finalizers): an optional DNS prefix and a name.
pub(crate) fn qualified_name_fault(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            return Some("prefix part must be non-empty".to_owned());
        }
        if let Some(why) = fault(NameRule::Subdomain, prefix) {
            return Some(format!("prefix part {why}"));
        }
    }
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 bytes".to_owned());
    }
    (!is_qualified(name)).then(|| {
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and \
         end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex \
         used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            .to_owned()
    })
}

/// What is wrong with a label's value.
pub(crate) fn label_value_fault(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some("must be no more than 63 bytes".to_owned());
    }
    (!value.is_empty() && !is_qualified(value)).then(|| {
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
         '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
         'my_value',  or '12345', regex used for validation is \
         '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            .to_owned()
    })
}

fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Letters of generated names: no vowels, so that no words appear.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// A generated name must fit the 63 characters of a label: 58 of prefix and five of chance.
const MAXIMUM_PREFIX: usize = 58;

/// A name from `metadata.generateName`: the prefix (cut to 58 bytes) and five letters.
pub(crate) fn generate(prefix: &str, random: &mut impl Rng) -> String {
    let mut end = prefix.len().min(MAXIMUM_PREFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix[..end].to_owned();
    for _ in 0..5 {
        name.push(char::from(LETTERS[random.random_range(0..LETTERS.len())]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subdomains_labels_and_path_segments_differ() {
        for (name, subdomain, label, segment) in [
            ("a", true, true, true),
            ("a.b-c", true, false, true),
            ("A", false, false, true),
            ("a_b", false, false, true),
            ("a..b", false, false, true),
            ("-a", false, false, true),
            ("", false, false, true),
            ("a/b", false, false, false),
            ("..", false, false, false),
            ("system:node", false, false, true),
        ] {
            let fits = |rule| fault(rule, name).is_none();
            assert_eq!(fits(NameRule::Subdomain), subdomain, "subdomain {name}");
            assert_eq!(fits(NameRule::Label), label, "label {name}");
            assert_eq!(fits(NameRule::PathSegment), segment, "segment {name}");
        }
        assert!(fault(NameRule::Label, &"a".repeat(64)).is_some());
        assert!(fault(NameRule::Subdomain, &"a".repeat(254)).is_some());
    }

    #[test]
    fn generated_names_fit_a_label() {
        let name = generate(&"x".repeat(80), &mut rand::rng());
        assert_eq!(name.len(), 63);
        let name = generate("vm-", &mut rand::rng());
        assert!(name.starts_with("vm-") && name.len() == 8, "{name}");
    }

    #[test]
    fn label_keys_have_an_optional_prefix() {
        for (key, good) in [
            ("app", true),
            ("kubevirt.io/vm", true),
            ("/vm", false),
            ("a/b/c", false),
            ("UP.io/x", false),
            ("x/", false),
            ("My_Name.x", true),
        ] {
            assert_eq!(qualified_name_fault(key).is_none(), good, "{key}");
        }
    }
}
