//! The templates that machines start from.

use api::warm_start::{StandbyGuests, WarmStartTemplate, phases};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde::Serialize;

use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::status::API_VERSION;
use crate::{Format, output};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Templates {
    api_version: &'static str,
    kind: &'static str,
    templates: Vec<Row>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    name: String,
    node: String,
    image: String,
    accelerator: String,
    phase: String,
    /// Bytes of disk space.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<i64>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<String>,
    /// Bytes of memory that its node holds.
    held_bytes: i64,
    uses: i64,
    failures: i64,
    /// Guests of it that stand by, and that are to.
    #[serde(skip_serializing_if = "Option::is_none")]
    standby: Option<StandbyGuests>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Shows them.
///
/// # Errors
/// If the server cannot be asked.
pub(super) async fn run(
    connection: &Connection,
    all_namespaces: bool,
    format: Format,
) -> Result<Exit, Failure> {
    let client = connection.client.clone();
    let api: Api<WarmStartTemplate> = if all_namespaces {
        Api::all(client)
    } else {
        Api::namespaced(client, &connection.namespace)
    };
    let found = api.list(&ListParams::default()).await;
    let found = found.map_err(|error| connection.failure(error))?;
    let mut rows: Vec<Row> = found.items.into_iter().map(row).collect();
    rows.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    let shown = Templates {
        api_version: API_VERSION,
        kind: "WarmStartTemplates",
        templates: rows,
    };
    output::object(format, &shown, || {
        table(&shown.templates, all_namespaces, Timestamp::now())
    })
}

fn row(object: WarmStartTemplate) -> Row {
    let status = object.status.clone().unwrap_or_default();
    let phase = if status.phase.is_empty() {
        phases::BUILDING.to_owned()
    } else {
        status.phase
    };
    Row {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        node: object.spec.node,
        image: object.spec.image,
        accelerator: object.spec.accelerator,
        phase,
        size_bytes: status.size_bytes,
        size: status.size.map(|size| size.0),
        held_bytes: status.held_bytes.unwrap_or_default(),
        uses: status.uses,
        failures: status.failures,
        standby: status.standby,
        made_at: status.made_at.map(|time| time.0),
        last_used_at: status.last_used_at.map(|time| time.0),
        message: status.message,
    }
}

fn table(rows: &[Row], with_namespace: bool, now: Timestamp) -> String {
    if rows.is_empty() {
        return "No templates. A machine gets one by the annotation anyvirt.io/warm-start: Auto in its template.\n"
            .to_owned();
    }
    let heads = [
        "NAME", "IMAGE", "PHASE", "SIZE", "USES", "STANDBY", "MADE", "MESSAGE",
    ];
    let mut lines = vec![heads.map(str::to_owned).to_vec()];
    for row in rows {
        let made = row.made_at.map(|at| format!("{} ago", ago(at, now)));
        let standby = row.standby.map(|it| format!("{}/{}", it.ready, it.wanted));
        lines.push(vec![
            row.name.clone(),
            row.image.clone(),
            row.phase.clone(),
            row.size.clone().unwrap_or_default(),
            row.uses.to_string(),
            standby.unwrap_or_default(),
            made.unwrap_or_default(),
            row.message.clone().unwrap_or_default(),
        ]);
    }
    if with_namespace {
        let names = rows.iter().map(|row| row.namespace.clone());
        let names = std::iter::once("NAMESPACE".to_owned()).chain(names);
        for (line, name) in lines.iter_mut().zip(names) {
            line.insert(0, name);
        }
    }
    output::columns(&lines)
}

/// kubectl's way to tell an age.
fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.duration_since(at).as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(name: &str, status: serde_json::Value) -> WarmStartTemplate {
        serde_json::from_value(json!({
            "apiVersion": "anyvirt.io/v1alpha1", "kind": "WarmStartTemplate",
            "metadata": { "name": name, "namespace": "ns" },
            "spec": { "node": "n", "key": "0", "image": "registry/web:1" },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn templates_are_shown_with_what_they_are_of_and_why_there_is_none() {
        let ready = json!({ "phase": "Ready", "size": "77Mi", "sizeBytes": 80_000_000, "uses": 3,
            "standby": { "ready": 1, "wanted": 2 }, "madeAt": "2026-11-23T12:00:00Z" });
        let refused =
            json!({ "phase": "Refused", "reason": "NoHook", "message": "nothing renews it" });
        let rows = [
            row(object("a-n", ready)),
            row(object("b-n", refused)),
            row(object("c-n", json!({}))),
        ];
        let now: Timestamp = "2026-11-23T15:10:00Z".parse().unwrap();
        let shown = table(&rows, true, now);
        let lines: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|it| !it.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(
            lines[1],
            [
                "ns",
                "a-n",
                "registry/web:1",
                "Ready",
                "77Mi",
                "3",
                "1/2",
                "3h ago"
            ]
        );
        assert_eq!(
            lines[2],
            [
                "ns",
                "b-n",
                "registry/web:1",
                "Refused",
                "0",
                "nothing renews it"
            ]
        );
        assert_eq!(lines[3], ["ns", "c-n", "registry/web:1", "Building", "0"]);
        assert!(table(&[], false, now).contains("anyvirt.io/warm-start"));
    }
}
