//! The dialect of JSONPath that printer columns and selectable fields use.
//!
//! Known: `.name`, `['name']`, `\.` in names, `[0]`, `[-1]`, `[1:3]`, `[*]`, `.*`, `[?(@.type=='Ready')]` with the
//! operators `== != < <= > >=` or none (existence). Braces around the whole and a leading `$` may stand or not.

use std::cmp::Ordering;

use serde_json::Value;

/// Longest path that is parsed, in bytes: columns are short, and the time to evaluate grows with it.
const MAX_LENGTH: usize = 1024;
/// Most values that a path may lead to; further ones are dropped.
const MAX_RESULTS: usize = 1000;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    Filter {
        path: Vec<Step>,
        test: Option<(Operator, Value)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Parses a path, e.g. `.status.conditions[?(@.type=='Ready')].status`. Error: what is wrong, naming the path.
    pub fn parse(text: &str) -> Result<JsonPath, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("JSON path is longer than {MAX_LENGTH} bytes"));
        }
        let inner = text.trim();
        let inner = match inner.strip_prefix('{') {
            Some(rest) => rest
                .strip_suffix('}')
                .ok_or_else(|| format!("unclosed brace in JSON path {text:?}"))?,
            None => inner,
        };
        let inner = inner.strip_prefix('$').unwrap_or(inner);
        let mut parser = Parser {
            letters: inner.chars().collect(),
            at: 0,
        };
        let steps = parser
            .steps(false)
            .map_err(|why| format!("JSON path {text:?}: {why}"))?;
        Ok(JsonPath { steps })
    }

    /// Every value that the path leads to, in order; empty if nothing is there.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        follow(&self.steps, value)
    }

    /// The first value that the path leads to.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.find(value).into_iter().next()
    }
}

fn follow<'a>(steps: &[Step], value: &'a Value) -> Vec<&'a Value> {
    let mut current = vec![value];
    for step in steps {
        let mut next = Vec::new();
        for value in current {
            take(step, value, &mut next);
            if next.len() >= MAX_RESULTS {
                next.truncate(MAX_RESULTS);
                break;
            }
        }
        current = next;
    }
    current
}

fn take<'a>(step: &Step, value: &'a Value, found: &mut Vec<&'a Value>) {
    match (step, value) {
        (Step::Field(name), Value::Object(fields)) => found.extend(fields.get(name)),
        (Step::Index(index), Value::Array(items)) => {
            found.extend(position(*index, items.len()).and_then(|at| items.get(at)));
        }
        (Step::Slice(start, end), Value::Array(items)) => {
            let bound = |given: Option<i64>, otherwise: usize| match given {
                Some(index) if index < 0 => {
                    items.len().saturating_sub(index.unsigned_abs() as usize)
                }
                Some(index) => (index as usize).min(items.len()),
                None => otherwise,
            };
            let (start, end) = (bound(*start, 0), bound(*end, items.len()));
            if start < end {
                found.extend(&items[start..end]);
            }
        }
        (Step::All, Value::Array(items)) => found.extend(items),
        (Step::All, Value::Object(fields)) => found.extend(fields.values()),
        (Step::Filter { path, test }, Value::Array(items)) => {
            found.extend(
                items
                    .iter()
                    .filter(|item| passes(path, test.as_ref(), item)),
            );
        }
        _ => {}
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    match index < 0 {
        true => length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?),
        false => usize::try_from(index).ok(),
    }
}

fn passes(path: &[Step], test: Option<&(Operator, Value)>, item: &Value) -> bool {
    let found = follow(path, item);
    let Some((operator, wanted)) = test else {
        return !found.is_empty();
    };
    found.iter().any(|value| {
        let order = match (value, wanted) {
            (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
            (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
            (Value::Number(one), Value::Number(other)) => one
                .as_f64()
                .zip(other.as_f64())
                .and_then(|(one, other)| one.partial_cmp(&other)),
            _ => None,
        };
        match operator {
            Operator::Equal => order == Some(Ordering::Equal),
            Operator::NotEqual => order.is_some_and(|order| order != Ordering::Equal),
            Operator::Less => order == Some(Ordering::Less),
            Operator::LessOrEqual => order.is_some_and(|order| order != Ordering::Greater),
            Operator::Greater => order == Some(Ordering::Greater),
            Operator::GreaterOrEqual => order.is_some_and(|order| order != Ordering::Less),
        }
    })
}

struct Parser {
    letters: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn eat(&mut self, text: &str) -> bool {
        let length = text.chars().count();
        let matches = self
            .letters
            .get(self.at..self.at + length)
            .is_some_and(|next| next.iter().copied().eq(text.chars()));
        if matches {
            self.at += length;
        }
        matches
    }

    fn spaces(&mut self) {
        while self.peek() == Some(' ') {
            self.at += 1;
        }
    }

    /// Steps up to the end, or (in a filter) up to an operator or the closing parenthesis.
    fn steps(&mut self, in_filter: bool) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        loop {
            match self.peek() {
                None => return Ok(steps),
                Some('.') => {
                    self.at += 1;
                    match self.peek() {
                        Some('.') => {
                            return Err(
                                "recursive descent (..) is not served; write the whole path"
                                    .to_owned(),
                            );
                        }
                        Some('*') => {
                            self.at += 1;
                            steps.push(Step::All);
                        }
                        Some('[') => {}
                        _ => {
                            let name = self.name(in_filter);
                            // A lone dot is the object itself.
                            if !name.is_empty() {
                                steps.push(Step::Field(name));
                            }
                        }
                    }
                }
                Some('[') => {
                    self.at += 1;
                    steps.push(self.bracket(in_filter)?);
                }
                Some(_) if in_filter => return Ok(steps),
                Some(_) => {
                    let name = self.name(false);
                    if name.is_empty() {
                        return Err(format!("unexpected {:?}", self.peek().unwrap_or_default()));
                    }
                    steps.push(Step::Field(name));
                }
            }
        }
    }

    fn name(&mut self, in_filter: bool) -> String {
        let mut name = String::new();
        while let Some(letter) = self.peek() {
            let ends = matches!(letter, '.' | '[' | ']')
                || (in_filter && matches!(letter, ' ' | '=' | '!' | '<' | '>' | ')'));
            if ends {
                break;
            }
            self.at += 1;
            if letter != '\\' {
                name.push(letter);
            } else if let Some(escaped) = self.peek() {
                self.at += 1;
                name.push(escaped);
            }
        }
        name
    }

    fn bracket(&mut self, in_filter: bool) -> Result<Step, String> {
        self.spaces();
        let step = match self.peek() {
            Some('*') => {
                self.at += 1;
                Step::All
            }
            Some('\'' | '"') => Step::Field(self.quoted()?),
            Some('?') if in_filter => {
                return Err("filters inside filters are not served".to_owned());
            }
            Some('?') => self.filter()?,
            _ => {
                let start = self.number();
                match self.eat(":") {
                    true => Step::Slice(start, self.number()),
                    false => Step::Index(
                        start.ok_or("expected a number, a name in quotes, * or ?( after [")?,
                    ),
                }
            }
        };
        self.spaces();
        match self.eat("]") {
            true => Ok(step),
            false => Err("expected ]".to_owned()),
        }
    }

    fn number(&mut self) -> Option<i64> {
        let start = self.at;
        if self.peek() == Some('-') {
            self.at += 1;
        }
        while self.peek().is_some_and(|letter| letter.is_ascii_digit()) {
            self.at += 1;
        }
        let parsed = self.letters[start..self.at]
            .iter()
            .collect::<String>()
            .parse()
            .ok();
        if parsed.is_none() {
            self.at = start;
        }
        parsed
    }

    fn quoted(&mut self) -> Result<String, String> {
        let Some(quote) = self.peek() else {
            return Err("expected a quote".to_owned());
        };
        self.at += 1;
        let mut text = String::new();
        while let Some(letter) = self.peek() {
            self.at += 1;
            if letter == quote {
                return Ok(text);
            }
            if letter != '\\' {
                text.push(letter);
            } else if let Some(escaped) = self.peek() {
                self.at += 1;
                text.push(escaped);
            }
        }
        Err("unclosed quote".to_owned())
    }

    fn filter(&mut self) -> Result<Step, String> {
        if !self.eat("?(") {
            return Err("expected ?(".to_owned());
        }
        self.spaces();
        if !self.eat("@") {
            return Err("a filter must start with @".to_owned());
        }
        let path = self.steps(true)?;
        self.spaces();
        let operators = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let operator = operators
            .into_iter()
            .find(|(text, _)| self.eat(text))
            .map(|(_, operator)| operator);
        let test = match operator {
            None => None,
            Some(operator) => {
                self.spaces();
                Some((operator, self.literal()?))
            }
        };
        self.spaces();
        match self.eat(")") {
            true => Ok(Step::Filter { path, test }),
            false => Err("expected ) at the end of a filter".to_owned()),
        }
    }

    fn literal(&mut self) -> Result<Value, String> {
        if matches!(self.peek(), Some('\'' | '"')) {
            return Ok(Value::from(self.quoted()?));
        }
        let start = self.at;
        while self
            .peek()
            .is_some_and(|letter| !matches!(letter, ')' | ' '))
        {
            self.at += 1;
        }
        let text: String = self.letters[start..self.at].iter().collect();
        match text.parse::<bool>() {
            Ok(flag) => Ok(Value::from(flag)),
            Err(_) => text.parse::<f64>().map(Value::from).map_err(|_| {
                format!("{text:?} is no literal: expected quotes, a number, true or false")
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_where_columns_expect() {
        let object = json!({
            "spec": {"a": 1, "a.b": 2, "list": [10, 20, 30]},
            "metadata": {"labels": {"x.y/z": "v"}, "name": "n"},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "count": 3},
                {"type": "Paused", "status": "False", "count": 5, "extra": {}},
            ]},
        });
        let cases: &[(&str, Value)] = &[
            (".spec.a", json!([1])),
            ("spec.a", json!([1])),
            ("{.spec.a}", json!([1])),
            ("$.spec.a", json!([1])),
            (".spec.missing.deeper", json!([])),
            (".spec['a.b']", json!([2])),
            (r".spec.a\.b", json!([2])),
            (r".metadata.labels.x\.y/z", json!(["v"])),
            (".spec.list[0]", json!([10])),
            (".spec.list[-1]", json!([30])),
            (".spec.list[9]", json!([])),
            (".spec.list[-9]", json!([])),
            (".spec.list[1:]", json!([20, 30])),
            (".spec.list[:-1]", json!([10, 20])),
            (".spec.list[*]", json!([10, 20, 30])),
            (
                ".status.conditions[?(@.type=='Ready')].status",
                json!(["True"]),
            ),
            (
                ".status.conditions[?(@.type == \"Paused\")].status",
                json!(["False"]),
            ),
            (
                ".status.conditions[?(@.type!='Ready')].type",
                json!(["Paused"]),
            ),
            (".status.conditions[?(@.count>=4)].type", json!(["Paused"])),
            (".status.conditions[?(@.extra)].type", json!(["Paused"])),
            (".status.conditions[*].type", json!(["Ready", "Paused"])),
            (".metadata.*", json!([{"x.y/z": "v"}, "n"])),
        ];
        for (text, expected) in cases {
            let path = JsonPath::parse(text).unwrap();
            let found: Vec<Value> = path.find(&object).into_iter().cloned().collect();
            assert_eq!(Value::from(found), *expected, "{text}");
        }
    }

    #[test]
    fn broken_paths_say_what_is_wrong() {
        let cases = [
            ("{.a", "unclosed brace"),
            (".a[", "expected a number"),
            (".a['b", "unclosed quote"),
            (".a[0", "expected ]"),
            ("..a", "not served"),
            (".a[?(b)]", "must start with @"),
            (".a[?(@.b==c)]", "no literal"),
            (".a[?(@.b=='c']", "expected )"),
        ];
        for (text, expected) in cases {
            let error = JsonPath::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(JsonPath::parse(&".a".repeat(MAX_LENGTH)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text in r#"[.\[\]?@()'"a0:*={}$\\ -]{0,24}"#) {
            if let Ok(path) = JsonPath::parse(&text) {
                path.find(&json!({"a": [{"a": 0}, "a"]}));
            }
        }
    }
}
