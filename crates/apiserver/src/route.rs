//! From method and path to what is asked: one parser, used by the router and by the authorizer,
//! so that the two can never disagree about what a request is.

use http::Method;

/// The query of a request, decoded, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(pub(crate) Vec<(String, String)>);

impl Query {
    /// Splits and decodes the part after `?`.
    pub(crate) fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_query(key), decode_query(value))
        });
        Query(pairs.collect())
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, unless it is empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|text| !text.is_empty())
    }

    /// Whether a parameter is set to a true value. As upstream, a parameter without a value is true
    /// and so is everything but `false` and `0`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| !matches!(value, "false" | "0"))
    }
}

/// What is asked, in the authorizer's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    /// The API verb of a resource request; the lower-case method of any other.
    pub(crate) verb: &'static str,
    /// The path as it came.
    pub(crate) path: String,
    /// `Some` for requests about resources; `None` for discovery, health and documents.
    pub(crate) resource: Option<ResourcePath>,
}

/// The parts of `/api/v1/namespaces/ns/pods/name/log` and of its cousins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResourcePath {
    /// API group; empty for the core group.
    pub(crate) group: String,
    /// Version.
    pub(crate) version: String,
    /// Namespace in the path. For the resource `namespaces` itself this is `None`.
    pub(crate) namespace: Option<String>,
    /// Plural resource name.
    pub(crate) resource: String,
    /// Object name.
    pub(crate) name: Option<String>,
    /// Sub-resource.
    pub(crate) subresource: Option<String>,
    /// Segments after the sub-resource.
    pub(crate) rest: Vec<String>,
}

/// The verbs whose requests may last: no timeout and no place in the in-flight limit.
pub(crate) fn is_long_running(info: &RequestInfo) -> bool {
    let Some(resource) = &info.resource else {
        return false;
    };
    info.verb == "watch"
        || matches!(
            resource.subresource.as_deref(),
            Some("attach" | "exec" | "proxy" | "log" | "portforward" | "console" | "vnc")
        )
        || matches!(resource.subresource.as_deref(), Some("usbredir" | "vsock"))
}

impl RequestInfo {
    /// Reads method, path and query.
    pub(crate) fn parse(method: &Method, path: &str, query: &Query) -> RequestInfo {
        let resource = resource_path(path);
        let verb = match &resource {
            None => method_word(method),
            Some((parts, legacy_watch)) => resource_verb(method, parts, *legacy_watch, query),
        };
        RequestInfo {
            verb,
            path: path.to_owned(),
            resource: resource.map(|(parts, _)| parts),
        }
    }
}

fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        _ => "unknown",
    }
}

fn resource_verb(
    method: &Method,
    parts: &ResourcePath,
    legacy_watch: bool,
    query: &Query,
) -> &'static str {
    let watches = legacy_watch || query.flag("watch");
    match *method {
        Method::GET if watches && parts.subresource.is_none() => "watch",
        Method::GET if parts.name.is_some() => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if parts.name.is_some() => "delete",
        Method::DELETE => "deletecollection",
        _ => method_word(method),
    }
}

/// `None` when the path is not about a resource. The flag tells the legacy `/watch/` prefix.
fn resource_path(path: &str) -> Option<(ResourcePath, bool)> {
    let mut segments = path
        .trim_matches('/')
        .split('/')
        .map(decode_path)
        .collect::<Vec<_>>()
        .into_iter();
    let group = match segments.next().as_deref() {
        Some("api") => String::new(),
        Some("apis") => segments.next()?,
        _ => return None,
    };
    let version = segments.next()?;
    let mut rest = segments.peekable();
    let legacy_watch = rest.next_if(|segment| segment == "watch").is_some();
    let mut parts = ResourcePath {
        group,
        version,
        ..ResourcePath::default()
    };
    let first = rest.next().filter(|segment| !segment.is_empty())?;
    if first == "namespaces" {
        let namespace = rest.next();
        match rest.next() {
            // `/namespaces/x/status` is about the namespace, `/namespaces/x/pods` is inside it.
            Some(next)
                if parts.group.is_empty() && matches!(next.as_str(), "status" | "finalize") =>
            {
                parts.resource = first;
                parts.name = namespace;
                parts.subresource = Some(next);
            }
            Some(next) => {
                parts.namespace = namespace;
                parts.resource = next;
                parts.name = rest.next();
                parts.subresource = rest.next();
            }
            None => {
                parts.resource = first;
                parts.name = namespace;
            }
        }
    } else {
        parts.resource = first;
        parts.name = rest.next();
        parts.subresource = rest.next();
    }
    parts.rest = rest.collect();
    Some((parts, legacy_watch))
}

fn decode_path(text: &str) -> String {
    decode(text, false)
}

fn decode_query(text: &str) -> String {
    decode(text, true)
}

fn decode(text: &str, plus_is_space: bool) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |offset: usize| {
            bytes
                .get(at + offset)
                .and_then(|byte| char::from(*byte).to_digit(16))
        };
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', _, _) if plus_is_space => {
                out.push(b' ');
                at += 1;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        RequestInfo::parse(&method, path, &Query::parse(query))
    }

    /// `verb group/version namespace resource name subresource rest`
    fn words(method: &str, target: &str) -> String {
        let info = parse(method, target);
        let Some(parts) = info.resource else {
            return format!("{} -", info.verb);
        };
        format!(
            "{} {}/{} {} {} {} {} {}",
            info.verb,
            parts.group,
            parts.version,
            parts.namespace.as_deref().unwrap_or("-"),
            parts.resource,
            parts.name.as_deref().unwrap_or("-"),
            parts.subresource.as_deref().unwrap_or("-"),
            parts.rest.join(",")
        )
        .trim_end()
        .to_owned()
    }

    #[test]
    fn every_shape_of_path_has_one_reading() {
        for (method, target, expected) in [
            ("GET", "/api", "get -"),
            ("GET", "/apis/a.io/v1/", "get -"),
            ("GET", "/version", "get -"),
            ("GET", "/api/v1/pods", "list /v1 - pods - -"),
            ("GET", "/api/v1/pods/?watch=1", "watch /v1 - pods - -"),
            ("GET", "/api/v1/pods?watch=false", "list /v1 - pods - -"),
            (
                "GET",
                "/api/v1/watch/namespaces/n/pods",
                "watch /v1 n pods - -",
            ),
            ("GET", "/api/v1/namespaces", "list /v1 - namespaces - -"),
            ("GET", "/api/v1/namespaces/n", "get /v1 - namespaces n -"),
            (
                "PUT",
                "/api/v1/namespaces/n/finalize",
                "update /v1 - namespaces n finalize",
            ),
            ("POST", "/api/v1/namespaces/n/pods", "create /v1 n pods - -"),
            (
                "POST",
                "/api/v1/namespaces/n/pods/p/binding",
                "create /v1 n pods p binding",
            ),
            (
                "DELETE",
                "/apis/a.io/v1/namespaces/n/foos",
                "deletecollection a.io/v1 n foos - -",
            ),
            (
                "DELETE",
                "/apis/a.io/v1/foos/f",
                "delete a.io/v1 - foos f -",
            ),
            (
                "PATCH",
                "/apis/a.io/v1/foos/f/status",
                "patch a.io/v1 - foos f status",
            ),
            (
                "GET",
                "/apis/s.io/v1/namespaces/n/vmis/x/portforward/22/tcp",
                "get s.io/v1 n vmis x portforward 22,tcp",
            ),
            (
                "GET",
                "/api/v1/namespaces/n/pods/a%2Fb",
                "get /v1 n pods a/b -",
            ),
            ("HEAD", "/api/v1/pods", "head /v1 - pods - -"),
        ] {
            assert_eq!(words(method, target), expected, "{method} {target}");
        }
    }

    #[test]
    fn queries_are_decoded_once() {
        let query = Query::parse("labelSelector=a%3Db%2Cc+in+%28x%29&watch&limit=");
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (x)"));
        assert!(query.flag("watch"));
        assert_eq!(query.text("limit"), None);
    }
}
