//! What the console asks about virtual machines: what is the matter with one, and what would follow from a change.
//! Everything is read with the rights of who asks.

use api::accelerator::{SWITCH, permit_emulation};
use api::explain::{Explanation, Remedy};
use api::outlook::{Applied, SWITCH_NAMESPACE};
use apiserver::{Body, Cause, Status};
use http::Response;
use serde::Deserialize;
use serde_json::{Value, json};

/// `GET explain?namespace=NS&name=VM`.
pub(super) async fn explain(client: &kube::Client, query: &str) -> Result<Response<Body>, Status> {
    let parameter = |wanted: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| {
                Status::bad_request(format!("{wanted}: say it as ?namespace=NS&name=VM"))
            })
    };
    // Names of namespaces and machines are DNS labels: nothing in them is ever encoded.
    let (namespace, name) = (parameter("namespace")?, parameter("name")?);
    for text in [namespace, name] {
        if !text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        {
            return Err(Status::bad_request(format!("{text:?} is no name")));
        }
    }
    let explained = cli::explain::machine(client, namespace, name).await;
    let explanation = explained
        .map_err(status)?
        .ok_or_else(|| Status::not_found(api::names::GROUP, "virtualmachines", name))?;
    Ok(super::answer(&told(&explanation)))
}

fn told(explanation: &Explanation) -> Value {
    json!({
        "cause": explanation.cause,
        "causeId": explanation.cause_id,
        "standing": explanation.standing,
        "evidence": explanation.evidence,
        "cures": explanation.remedies.iter().map(cure).collect::<Vec<_>>(),
    })
}

/// A cure, and what the console can do of it by itself: a merge patch.
fn cure(remedy: &Remedy) -> Value {
    let mut cure = json!({
        "title": remedy.title,
        "effect": remedy.effect,
        "cost": remedy.cost,
        "reversible": remedy.reversible,
    });
    if let Some(command) = &remedy.command {
        cure["command"] = json!(command);
    }
    if remedy.command.is_some() && remedy.command == permit_emulation().command {
        let map = api::names::CONFIG_MAP;
        cure["action"] = json!({
            "kind": "patch",
            "path": format!("/api/v1/namespaces/{SWITCH_NAMESPACE}/configmaps/{map}"),
            "body": {"data": {SWITCH: "true"}},
        });
    }
    cure
}

/// The body of `consequences`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    object: Value,
}

/// `POST consequences` with `{"object": OBJECT}`, the object as it would be applied.
pub(super) async fn consequences(
    client: &kube::Client,
    body: &[u8],
) -> Result<Response<Body>, Status> {
    let asked: Asked = serde_json::from_slice(body).map_err(|error| {
        Status::bad_request(format!("the body is {{\"object\": OBJECT}}: {error}"))
    })?;
    let kind = asked.object["kind"].as_str().unwrap_or_default().to_owned();
    let name = asked.object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let applied = Applied::read(asked.object).map_err(|error| {
        Status::invalid(
            "",
            &kind,
            &name,
            vec![Cause::new("FieldValueInvalid", "", error)],
        )
    })?;
    let told = match applied {
        // Of no kind that bears on machines.
        None => api::outlook::Consequences::default(),
        Some(applied) => {
            let cluster = cli::cluster::look(client).await.map_err(status)?;
            api::outlook::consequences(&cluster, &applied)
        }
    };
    let told = serde_json::to_value(told).map_err(Status::internal)?;
    Ok(super::answer(&told))
}

/// The API's own answer to who asks, or that it cannot be asked.
fn status(error: kube::Error) -> Status {
    match error {
        kube::Error::Api(refused) => Status::new(refused.code, refused.reason, refused.message),
        other => Status::internal(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permitting_emulation_is_a_button_and_other_cures_are_words() {
        let button = cure(&permit_emulation());
        assert_eq!(
            button["action"],
            json!({
                "kind": "patch",
                "path": "/api/v1/namespaces/openshift-cnv/configmaps/kubevirt-config",
                "body": {"data": {"debug.useEmulation": "true"}},
            })
        );
        let words = cure(&Remedy::new("Wait", "it may come", "time", true));
        assert_eq!(
            words,
            json!({"title": "Wait", "effect": "it may come", "cost": "time", "reversible": true})
        );
    }
}
