//! The only place that writes to standard output and standard error.

use std::io::{self, Write};

use serde::Serialize;

use crate::Format;
use crate::failure::{Exit, Failure};

/// Data: what was asked for.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// Data as it is, written out at once.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| {
            let failure = Failure::new(format!("cannot write to standard output: {error}"));
            // Whoever reads has seen enough: `anyvirt logs vm | head` is no failure to tell about.
            let enough = error.kind() == io::ErrorKind::BrokenPipe;
            if enough {
                Failure {
                    message: String::new(),
                    ..failure
                }
            } else {
                failure
            }
        })
}

/// Progress and hints: for the person who watches. That they cannot be written stops nothing.
pub(crate) fn hint(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A question, without a new line.
pub(crate) fn question(text: &str) {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{text}").and_then(|()| err.flush());
}

/// A failure and what helps.
pub(crate) fn failure(failure: &Failure) {
    if !failure.message.is_empty() {
        hint(&failure_text(failure));
    }
}

/// What clap says: help to standard output, errors to standard error.
pub(crate) fn usage(error: &clap::Error) {
    let _ = error.print();
}

fn failure_text(failure: &Failure) -> String {
    let mut text = format!("error: {}", failure.message);
    let width = failure
        .fixes
        .iter()
        .map(|(command, _)| command.len())
        .max()
        .unwrap_or(0);
    for (index, (command, what)) in failure.fixes.iter().enumerate() {
        let word = if index == 0 { "fix" } else { " or" };
        text.push_str(&format!("\n  {word}   {command:width$}   {what}"));
    }
    text
}

/// An object in a format for programs, or else `table`.
pub(crate) fn object<T: Serialize>(
    format: Format,
    object: &T,
    table: impl FnOnce() -> String,
) -> Result<Exit, Failure> {
    let text = match format {
        Format::Table => table(),
        Format::Json => serde_json::to_string_pretty(object)
            .map(|text| text + "\n")
            .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?,
        Format::Yaml => serde_saphyr::to_string(object)
            .map_err(|error| Failure::new(format!("cannot write YAML: {error}")))?,
    };
    data(&text)?;
    Ok(Exit::Ok)
}

/// Rows as columns, as kubectl shows them: three spaces between, none at the end of a line.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..count)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn failures_end_with_what_helps() {
        let failure = Failure::new("no VM \"wbe\" in namespace demo")
            .fix("anyvirt status", "shows all")
            .fix("kubectl apply -f web.yaml", "makes it");
        expect![[r#"
            error: no VM "wbe" in namespace demo
              fix   anyvirt status              shows all
               or   kubectl apply -f web.yaml   makes it"#]]
        .assert_eq(&failure_text(&failure));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["NAME", "STATUS"],
            vec!["a-long-name", "Running"],
            vec!["b", ""],
        ];
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|&cell| cell.to_owned()).collect())
            .collect();
        expect![[r#"
            NAME          STATUS
            a-long-name   Running
            b
        "#]]
        .assert_eq(&columns(&rows));
    }
}
