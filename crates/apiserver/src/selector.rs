//! Label selectors and field selectors: parsing with upstream's texts, and matching.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::jsonpath::JsonPath;
use crate::resource_type::ResourceType;
use crate::status::{Cause, Status};

const LABEL_KEY_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const PREFIX_RULE: &str = "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// A parsed label selector. The empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Parses `a=b,c in (d,e),!f`. Error: 400 with upstream's text.
    pub fn parse(text: &str) -> Result<LabelSelector, Status> {
        let mut parser = LabelParser {
            tokens: tokens(text),
            at: 0,
        };
        parser.selector().map_err(Status::bad_request)
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether the object's `metadata.labels` fulfil every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        self.is_empty()
            || self.matches_labels(
                object
                    .get("metadata")
                    .and_then(|metadata| metadata.get("labels")),
            )
    }

    /// Whether these labels (an object of strings, or nothing) fulfil every requirement.
    pub fn matches_labels(&self, labels: Option<&Value>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels
                .and_then(|labels| labels.get(&requirement.key))
                .and_then(Value::as_str);
            requirement.test.passes(value)
        })
    }

    /// The only value that a label may have, if the selector asks for one (`a=b`): lets a caller use an index.
    pub fn exact_value(&self, key: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find_map(|requirement| match &requirement.test {
                Test::In(values) if requirement.key == key && values.len() == 1 => {
                    values.first().map(String::as_str)
                }
                _ => None,
            })
    }
}

impl Test {
    fn passes(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Test::Greater(limit) => number().is_some_and(|number| number > *limit),
            Test::Less(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Symbol(&'static str),
}

fn tokens(text: &str) -> Vec<Token> {
    const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            return found;
        }
        if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            found.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
            continue;
        }
        let end = rest
            .find([' ', '\t', '\r', '\n', '=', '!', '(', ')', ',', '>', '<'])
            .unwrap_or(rest.len());
        found.push(Token::Word(rest[..end].to_owned()));
        rest = &rest[end..];
    }
}

struct LabelParser {
    tokens: Vec<Token>,
    at: usize,
}

impl LabelParser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Result<LabelSelector, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                None => return Ok(LabelSelector { requirements }),
                Some(Token::Word(_) | Token::Symbol("!")) => {}
                Some(Token::Symbol(symbol)) => {
                    return Err(format!(
                        "found '{symbol}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
            let requirement = self
                .requirement()
                .map_err(|why| format!("unable to parse requirement: {why}"))?;
            requirements.push(requirement);
            match self.next() {
                None => return Ok(LabelSelector { requirements }),
                Some(Token::Symbol(",")) => {
                    if !matches!(self.peek(), Some(Token::Word(_) | Token::Symbol("!"))) {
                        return Err(format!(
                            "found '{}', expected: identifier after ','",
                            shown(self.peek())
                        ));
                    }
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: ',' or 'end of string'",
                        shown(other.as_ref())
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let negated = token == Some(Token::Symbol("!"));
        if negated {
            token = self.next();
        }
        let Some(Token::Word(key)) = token else {
            return Err(format!(
                "found '{}', expected: identifier",
                shown(token.as_ref())
            ));
        };
        check_key(&key)?;
        if negated {
            return Ok(Requirement {
                key,
                test: Test::Missing,
            });
        }
        if matches!(self.peek(), None | Some(Token::Symbol(","))) {
            return Ok(Requirement {
                key,
                test: Test::Exists,
            });
        }
        let operator = self.next();
        let test = match &operator {
            Some(Token::Symbol("=" | "==")) => Test::In(self.exact_value(&key)?),
            Some(Token::Symbol("!=")) => Test::NotIn(self.exact_value(&key)?),
            Some(Token::Symbol(">")) => Test::Greater(self.limit(&key)?),
            Some(Token::Symbol("<")) => Test::Less(self.limit(&key)?),
            Some(Token::Word(word)) if word == "in" => Test::In(self.values(&key)?),
            Some(Token::Word(word)) if word == "notin" => Test::NotIn(self.values(&key)?),
            other => {
                return Err(format!(
                    "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                    shown(other.as_ref())
                ));
            }
        };
        Ok(Requirement { key, test })
    }

    fn exact(&mut self) -> Result<String, String> {
        match self.peek() {
            None | Some(Token::Symbol(",")) => Ok(String::new()),
            _ => match self.next() {
                Some(Token::Word(value)) => Ok(value),
                other => Err(format!(
                    "found '{}', expected: identifier",
                    shown(other.as_ref())
                )),
            },
        }
    }

    fn exact_value(&mut self, key: &str) -> Result<BTreeSet<String>, String> {
        let value = self.exact()?;
        check_value(key, 0, &value)?;
        Ok(BTreeSet::from([value]))
    }

    fn limit(&mut self, key: &str) -> Result<i64, String> {
        let value = self.exact()?;
        value.parse().map_err(|_| {
            let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
            Cause::invalid(
                format!("values[0][{key}]"),
                &Value::from(value.as_str()),
                detail,
            )
            .to_string()
        })
    }

    fn values(&mut self, key: &str) -> Result<BTreeSet<String>, String> {
        let open = self.next();
        if open != Some(Token::Symbol("(")) {
            return Err(format!("found '{}' expected: '('", shown(open.as_ref())));
        }
        let mut values = BTreeSet::new();
        // `()` and `(,a)` hold the empty value, as upstream reads them.
        let mut expects_value = true;
        loop {
            match self.next() {
                Some(Token::Word(value)) if expects_value => {
                    check_value(key, values.len(), &value)?;
                    values.insert(value);
                    expects_value = false;
                }
                Some(Token::Symbol(",")) => {
                    if expects_value {
                        values.insert(String::new());
                    }
                    expects_value = true;
                }
                Some(Token::Symbol(")")) => {
                    if expects_value {
                        values.insert(String::new());
                    }
                    return Ok(values);
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: ',', ')' or identifier",
                        shown(other.as_ref())
                    ));
                }
            }
        }
    }
}

fn shown(token: Option<&Token>) -> &str {
    match token {
        None => "",
        Some(Token::Word(word)) => word,
        Some(Token::Symbol(symbol)) => symbol,
    }
}

fn is_name(text: &str) -> bool {
    let ends = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    ends(text.chars().next())
        && ends(text.chars().next_back())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'))
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|part| {
            is_name(part)
                && part
                    .chars()
                    .all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '-'))
        })
}

fn check_key(key: &str) -> Result<(), String> {
    let fault = |rule: &str| Err(Cause::invalid("<nil>", &Value::from(key), rule).to_string());
    let name = match key.split_once('/') {
        None => key,
        Some((prefix, _)) if !is_subdomain(prefix) => return fault(PREFIX_RULE),
        Some((_, name)) => name,
    };
    match name {
        _ if name.len() > 63 => fault("name part must be no more than 63 bytes"),
        _ if !is_name(name) => fault(LABEL_KEY_RULE),
        _ => Ok(()),
    }
}

fn check_value(key: &str, index: usize, value: &str) -> Result<(), String> {
    let fault = |rule: &str| {
        let field = format!("values[{index}][{key}]");
        Err(Cause::invalid(field, &Value::from(value), rule).to_string())
    };
    match value {
        _ if value.len() > 63 => fault("must be no more than 63 bytes"),
        _ if !value.is_empty() && !is_name(value) => fault(LABEL_VALUE_RULE),
        _ => Ok(()),
    }
}

/// A parsed field selector, bound to the fields of one kind. The empty one matches everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq)]
struct FieldRequirement {
    field: String,
    path: JsonPath,
    missing: String,
    equal: bool,
    value: String,
}

impl FieldSelector {
    /// Parses `metadata.name=x,status.phase!=Running` for a kind. Error: 400, for a field that the kind does not select
    /// by, or a part that is no comparison.
    pub fn parse(text: &str, resource: &ResourceType) -> Result<FieldSelector, Status> {
        let mut requirements = Vec::new();
        for part in split_terms(text) {
            if part.is_empty() {
                continue;
            }
            let Some((field, equal, value)) = split_term(&part) else {
                return Err(Status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            let value = unescape(&value).ok_or_else(|| {
                Status::bad_request(format!(
                    "invalid field selector: unknown escape in '{part}'"
                ))
            })?;
            let (path, missing) = field_path(&field, resource)?;
            requirements.push(FieldRequirement {
                field,
                path,
                missing,
                equal,
                value,
            });
        }
        Ok(FieldSelector { requirements })
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether the object fulfils every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        self.requirements.iter().all(|requirement| {
            let actual = match requirement.path.first(object) {
                None | Some(Value::Null) => requirement.missing.clone(),
                Some(Value::String(text)) if text.is_empty() => requirement.missing.clone(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            (actual == requirement.value) == requirement.equal
        })
    }

    /// The one value that the selector asks of a field (`metadata.name=x`).
    pub fn exact_value(&self, field: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find(|requirement| requirement.equal && requirement.field == field)
            .map(|requirement| requirement.value.as_str())
    }

    /// The one name that the selector asks for.
    pub fn exact_name(&self) -> Option<&str> {
        self.exact_value("metadata.name")
    }
}

fn field_path(field: &str, resource: &ResourceType) -> Result<(JsonPath, String), Status> {
    let unknown = || {
        let plain = !resource.is_custom() && resource.selectable_fields.is_empty();
        Status::bad_request(match plain {
            true => format!(
                "\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            ),
            false => format!("field label not supported: {field}"),
        })
    };
    let (path, missing) = match field {
        "metadata.name" | "metadata.namespace" => (format!(".{field}"), String::new()),
        _ => resource
            .selectable_fields
            .iter()
            .find(|candidate| candidate.name == field)
            .map(|found| (found.json_path.clone(), found.missing.clone()))
            .ok_or_else(unknown)?,
    };
    let path = JsonPath::parse(&path).map_err(Status::internal)?;
    Ok((path, missing))
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for letter in text.chars() {
        if letter == ',' && !escaped {
            parts.push(String::new());
            continue;
        }
        if let Some(last) = parts.last_mut() {
            last.push(letter);
        }
        escaped = letter == '\\' && !escaped;
    }
    parts
}

/// Field, whether equality is asked, value as written.
fn split_term(term: &str) -> Option<(String, bool, String)> {
    for (at, _) in term.char_indices() {
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = term[at..].strip_prefix(operator) {
                return Some((term[..at].to_owned(), equal, value.to_owned()));
            }
        }
    }
    None
}

/// Undoes `\\`, `\,` and `\=`; `None` for any other escape.
fn unescape(value: &str) -> Option<String> {
    let mut plain = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next()? {
                escaped @ ('\\' | ',' | '=') => plain.push(escaped),
                _ => return None,
            },
            ',' | '=' => return None,
            other => plain.push(other),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource_type::{
        GenerationRule, NameRule, Names, Origin, SelectableField, Strategy,
    };

    #[test]
    fn label_operators_agree_with_the_truth_table() {
        let none = json!({"metadata": {}});
        let b = json!({"metadata": {"labels": {"a": "b", "n": "5"}}});
        let c = json!({"metadata": {"labels": {"a": "c", "n": "x", "app.io/x": "y"}}});
        // Selector, then whether it matches: no labels, a=b n=5, a=c n=x.
        let cases: &[(&str, [bool; 3])] = &[
            ("", [true, true, true]),
            ("a=b", [false, true, false]),
            ("a==b", [false, true, false]),
            ("a!=b", [true, false, true]),
            ("a in (b,c)", [false, true, true]),
            ("a in ( b )", [false, true, false]),
            ("a notin (b)", [true, false, true]),
            ("a", [false, true, true]),
            ("!a", [true, false, false]),
            ("n>4", [false, true, false]),
            ("n<4", [false, false, false]),
            ("n>5", [false, false, false]),
            ("a=c,n", [false, false, true]),
            ("a, !app.io/x", [false, true, false]),
            ("a=", [false, false, false]),
            ("in=in", [false, false, false]),
            ("a in (,b)", [false, true, false]),
        ];
        for (text, expected) in cases {
            let selector = LabelSelector::parse(text).unwrap();
            let actual = [&none, &b, &c].map(|object| selector.matches(object));
            assert_eq!(actual, *expected, "{text}");
        }
    }

    #[test]
    fn broken_label_selectors_get_upstreams_text() {
        let cases = [
            (
                "a in b",
                "unable to parse requirement: found 'b' expected: '('",
            ),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            (
                "=a",
                "found '=', expected: !, identifier, or 'end of string'",
            ),
            (
                "a in (b",
                "unable to parse requirement: found '', expected: ',', ')' or identifier",
            ),
            (
                "!",
                "unable to parse requirement: found '', expected: identifier",
            ),
            (
                "a>x",
                "unable to parse requirement: values[0][a]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ];
        for (text, expected) in cases {
            let status = LabelSelector::parse(text).unwrap_err();
            assert_eq!(
                (status.code, status.message.as_str()),
                (400, expected),
                "{text}"
            );
        }
        for text in ["-a=b", "a=-b", "A.io/b=c/d", "UPPER/b=c"] {
            let message = LabelSelector::parse(text).unwrap_err().message;
            assert!(
                message.starts_with("unable to parse requirement: "),
                "{message}"
            );
            assert!(message.contains("regex used for validation"), "{message}");
        }
    }

    fn resource(origin: Origin, fields: &[(&str, &str, &str)]) -> ResourceType {
        ResourceType {
            group: String::new(),
            version: "v1".to_owned(),
            names: Names::default(),
            namespaced: true,
            origin,
            open_api_schema: std::sync::Arc::new(json!({})),
            strategy: Strategy {
                status: false,
                scale: None,
                unconditional_update: true,
                create_on_update: false,
                graceful_delete: false,
                generation: GenerationRule::None,
                name_rule: NameRule::Subdomain,
            },
            columns: Vec::new(),
            selectable_fields: fields
                .iter()
                .map(|(name, path, missing)| SelectableField {
                    name: (*name).to_owned(),
                    json_path: (*path).to_owned(),
                    missing: (*missing).to_owned(),
                })
                .collect(),
            verbs: Vec::new(),
            deprecation_warning: None,
        }
    }

    #[test]
    fn fields_are_compared_as_text() {
        let resource = resource(
            Origin::BuiltIn,
            &[
                ("status.phase", ".status.phase", ""),
                ("spec.unschedulable", ".spec.unschedulable", "false"),
            ],
        );
        let object = json!({"metadata": {"name": "a,b"}, "status": {"phase": "Running"}});
        let cases = [
            ("", true),
            ("status.phase=Running", true),
            ("status.phase==Running", true),
            ("status.phase!=Running", false),
            ("status.phase!=Failed,spec.unschedulable=false", true),
            ("spec.unschedulable=true", false),
            (r"metadata.name=a\,b", true),
            ("metadata.namespace=", true),
        ];
        for (text, expected) in cases {
            let selector = FieldSelector::parse(text, &resource).unwrap();
            assert_eq!(selector.matches(&object), expected, "{text}");
        }
        let by_name = FieldSelector::parse("metadata.name=x", &resource).unwrap();
        assert_eq!(by_name.exact_name(), Some("x"));
        let not_by_name = FieldSelector::parse("metadata.name!=x", &resource).unwrap();
        assert_eq!(not_by_name.exact_name(), None);
    }

    #[test]
    fn unknown_fields_and_broken_terms_are_refused_with_upstreams_text() {
        let plain = resource(Origin::BuiltIn, &[]);
        let pod = resource(Origin::BuiltIn, &[("status.phase", ".status.phase", "")]);
        let custom = resource(Origin::CustomResource, &[]);
        let cases = [
            (
                &plain,
                "data.x=1",
                "\"data.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            ),
            (&pod, "spec.x=1", "field label not supported: spec.x"),
            (&custom, "spec.x=1", "field label not supported: spec.x"),
            (
                &pod,
                "nonsense",
                "invalid selector: 'nonsense'; can't understand 'nonsense'",
            ),
        ];
        for (resource, text, expected) in cases {
            let status = FieldSelector::parse(text, resource).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (400, expected));
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text in r"[a-c=!<>(), \\.]{0,16}") {
            let _ = LabelSelector::parse(&text);
            let _ = FieldSelector::parse(&text, &resource(Origin::BuiltIn, &[]));
        }
    }
}
