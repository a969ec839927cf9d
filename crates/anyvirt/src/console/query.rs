//! Parameters in the addresses of the console's calls.

use apiserver::Status;

/// The value of a parameter; none if it is missing or empty.
pub(super) fn parameter<'a>(query: &'a str, wanted: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
}

/// The name of an object in a parameter; `form` is how it is asked rightly.
pub(super) fn name<'a>(query: &'a str, wanted: &str, form: &str) -> Result<&'a str, Status> {
    let name = parameter(query, wanted)
        .ok_or_else(|| Status::bad_request(format!("{wanted}: say it as {form}")))?;
    // Names of namespaces, nodes and machines are made of DNS labels: nothing in them is ever encoded.
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if name.bytes().all(is_of_name) {
        Ok(name)
    } else {
        Err(Status::bad_request(format!("{name:?} is no name")))
    }
}
