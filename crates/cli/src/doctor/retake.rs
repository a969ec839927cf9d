//! Asks a running node to try its hardware virtualization again, and waits for its answer.

use std::time::Duration;

use api::accelerator::NodeVerdict;
use api::names::annotations;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::{Format, explain, output};

/// A verdict takes a second at worst; the node may be busy, and sees the request by its watch.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);

pub(super) async fn run(
    connection: &Connection,
    node: &str,
    format: Format,
) -> Result<Exit, Failure> {
    let nodes: Api<Node> = Api::all(connection.client.clone());
    let name = name(connection, &nodes, node).await?;
    // Any token that was never used; the time is one, and says something to whoever reads it.
    let token = Timestamp::now().to_string();
    let patch = json!({"metadata": {"annotations": {annotations::RETAKE_VERDICT: token}}});
    let before = nodes
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(|error| connection.failure(error))?;
    output::hint(&format!(
        "Node {name} tries again; it said {}.",
        told(&before)
    ));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        tokio::time::sleep(PERIOD).await;
        let node = nodes
            .get(&name)
            .await
            .map_err(|error| connection.failure(error))?;
        if is_answered(&node, &token) {
            output::hint(&format!("It says {}.", told(&node)));
            return explain::run(connection, &[format!("node/{name}")], format).await;
        }
        if tokio::time::Instant::now() > deadline {
            let message = format!(
                "node {name} gave no new verdict within {} s",
                PATIENCE.as_secs()
            );
            return Err(Failure::new(message)
                .exit(Exit::TimedOut)
                .fix("anyvirt up", "starts the node's agent, if it does not run")
                .fix(
                    &format!("anyvirt explain node/{name}"),
                    "shows whether it is ready",
                ));
        }
    }
}

/// The node that is meant: the only one, unless one is named.
async fn name(connection: &Connection, nodes: &Api<Node>, node: &str) -> Result<String, Failure> {
    let node = node.strip_prefix("node/").unwrap_or(node);
    if !node.is_empty() {
        return Ok(node.to_owned());
    }
    let all = nodes
        .list(&ListParams::default())
        .await
        .map_err(|error| connection.failure(error))?;
    match all.items.as_slice() {
        [only] => Ok(only.name_any()),
        [] => Err(Failure::new("there is no node yet").exit(Exit::NotFound)),
        several => {
            let message = format!("there are {} nodes; say which one", several.len());
            Err(Failure::new(message)
                .exit(Exit::Usage)
                .fix("anyvirt doctor --retake NODE", "asks that one"))
        }
    }
}

fn told(node: &Node) -> String {
    let verdict = NodeVerdict::of(node);
    let works = if verdict.usable {
        "works"
    } else {
        "does not work"
    };
    format!(
        "that hardware virtualization {works}: {}",
        verdict.evidence()
    )
}

/// Has the node taken a verdict for this token?
fn is_answered(node: &Node, token: &str) -> bool {
    let answered = node.annotations().get(annotations::VERDICT_RETAKEN);
    answered.is_some_and(|answered| answered == token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_token_is_an_answer() {
        let node = |answered: &str| -> Node {
            serde_json::from_value(json!({"metadata": {"name": "one", "annotations": {
                "anyvirt.io/verdict-retaken": answered}}}))
            .unwrap()
        };
        assert!(is_answered(
            &node("2026-11-22T10:00:05Z"),
            "2026-11-22T10:00:05Z"
        ));
        assert!(!is_answered(
            &node("2026-11-22T09:00:00Z"),
            "2026-11-22T10:00:05Z"
        ));
        assert!(!is_answered(&Node::default(), "2026-11-22T10:00:05Z"));
    }
}
