//! What is the matter with this machine: can it run virtual machines, how, and what is in the way?
//!
//! The binary looks, and fills in [`Facts`]; this module judges and tells. Works without a server;
//! what only a server knows is then missing from the report.

mod checks;
mod facts;
mod retake;

use api::explain::Remedy;
use serde::Serialize;

pub use facts::{
    ControlGroups, Emulator, Facts, Firmware, Helper, Program, Slowdown, User, Verdict,
};

use crate::cluster;
use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::{Format, output};

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    /// For programs; stable across releases.
    id: String,
    name: String,
    result: Outcome,
    /// What was seen.
    evidence: String,
    /// What helps, the best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cures: Vec<Remedy>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// As it should be.
    Ok,
    /// Something is slower, smaller or not served for it, and nothing else stops.
    Warning,
    /// Virtual machines do not start for it.
    Failed,
}

/// The whole report. `apiVersion` changes when a field changes its meaning.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    /// Version of this program.
    version: String,
    checks: Vec<Check>,
    verdict: String,
    /// Can virtual machines start here?
    ready: bool,
}

pub(crate) async fn run(
    facts: &Facts,
    connection: Result<&Connection, &str>,
    format: Format,
) -> Result<Exit, Failure> {
    // A server that cannot be reached is one of the findings.
    let (cluster, server) = match connection {
        Err(why) => (Err(why.to_owned()), None),
        Ok(connection) => {
            let seen = cluster::look_at_settings(&connection.client)
                .await
                .map_err(|error| connection.failure(error));
            let seen = seen.map_err(|failure| failure.message);
            (seen, Some(connection.server.as_str()))
        }
    };
    let home = std::env::home_dir().map(|home| home.display().to_string());
    let cluster = cluster.map_err(|why| without_names(&why, server, home.as_deref()));
    let report = checks::examine(facts, cluster.as_ref().map_err(String::as_str));
    output::object(format, &report, || table(&report))?;
    Ok(exit(&report))
}

/// Asks a node to try its hardware virtualization again, waits for its answer, and explains it.
pub(crate) async fn retake(
    connection: &Connection,
    node: &str,
    format: Format,
) -> Result<Exit, Failure> {
    retake::run(connection, node, format).await
}

/// A failure fit for a bug report: without the server's address, and without the home directory, which
/// has its user's name in it.
fn without_names(text: &str, server: Option<&str>, home: Option<&str>) -> String {
    let mut text = text.to_owned();
    let names = [
        (server, "the server"),
        (home.filter(|home| *home != "/"), "~"),
    ];
    for (name, instead) in names {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            text = text.replace(name, instead);
        }
    }
    text
}

fn exit(report: &Report) -> Exit {
    if report.ready {
        Exit::Ok
    } else {
        Exit::Acceleration
    }
}

fn table(report: &Report) -> String {
    let mut rows = vec![["CHECK", "RESULT", "DETAIL"].map(str::to_owned).to_vec()];
    for check in &report.checks {
        let result = match check.result {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Failed => "FAILED",
        };
        rows.push(vec![
            check.name.clone(),
            result.to_owned(),
            check.evidence.clone(),
        ]);
        for cure in &check.cures {
            let what = match &cure.command {
                Some(command) => format!("-> {}: {command}", cure.title),
                None => format!("-> {}", cure.title),
            };
            rows.push(vec![String::new(), String::new(), what]);
        }
    }
    format!(
        "anyvirt {}\n\n{}\nVerdict: {}\n",
        report.version,
        output::columns(&rows),
        report.verdict
    )
}

#[cfg(test)]
mod tests;
