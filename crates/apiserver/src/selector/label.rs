//! Label selectors.

use std::collections::BTreeSet;

use serde_json::Value;

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
