//! Content negotiation: which representation of an object the client accepts.

use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};

use crate::route::Query;
use crate::status::Status;

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
}

/// What of an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The object.
    Object,
    /// A `meta.k8s.io/v1` Table.
    Table,
    /// `PartialObjectMetadata` or `PartialObjectMetadataList`.
    Partial,
}

/// The chosen representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Representation {
    /// How values are written.
    pub(crate) format: Format,
    /// What of an object is written.
    pub(crate) shape: Shape,
    /// Indented by two spaces.
    pub(crate) pretty: bool,
}

impl Representation {
    /// Plain compact JSON.
    pub(crate) const JSON: Representation = Representation {
        format: Format::Json,
        shape: Shape::Object,
        pretty: false,
    };
}

/// Chooses by `Accept` (by quality, then order) and decides about indentation.
///
/// # Errors
/// 406 when nothing that is accepted can be produced.
pub(crate) fn choose(headers: &HeaderMap, query: &Query) -> Result<Representation, Status> {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("*/*");
    let (format, shape) = clauses(accept)
        .into_iter()
        .find_map(|clause| produce(&clause))
        .ok_or_else(|| Status::not_acceptable(&["application/json", "application/yaml"]))?;
    Ok(Representation {
        format,
        shape,
        pretty: wants_pretty(headers, query),
    })
}

fn wants_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if query.get("pretty").is_some() {
        return query.flag("pretty");
    }
    let agent = headers
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|person| agent.starts_with(person))
}

/// One part of an `Accept` header.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Clause {
    /// Lower-case media type.
    pub(crate) media_type: String,
    /// Parameters other than `q`.
    pub(crate) parameters: Vec<(String, String)>,
    quality: f32,
}

impl Clause {
    /// The value of a parameter; empty when absent.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    }
}

/// The clauses of an `Accept` header, the most wanted first.
pub(crate) fn clauses(accept: &str) -> Vec<Clause> {
    let mut clauses: Vec<Clause> = accept
        .split(',')
        .map(|text| {
            let mut parts = text.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or("").to_ascii_lowercase();
            let mut clause = Clause {
                media_type,
                parameters: Vec::new(),
                quality: 1.0,
            };
            for part in parts {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                if key == "q" {
                    clause.quality = value.parse().unwrap_or(1.0);
                } else {
                    clause
                        .parameters
                        .push((key.to_owned(), value.trim_matches('"').to_owned()));
                }
            }
            clause
        })
        .filter(|clause| !clause.media_type.is_empty() && clause.quality > 0.0)
        .collect();
    // The sort is stable: clauses of one quality stay in the client's order.
    clauses.sort_by(|one, two| two.quality.total_cmp(&one.quality));
    clauses
}

fn produce(clause: &Clause) -> Option<(Format, Shape)> {
    let format = match clause.media_type.as_str() {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        _ => return None,
    };
    let meta_v1 = clause.parameter("g") == "meta.k8s.io" && clause.parameter("v") == "v1";
    let shape = match clause.parameter("as") {
        "" => Shape::Object,
        "Table" if meta_v1 => Shape::Table,
        "PartialObjectMetadata" | "PartialObjectMetadataList" if meta_v1 => Shape::Partial,
        // A transformation that is not served makes the clause unacceptable, not the request.
        _ => return None,
    };
    Some((format, shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn chosen(accept: &'static str) -> Option<(Format, Shape)> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        choose(&headers, &Query::default())
            .ok()
            .map(|found| (found.format, found.shape))
    }

    #[test]
    fn the_first_clause_that_can_be_produced_wins() {
        use Format::{Json, Yaml};
        use Shape::{Object, Partial, Table};
        for (accept, expected) in [
            ("*/*", Some((Json, Object))),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Some((Json, Object)),
            ),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/xml", None),
            (
                "application/json;q=0.1, application/yaml",
                Some((Yaml, Object)),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Some((Json, Table)),
            ),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", None),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,\
                 application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
                Some((Json, Partial)),
            ),
        ] {
            assert_eq!(chosen(accept), expected, "{accept}");
        }
    }

    #[test]
    fn people_get_indented_json() {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("curl/8.0"));
        assert!(choose(&headers, &Query::default()).expect("JSON").pretty);
        assert!(
            !choose(&headers, &Query::parse("pretty=false"))
                .expect("JSON")
                .pretty
        );
        assert!(
            choose(&HeaderMap::new(), &Query::parse("pretty=1"))
                .expect("JSON")
                .pretty
        );
    }
}
