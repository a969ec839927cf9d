//! Who may be emulated: shows the policy in its four scopes, and changes it in one of them.
//!
//! A change is told before it is made: the pure rules of `api::accelerator` are asked once with the
//! cluster as it is, and once with the changed value in it.

mod change;
mod plan;
mod show;

use jiff::Timestamp;

use change::{Target, Wanted};
pub(crate) use show::{NodeRow, node_rows, node_table, policy_words, show};

use crate::cluster;
use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::{Change, Globals, output, power, terminal};

/// Permits emulation in the scope that the flags name.
pub(crate) async fn on(
    connection: &Connection,
    globals: &Globals,
    change: &Change,
) -> Result<Exit, Failure> {
    set(connection, globals, change, Wanted::On).await
}

/// Forbids emulation in the scope that the flags name.
pub(crate) async fn off(
    connection: &Connection,
    globals: &Globals,
    change: &Change,
) -> Result<Exit, Failure> {
    set(connection, globals, change, Wanted::Off).await
}

/// Removes what was set in the scope that the flags name; for the cluster, follows what its nodes can.
pub(crate) async fn auto(
    connection: &Connection,
    globals: &Globals,
    change: &Change,
) -> Result<Exit, Failure> {
    set(connection, globals, change, Wanted::Auto).await
}

/// The scope that the flags name.
fn target(
    change: &Change,
    namespace: Option<&str>,
    default_namespace: &str,
) -> Result<Target, Failure> {
    match (&change.vm, &change.node, namespace) {
        (Some(name), None, namespace) => Ok(Target::Machine {
            namespace: namespace.unwrap_or(default_namespace).to_owned(),
            name: power::plain(name).to_owned(),
        }),
        (None, Some(node), None) => Ok(Target::Node(
            node.strip_prefix("node/").unwrap_or(node).to_owned(),
        )),
        (None, None, Some(namespace)) => Ok(Target::Namespace(namespace.to_owned())),
        (None, None, None) => Ok(Target::Cluster),
        (_, Some(_), _) => {
            let message =
                "--node stands alone: nodes are in no namespace, and have no VM of their own";
            Err(Failure::new(message).exit(Exit::Usage))
        }
    }
}

async fn set(
    connection: &Connection,
    globals: &Globals,
    change: &Change,
    wanted: Wanted,
) -> Result<Exit, Failure> {
    let target = target(change, globals.namespace.as_deref(), &connection.namespace)?;
    let cluster = cluster::look(&connection.client)
        .await
        .map_err(|error| connection.failure(error))?;
    let edits = change::edits(&cluster, &target, wanted, Timestamp::now())?;
    let plan = plan::plan(&cluster, &target, wanted, &edits);
    output::object(change.output, &plan, || plan::table(&plan))?;
    if edits.is_empty() {
        return Ok(Exit::Ok);
    }
    if change.dry_run {
        output::hint("Dry run: nothing was changed.");
        return Ok(Exit::Ok);
    }
    if !agreed(change, wanted)? {
        output::hint("Nothing was changed.");
        return Ok(Exit::Ok);
    }
    for edit in &edits {
        edit.write(connection).await?;
    }
    output::hint(&told(&plan, &target));
    Ok(Exit::Ok)
}

/// Does the person want it?
fn agreed(change: &Change, wanted: Wanted) -> Result<bool, Failure> {
    if change.yes {
        return Ok(true);
    }
    if !terminal::is_interactive() {
        let message = "nobody can be asked here, so nothing was changed";
        let again = format!("anyvirt emulation {} … --yes", wanted.word());
        return Err(Failure::new(message)
            .exit(Exit::Usage)
            .fix(&again, "changes it without asking"));
    }
    output::question("Apply? [y/N] ");
    Ok(terminal::answer())
}

fn told(plan: &plan::Plan, target: &Target) -> String {
    let scope = match target {
        Target::Cluster => String::new(),
        Target::Namespace(name) => format!(" --namespace {name}"),
        Target::Node(name) => format!(" --node {name}"),
        Target::Machine { namespace, name } => format!(" --vm {name} -n {namespace}"),
    };
    let undo = match plan::undo(plan, target) {
        Some(verb) => format!(" Undo: anyvirt emulation {}{scope}", verb.word()),
        None => String::new(),
    };
    let next = if plan::starts_waiting(plan) {
        " What waited starts now."
    } else {
        ""
    };
    format!(
        "Done: the policy in force is {}.{next}{undo}",
        plan::policy_after(plan)
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use api::virtual_machine::VirtualMachine;
    use api::virtual_machine_instance::VirtualMachineInstance;
    use k8s_openapi::api::core::v1::Node;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::Cluster;

    pub(crate) fn node(name: &str, usable: bool) -> Node {
        let (status, reason, message) = if usable {
            ("True", "Usable", "a guest ran")
        } else {
            ("False", "DeviceMissing", "/dev/kvm does not exist")
        };
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {
                "kubernetes.io/arch": "amd64", "kubevirt.io/vm-arch-amd64": "true"}},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "HardwareVirtualization", "status": status, "reason": reason, "message": message},
            ]},
        }))
        .unwrap()
    }

    /// A VM in the namespace `demo`, and its instance if `status` is one.
    pub(crate) fn machine(
        name: &str,
        status: Value,
    ) -> (VirtualMachine, Option<VirtualMachineInstance>) {
        let vm = json!({
            "metadata": {"name": name, "namespace": "demo"},
            "spec": {"runStrategy": "Always", "template": {"spec": {"domain": {"devices": {}}}}},
        });
        let instance = json!({
            "metadata": {"name": name, "namespace": "demo"},
            "spec": {"domain": {"devices": {}}},
            "status": status,
        });
        let instance = (!status.is_null()).then(|| serde_json::from_value(instance).unwrap());
        (serde_json::from_value(vm).unwrap(), instance)
    }

    /// One node without KVM; `demo/fedora` waits, `demo/web` runs emulated, `demo/off` is off.
    pub(crate) fn cluster() -> Cluster {
        let mut cluster = Cluster {
            namespaces: vec![
                serde_json::from_value(json!({"metadata": {"name": "demo"}})).unwrap(),
            ],
            nodes: vec![node("one", false)],
            ..Cluster::default()
        };
        let running = json!({"phase": "Running", "nodeName": "one", "accelerator": {
            "type": "TCG", "reason": "HardwareVirtualizationUnusable", "policy": "Software",
            "decidedBy": "an earlier policy", "expectedSlowdown": "7.8", "isolation": "process"}});
        for (name, status) in [
            ("fedora", json!({"phase": "Scheduling"})),
            ("web", running),
            ("off", Value::Null),
        ] {
            let (vm, instance) = machine(name, status);
            cluster.machines.push(vm);
            cluster.instances.extend(instance);
        }
        cluster
    }

    fn change(vm: Option<&str>, node: Option<&str>) -> Change {
        Change {
            vm: vm.map(str::to_owned),
            node: node.map(str::to_owned),
            ..Change::default()
        }
    }

    #[test]
    fn the_way_back_is_the_verb_that_restores_what_was_before() {
        use serde_json::json;
        let undo = |cluster: &Cluster, target: &Target, wanted| {
            let edits = change::edits(cluster, target, wanted, Timestamp::UNIX_EPOCH).unwrap();
            let told = told(&plan::plan(cluster, target, wanted, &edits), target);
            told.split_once(" Undo: anyvirt emulation ")
                .map(|(_, command)| command.to_owned())
        };
        for (target, scope) in [
            (Target::Namespace("demo".to_owned()), " --namespace demo"),
            (Target::Node("one".to_owned()), " --node one"),
            (
                Target::Machine {
                    namespace: "demo".to_owned(),
                    name: "off".to_owned(),
                },
                " --vm off -n demo",
            ),
        ] {
            // Before, after, the verb that leads back.
            for (first, second, back) in [
                (None, Wanted::On, "auto"),
                (None, Wanted::Off, "auto"),
                (Some(Wanted::On), Wanted::Off, "on"),
                (Some(Wanted::Off), Wanted::On, "off"),
                (Some(Wanted::On), Wanted::Auto, "on"),
                (Some(Wanted::Off), Wanted::Auto, "off"),
            ] {
                let mut cluster = cluster();
                if let Some(first) = first {
                    for edit in
                        change::edits(&cluster, &target, first, Timestamp::UNIX_EPOCH).unwrap()
                    {
                        edit.apply(&mut cluster);
                    }
                }
                let expected = format!("{back}{scope}");
                assert_eq!(
                    undo(&cluster, &target, second),
                    Some(expected),
                    "{target:?}"
                );
            }
        }
        // No verb writes `Hardware`.
        let mut capped = cluster();
        let labels = [(
            "anyvirt.io/emulation-policy".to_owned(),
            "Hardware".to_owned(),
        )];
        capped.namespaces[0].metadata.labels = Some(labels.into());
        let demo = Target::Namespace("demo".to_owned());
        assert_eq!(undo(&capped, &demo, Wanted::Off), None);
        // None takes the switch out of the ConfigMap.
        assert_eq!(undo(&cluster(), &Target::Cluster, Wanted::On), None);
        for (before, wanted, back) in [
            ("true", Wanted::Off, Some("on")),
            ("false", Wanted::On, Some("off")),
            ("maybe", Wanted::On, None),
        ] {
            let mut cluster = cluster();
            let map = json!({
                "metadata": {"name": "kubevirt-config", "namespace": "openshift-cnv"},
                "data": {"debug.useEmulation": before},
            });
            cluster
                .config_maps
                .push(serde_json::from_value(map).unwrap());
            let back = back.map(str::to_owned);
            assert_eq!(undo(&cluster, &Target::Cluster, wanted), back, "{before}");
        }
        // `auto` took a field away that no verb writes.
        let mut strong = cluster();
        let object = json!({
            "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
            "spec": {"configuration": {"emulationPolicy": "None"}},
        });
        strong.kubevirt = serde_json::from_value(object).unwrap();
        assert_eq!(undo(&strong, &Target::Cluster, Wanted::Auto), None);
    }

    #[test]
    fn the_flags_name_one_scope() {
        let of = |vm, node, namespace| target(&change(vm, node), namespace, "default").ok();
        assert_eq!(of(None, None, None), Some(Target::Cluster));
        assert_eq!(
            of(None, None, Some("demo")),
            Some(Target::Namespace("demo".to_owned()))
        );
        assert_eq!(
            of(None, Some("node/one"), None),
            Some(Target::Node("one".to_owned()))
        );
        let machine = |namespace: &str| Target::Machine {
            namespace: namespace.to_owned(),
            name: "web".to_owned(),
        };
        assert_eq!(of(Some("vm/web"), None, None), Some(machine("default")));
        assert_eq!(of(Some("web"), None, Some("demo")), Some(machine("demo")));
        assert_eq!(of(None, Some("one"), Some("demo")), None);
        assert_eq!(of(Some("web"), Some("one"), None), None);
    }
}
