//! Every verb a user types, on every served kind, through the unmodified kubectl.

use acceptance::{PATIENCE, Server, wait_for};

/// A VM that never starts, so that no guest is needed.
const HALTED: &str = r#"
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: quiet, labels: {team: blue}}
spec:
  runStrategy: Halted
  template:
    spec:
      domain:
        memory: {guest: 128Mi}
        devices:
          disks: [{name: root, disk: {bus: virtio}}]
      volumes: [{name: root, emptyDisk: {capacity: 1Gi}}]
"#;

#[test]
fn kubectl_reads_and_writes_virtual_machines_with_every_verb() {
    let server = Server::start(&["--emulation", "on"]);
    let path = server.file("vm.yaml", HALTED).display().to_string();

    assert_eq!(
        server.kubectl(&["apply", "-f", &path]),
        "virtualmachine.kubevirt.io/quiet created\n"
    );
    assert_eq!(
        server.kubectl(&["apply", "-f", &path]),
        "virtualmachine.kubevirt.io/quiet unchanged\n"
    );
    let said = server.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &path]);
    assert_eq!(
        said,
        "virtualmachine.kubevirt.io/quiet serverside-applied\n"
    );

    server.wait_until(
        "vm",
        "quiet",
        "/status/printableStatus",
        "Stopped",
        PATIENCE,
    );
    let table = server.kubectl(&["get", "vm"]);
    assert!(
        table.starts_with("NAME    AGE") && table.contains("STATUS") && table.contains("Stopped"),
        "{table}"
    );
    assert!(
        server
            .kubectl(&["get", "vms", "-o", "wide"])
            .contains("quiet")
    );
    assert_eq!(
        server.kubectl(&["get", "vm", "-l", "team=blue", "-o", "name"]),
        "virtualmachine.kubevirt.io/quiet\n"
    );
    assert_eq!(
        server.kubectl(&["get", "vm", "quiet", "-o", "jsonpath={.spec.runStrategy}"]),
        "Halted"
    );
    assert!(
        server
            .kubectl(&["get", "vm", "quiet", "-o", "yaml"])
            .contains("guest: 128Mi")
    );
    assert!(
        server
            .kubectl(&["describe", "vm", "quiet"])
            .contains("Run Strategy:  Halted")
    );
    assert!(
        server
            .kubectl(&["explain", "vm.spec.template"])
            .contains("FIELD: template")
    );
    assert!(
        server
            .kubectl(&["explain", "pod.spec.containers"])
            .contains("KIND:       Pod")
    );

    changes(&server);
}

/// label, annotate, patch of each type, diff, edit, wait, delete.
fn changes(server: &Server) {
    server.kubectl(&["label", "vm", "quiet", "team=red", "--overwrite"]);
    server.kubectl(&["annotate", "vm", "quiet", "note=seen"]);
    assert_eq!(
        server.kubectl(&[
            "get",
            "vm",
            "quiet",
            "-o",
            "jsonpath={.metadata.labels.team}{.metadata.annotations.note}"
        ]),
        "redseen"
    );

    let merge = r#"{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":7}}}}"#;
    server.kubectl(&["patch", "vm", "quiet", "--type=merge", "-p", merge]);
    let json = r#"[{"op":"replace","path":"/spec/template/spec/terminationGracePeriodSeconds","value":8}]"#;
    server.kubectl(&["patch", "vm", "quiet", "--type=json", "-p", json]);
    let refused = server.try_kubectl(&["patch", "vm", "quiet", "--type=strategic", "-p", merge]);
    assert!(
        !refused.success && refused.err.contains("application/merge-patch+json"),
        "{refused:?}"
    );
    assert_eq!(
        server.kubectl(&[
            "get",
            "vm",
            "quiet",
            "-o",
            "jsonpath={.spec.template.spec.terminationGracePeriodSeconds}"
        ]),
        "8"
    );

    let changed = server
        .file("changed.yaml", &HALTED.replace("128Mi", "192Mi"))
        .display()
        .to_string();
    let diff = server.try_kubectl(&["diff", "-f", &changed]);
    assert!(diff.out.contains("192Mi"), "{diff:?}");
    let edited = server.kubectl_with(
        &["edit", "vm", "quiet"],
        &[("KUBE_EDITOR", "sed -i s/128Mi/160Mi/")],
    );
    assert!(edited.out.contains("edited"), "{edited:?}");
    assert!(
        server
            .kubectl(&[
                "wait",
                "vm/quiet",
                "--for=jsonpath={.status.printableStatus}=Stopped",
                "--timeout=30s"
            ])
            .contains("condition met")
    );

    assert_eq!(
        server.kubectl(&["delete", "vm", "quiet"]),
        "virtualmachine.kubevirt.io \"quiet\" deleted from default namespace\n"
    );
    assert!(server.get("vm", "quiet", "default").is_none());
}

#[test]
fn kubectl_works_on_every_built_in_kind() {
    let server = Server::start(&["--emulation", "on"]);
    for (create, kind, name) in [
        (vec!["create", "namespace", "extra"], "namespace", "extra"),
        (
            vec!["create", "configmap", "settings", "--from-literal=a=1"],
            "configmap",
            "settings",
        ),
        (
            vec![
                "create",
                "secret",
                "generic",
                "hidden",
                "--from-literal=k=v",
            ],
            "secret",
            "hidden",
        ),
        (
            vec!["create", "serviceaccount", "robot"],
            "serviceaccount",
            "robot",
        ),
    ] {
        server.kubectl(&create);
        assert!(
            server.kubectl(&["get", kind, name]).contains(name),
            "{kind}"
        );
        assert!(
            server
                .kubectl(&["get", kind, name, "-o", "yaml"])
                .contains("uid:"),
            "{kind}"
        );
        assert!(
            server.kubectl(&["describe", kind, name]).contains(name),
            "{kind}"
        );
        server.kubectl(&["label", kind, name, "seen=yes"]);
        server.kubectl(&["annotate", kind, name, "seen=yes"]);
        server.kubectl(&[
            "patch",
            kind,
            name,
            "-p",
            r#"{"metadata":{"labels":{"patched":"yes"}}}"#,
        ]);
        assert_eq!(
            server
                .kubectl(&["get", kind, "-l", "patched=yes", "-o", "name"])
                .lines()
                .count(),
            1,
            "{kind}"
        );
        server.kubectl(&["delete", kind, name, "--timeout=60s"]);
        assert!(server.get(kind, name, "default").is_none(), "{kind}");
    }
    the_rest(&server);
}

/// Kinds without a `kubectl create` of their own, and the verbs about the API itself.
fn the_rest(server: &Server) {
    let more = r#"
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: turn}
spec: {holderIdentity: me, leaseDurationSeconds: 15}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: claim}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"#;
    server.apply(more);
    assert!(server.kubectl(&["get", "lease,pvc"]).contains("claim"));
    wait_for("the node is ready", PATIENCE, || {
        let nodes = server.kubectl(&["get", "nodes", "-o", "wide"]);
        if nodes.contains(" Ready ") {
            Ok(())
        } else {
            Err(nodes)
        }
    });
    assert!(
        server
            .kubectl(&["describe", "nodes"])
            .contains("HardwareVirtualization")
    );
    let resources = server.kubectl(&["api-resources"]);
    for kind in [
        "configmaps",
        "pods",
        "virtualmachines",
        "virtualmachineinstances",
        "kubevirts",
        "customresourcedefinitions",
    ] {
        assert!(resources.contains(kind), "{kind} is missing:\n{resources}");
    }
    assert!(
        server
            .kubectl(&["api-versions"])
            .contains("subresources.kubevirt.io/v1")
    );
    assert_eq!(server.kubectl(&["auth", "can-i", "create", "vm"]), "yes\n");
    assert!(
        server
            .kubectl(&["auth", "whoami"])
            .contains("system:masters")
    );
    assert!(server.kubectl(&["version"]).contains("Server Version: v1."));
    assert!(server.kubectl(&["get", "--raw", "/readyz"]).contains("ok"));
    server.kubectl(&["events", "--all-namespaces"]);
    assert!(
        server
            .kubectl(&["get", "crd"])
            .contains("virtualmachines.kubevirt.io")
    );
}

#[test]
fn a_watch_shows_changes_as_they_happen() {
    let server = Server::start(&["--emulation", "on"]);
    server.apply(HALTED);
    // `kubectl wait` is a watch that ends; it starts before the change and must see it.
    let kubeconfig = server.kubeconfig().display().to_string();
    let waiting = std::thread::spawn(move || {
        acceptance::run(
            &acceptance::kubectl_program(),
            &[
                "--kubeconfig",
                &kubeconfig,
                "wait",
                "vm/quiet",
                "--for=jsonpath={.metadata.labels.flag}=up",
                "--timeout=60s",
            ],
            &[],
        )
    });
    server.kubectl(&["label", "vm", "quiet", "flag=up"]);
    let said = waiting.join().expect("the watch ends");
    assert!(said.success, "{said:?}");
}
