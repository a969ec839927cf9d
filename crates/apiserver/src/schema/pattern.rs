//! Regular expressions in the syntax of schemas (RE2), run by the crate `regex`.

use regex::{Regex, RegexBuilder};

/// Compiled size that a pattern may have; the same bound as the crate's own default, said here because patterns come
/// from users.
const SIZE_LIMIT: usize = 10 * (1 << 20);

/// A compiled pattern and the text it came from.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    source: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles a pattern written in RE2's syntax. Error: the reason, in one line.
    pub(crate) fn new(source: &str) -> Result<Pattern, String> {
        let regex = RegexBuilder::new(&translate(source))
            .size_limit(SIZE_LIMIT)
            .build()
            .map_err(|error| {
                error
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .to_owned()
            })?;
        Ok(Pattern {
            source: source.to_owned(),
            regex,
        })
    }

    /// The text as written in the schema.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// RE2 to `regex`: the classes `\d \w \s \b` are ASCII in RE2; `[`, `&&`, `--` and `~~` mean themselves in RE2's
/// classes but nesting and set operations in `regex`; `\<` and `\>` are plain letters in RE2.
fn translate(source: &str) -> String {
    let letters: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len() + 16);
    let mut in_class = false;
    let mut class_start = 0;
    let mut at = 0;
    while at < letters.len() {
        let letter = letters[at];
        let next = letters.get(at + 1).copied();
        match letter {
            '\\' => {
                match next {
                    Some(escaped) => push_escape(&mut out, escaped, in_class),
                    None => out.push('\\'),
                }
                at += 1;
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if next == Some('^') {
                    out.push('^');
                    at += 1;
                }
                class_start = at + 1;
                // A bracket right at the start is a member of the class.
                if letters.get(class_start) == Some(&']') {
                    out.push_str("\\]");
                    at += 1;
                }
            }
            '[' if next == Some(':') => out.push('['),
            '[' => out.push_str("\\["),
            ']' if in_class => {
                // `[:alpha:]` ends with ":]", which does not end the class.
                if !(at > class_start
                    && letters[at - 1] == ':'
                    && posix_open(&letters, class_start, at))
                {
                    in_class = false;
                }
                out.push(']');
            }
            '&' | '~' | '-' if in_class && next == Some(letter) => {
                out.push('\\');
                out.push(letter);
            }
            other => out.push(other),
        }
        at += 1;
    }
    out
}

/// Whether the `:]` that ends at `end` closes a `[:` that opened inside the class.
fn posix_open(letters: &[char], class_start: usize, end: usize) -> bool {
    let mut at = end.saturating_sub(2);
    while at > class_start && (letters[at].is_ascii_alphabetic() || letters[at] == '^') {
        at -= 1;
    }
    at > class_start && letters[at] == ':' && letters[at - 1] == '['
}

fn push_escape(out: &mut String, escaped: char, in_class: bool) {
    match escaped {
        'd' if in_class => out.push_str("0-9"),
        'w' if in_class => out.push_str("0-9A-Za-z_"),
        's' if in_class => out.push_str("\\t\\n\\f\\r "),
        'd' => out.push_str("[0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'D' => out.push_str("[^0-9]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'B' if !in_class => out.push_str("(?-u:\\B)"),
        '<' | '>' => out.push(escaped),
        other => {
            out.push('\\');
            out.push(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_in_re2_syntax_match_as_in_re2() {
        let cases: &[(&str, &str, bool)] = &[
            (r"^\d+$", "123", true),
            (r"^\d+$", "\u{0663}", false),
            (r"^[\d.]+$", "1.2", true),
            (r"^[a[]+$", "a[", true),
            (r"^[[:alpha:]_]+$", "ab_", true),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"^[^[:digit:]]$", "7", false),
            (r"^[]a]+$", "]a", true),
            (r"^[a&&b]+$", "&", true),
            (r"^\<a\>$", "<a>", true),
            (r"^a/b$|^\/x$", "/x", true),
            (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a-b", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^\w+$", "\u{e9}", false),
            (r"^\p{L}+$", "\u{e9}", true),
        ];
        for (source, text, matches) in cases {
            let pattern = Pattern::new(source).unwrap();
            assert_eq!(pattern.is_match(text), *matches, "{source} on {text}");
        }
    }

    #[test]
    fn a_broken_pattern_says_why() {
        assert!(Pattern::new("(").unwrap_err().contains("unclosed group"));
    }
}
