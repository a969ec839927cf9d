//! start, stop, restart, pause and unpause: verbs of `subresources.kubevirt.io`, with virtctl's words.

use api::virtual_machine::VirtualMachine;
use http::Method;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::Force;
use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::output;

pub(crate) async fn start(
    connection: &Connection,
    name: &str,
    paused: bool,
    dry_run: bool,
) -> Result<Exit, Failure> {
    let mut body = options(dry_run);
    if paused {
        body["paused"] = json!(true);
    }
    machine(connection, name, "start", &body, dry_run).await
}

pub(crate) async fn stop(
    connection: &Connection,
    name: &str,
    force: Force,
) -> Result<Exit, Failure> {
    let mut body = options(force.dry_run);
    if let Some(seconds) = grace_period(force)? {
        body["gracePeriod"] = json!(seconds);
    }
    machine(connection, name, "stop", &body, force.dry_run).await
}

pub(crate) async fn restart(
    connection: &Connection,
    name: &str,
    force: Force,
) -> Result<Exit, Failure> {
    let mut body = options(force.dry_run);
    if let Some(seconds) = grace_period(force)? {
        body["gracePeriodSeconds"] = json!(seconds);
    }
    machine(connection, name, "restart", &body, force.dry_run).await
}

pub(crate) async fn pause(
    connection: &Connection,
    words: &[String],
    pause: bool,
    dry_run: bool,
) -> Result<Exit, Failure> {
    let name = match words {
        [kind, name]
            if matches!(
                kind.as_str(),
                "vm" | "vmi" | "virtualmachine" | "virtualmachineinstance"
            ) =>
        {
            name
        }
        [kind, _] => {
            let message = format!("unsupported resource type: {kind}; write vm or vmi");
            return Err(Failure::new(message).exit(Exit::Usage));
        }
        [name] => name,
        _ => return Err(Failure::new("give the name of a virtual machine").exit(Exit::Usage)),
    };
    let name = plain(name);
    let verb = if pause { "pause" } else { "unpause" };
    if dry_run {
        output::hint("Dry Run execution");
    }
    let path = connection.subresource("virtualmachineinstances", name, verb);
    put(connection, &path, &options(dry_run)).await?;
    output::data(&format!("VMI {name} was scheduled to {verb}\n"))?;
    Ok(Exit::Ok)
}

async fn machine(
    connection: &Connection,
    name: &str,
    verb: &str,
    body: &Value,
    dry_run: bool,
) -> Result<Exit, Failure> {
    let name = plain(name);
    if dry_run {
        output::hint("Dry Run execution");
    }
    let path = connection.subresource("virtualmachines", name, verb);
    match put(connection, &path, body).await {
        Ok(()) => output::data(&format!("VM {name} was scheduled to {verb}\n"))?,
        Err(failure) if failure.exit == Exit::NotFound => {
            return Err(not_found(connection, name, failure).await);
        }
        Err(failure) => return Err(failure),
    }
    Ok(Exit::Ok)
}

async fn put(connection: &Connection, path: &str, body: &Value) -> Result<(), Failure> {
    let body = body.to_string().into_bytes();
    let sent = connection.send(Method::PUT, path, body).await;
    sent.map(|_| ()).map_err(|error| connection.failure(error))
}

fn options(dry_run: bool) -> Value {
    if dry_run {
        json!({"dryRun": ["All"]})
    } else {
        json!({})
    }
}

/// virtctl's rule: both flags or none.
fn grace_period(force: Force) -> Result<Option<i64>, Failure> {
    match (force.force, force.grace_period) {
        (false, -1) => Ok(None),
        (true, seconds) if seconds >= 0 => Ok(Some(seconds)),
        _ => {
            let message = "Must both use --force=true and set --grace-period.";
            Err(Failure::new(message).exit(Exit::Usage))
        }
    }
}

/// The name without virtctl's prefix `vm/` or `vmi/`.
pub(crate) fn plain(name: &str) -> &str {
    ["vm/", "vmi/"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

/// The failure for a machine that does not exist, with the name that may have been meant.
pub(crate) async fn not_found(connection: &Connection, name: &str, failure: Failure) -> Failure {
    let machines: Api<VirtualMachine> =
        Api::namespaced(connection.client.clone(), &connection.namespace);
    let Ok(list) = machines.list(&ListParams::default()).await else {
        return failure;
    };
    let names: Vec<String> = list
        .items
        .into_iter()
        .filter_map(|machine| machine.metadata.name)
        .collect();
    if names.iter().any(|found| found == name) {
        // Something else of it is missing, which the server told.
        return failure;
    }
    let namespace = &connection.namespace;
    let message = match similar(name, &names) {
        Some(meant) => format!("no VM \"{name}\" in namespace {namespace}; did you mean {meant}?"),
        None => format!("no VM \"{name}\" in namespace {namespace}"),
    };
    Failure::new(message).exit(Exit::NotFound).fix(
        "anyvirt status",
        "shows the virtual machines of all namespaces",
    )
}

/// The most similar of `names`, if one is similar at all.
fn similar<'a>(name: &str, names: &'a [String]) -> Option<&'a String> {
    let nearest = names
        .iter()
        .min_by_key(|candidate| distance(name, candidate))?;
    // A third of the letters may be wrong.
    (distance(name, nearest) <= nearest.chars().count().div_ceil(3)).then_some(nearest)
}

/// How many letters must be added, taken away or changed (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use kube::client::{Body, Client};

    use super::*;

    fn force(force: bool, grace_period: i64) -> Force {
        Force {
            force,
            grace_period,
            dry_run: false,
        }
    }

    /// Paths and bodies of PUT requests.
    type Puts = Arc<Mutex<Vec<(String, String)>>>;

    /// A server that answers every PUT with `status` and every list with one machine called web1;
    /// what was put is kept.
    fn server(status: u16) -> (Connection, Puts) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let kept = Arc::clone(&kept);
            async move {
                if request.method() == Method::GET {
                    let list = json!({
                        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineList", "metadata": {},
                        "items": [{"metadata": {"name": "web1"}, "spec": {}}],
                    });
                    return Ok::<_, Infallible>(http::Response::new(Body::from(
                        list.to_string().into_bytes(),
                    )));
                }
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect_bytes().await.unwrap();
                kept.lock()
                    .unwrap()
                    .push((path, String::from_utf8(body.to_vec()).unwrap()));
                let answer = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "VM is already running", "reason": "Conflict", "code": status,
                });
                let answer = if status < 300 {
                    String::new()
                } else {
                    answer.to_string()
                };
                let response = http::Response::builder().status(status);
                Ok(response.body(Body::from(answer.into_bytes())).unwrap())
            }
        });
        (Connection::to(Client::new(service, "demo"), "demo"), asked)
    }

    #[tokio::test]
    async fn verbs_are_put_to_their_subresources() {
        let (connection, asked) = server(202);
        let nothing = Force {
            force: false,
            grace_period: -1,
            dry_run: false,
        };
        assert_eq!(start(&connection, "web", true, true).await, Ok(Exit::Ok));
        assert_eq!(
            stop(&connection, "vm/web", force(true, 0)).await,
            Ok(Exit::Ok)
        );
        assert_eq!(restart(&connection, "web", nothing).await, Ok(Exit::Ok));
        let words = ["vm".to_owned(), "web".to_owned()];
        assert_eq!(pause(&connection, &words, true, false).await, Ok(Exit::Ok));
        let base = "/apis/subresources.kubevirt.io/v1/namespaces/demo";
        let put = |path: &str, body: &str| (format!("{base}/{path}"), body.to_owned());
        assert_eq!(
            *asked.lock().unwrap(),
            [
                put(
                    "virtualmachines/web/start",
                    r#"{"dryRun":["All"],"paused":true}"#
                ),
                put("virtualmachines/web/stop", r#"{"gracePeriod":0}"#),
                put("virtualmachines/web/restart", "{}"),
                put("virtualmachineinstances/web/pause", "{}"),
            ]
        );
    }

    #[tokio::test]
    async fn refusals_keep_the_servers_words_and_have_their_exit_code() {
        let (connection, _) = server(409);
        let failure = start(&connection, "web1", false, false).await.unwrap_err();
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::Conflict, "VM is already running")
        );
        let (connection, _) = server(404);
        let failure = start(&connection, "wbe1", false, false).await.unwrap_err();
        assert_eq!(failure.exit, Exit::NotFound);
        assert_eq!(
            failure.message,
            "no VM \"wbe1\" in namespace demo; did you mean web1?"
        );
    }

    #[test]
    fn force_and_grace_period_go_together() {
        assert_eq!(grace_period(force(false, -1)).unwrap(), None);
        assert_eq!(grace_period(force(true, 0)).unwrap(), Some(0));
        for wrong in [force(true, -1), force(false, 5)] {
            let failure = grace_period(wrong).unwrap_err();
            assert_eq!(
                failure.message,
                "Must both use --force=true and set --grace-period."
            );
        }
    }

    #[test]
    fn similar_names_are_suggested() {
        let names = ["web1", "database", "x"].map(str::to_owned);
        for (name, meant) in [
            ("wbe1", Some("web1")),
            ("databse", Some("database")),
            ("mail", None),
        ] {
            assert_eq!(similar(name, &names).map(String::as_str), meant, "{name}");
        }
    }

    #[test]
    fn virtctls_prefixes_are_dropped() {
        assert_eq!([plain("vm/a"), plain("vmi/a"), plain("a")], ["a"; 3]);
    }
}
