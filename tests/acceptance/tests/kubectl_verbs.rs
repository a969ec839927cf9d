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

/// A pool of VMs that never start, so that no guest is needed.
const POOL: &str = r#"
apiVersion: pool.kubevirt.io/v1beta1
kind: VirtualMachinePool
metadata:
  name: web
  annotations: {anyvirt.io/warm-start: Auto}
spec:
  replicas: 2
  selector: {matchLabels: {pool: web}}
  virtualMachineTemplate:
    metadata: {labels: {pool: web}}
    spec:
      runStrategy: Halted
      template:
        spec:
          domain: {memory: {guest: 64Mi}, devices: {}}
"#;

#[test]
fn kubectl_scales_a_pool_and_deletes_it_with_its_machines() {
    let server = Server::start(&["--emulation", "on"]);
    server.apply(POOL);
    let has = |machines: &[&str]| {
        wait_for("the pool has its machines", PATIENCE, || {
            let found = server.kubectl(&["get", "vm", "-l", "pool=web", "-o", "name"]);
            let names = found.lines().map(|line| line.rsplit('/').next());
            if names.eq(machines.iter().map(|name| Some(*name))) {
                Ok(())
            } else {
                Err(found)
            }
        });
    };
    has(&["web-0", "web-1"]);
    assert_eq!(
        server.kubectl(&["scale", "vmpool", "web", "--replicas", "3"]),
        "virtualmachinepool.pool.kubevirt.io/web scaled\n"
    );
    has(&["web-0", "web-1", "web-2"]);
    let counted = "--for=jsonpath={.status.replicas}=3";
    server.kubectl(&["wait", "vmpool", "web", counted, "--timeout=60s"]);
    let table = server.kubectl(&["get", "vmpools"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|row| row.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["NAME", "DESIRED", "CURRENT", "READY", "AGE"]);
    assert_eq!(rows[1][..4], ["web", "3", "3", "0"]);
    let scale = "/apis/pool.kubevirt.io/v1beta1/namespaces/default/virtualmachinepools/web/scale";
    let scale = server.kubectl(&["get", "--raw", scale]);
    let scale: serde_json::Value = serde_json::from_str(&scale).expect("JSON");
    assert_eq!(scale["status"]["selector"], "pool=web");
    let mode = "jsonpath={.spec.template.metadata.annotations.anyvirt\\.io/warm-start}";
    assert_eq!(server.kubectl(&["get", "vm", "web-2", "-o", mode]), "Auto");

    for (patch, said) in [
        (
            r#"{"spec":{"selector":{"matchLabels":{"pool":"other"}}}}"#,
            "selector is immutable after creation.",
        ),
        (
            r#"{"spec":{"autohealing":{"startUpFailureThreshold":3}}}"#,
            "spec.autohealing is not served",
        ),
        (
            r#"{"spec":{"virtualMachineTemplate":{"spec":{"runStrategy":"Never"}}}}"#,
            "Invalid RunStrategy (Never)",
        ),
    ] {
        let refused = server.try_kubectl(&["patch", "vmpool", "web", "--type=merge", "-p", patch]);
        assert!(
            !refused.success && refused.err.contains(said),
            "{refused:?}"
        );
    }
    let refused = server.try_kubectl(&["scale", "vmpool", "web", "--replicas", "-1"]);
    assert!(!refused.success, "{refused:?}");

    server.kubectl(&["scale", "vmpool", "web", "--replicas", "1"]);
    wait_for("one machine stays", PATIENCE, || {
        let found = server.kubectl(&["get", "vm", "-o", "name"]);
        if found.lines().count() == 1 {
            Ok(())
        } else {
            Err(found)
        }
    });
    server.kubectl(&["delete", "vmpool", "web", "--timeout=60s"]);
    has(&[]);
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
    let kubevirt = "/apis/subresources.kubevirt.io/v1/version";
    let kubevirt = server.kubectl(&["get", "--raw", kubevirt]);
    let kubevirt: serde_json::Value = serde_json::from_str(&kubevirt).expect("JSON");
    let reported = "jsonpath={.items[0].status.observedKubeVirtVersion}";
    let reported = server.kubectl(&["get", "kubevirt", "-A", "-o", reported]);
    assert_eq!(kubevirt["gitVersion"], reported);
    let said = server.anyvirt(&["version"]).out;
    let line = format!("Server Version: {reported}\n");
    assert!(said.contains(&line), "{said}");
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
    let mut watch = server.watch(&[
        "get",
        "vm",
        "quiet",
        "-w",
        "--output-watch-events",
        "-L",
        "flag",
    ]);
    watch.expect("ADDED", PATIENCE);
    server.kubectl(&["label", "vm", "quiet", "flag=up"]);
    watch.expect("up", PATIENCE);
    server.kubectl(&["delete", "vm", "quiet"]);
    watch.expect("DELETED", PATIENCE);
}

/// A served kind, an object of it, and whether its patches may be strategic (built-in kinds only).
struct Subject {
    kind: &'static str,
    name: &'static str,
    manifest: &'static str,
    built_in: bool,
}

const SUBJECTS: [Subject; 15] = [
    Subject {
        kind: "namespace",
        name: "v-namespace",
        built_in: true,
        manifest: "{apiVersion: v1, kind: Namespace, metadata: {name: v-namespace}}",
    },
    Subject {
        kind: "configmap",
        name: "v-map",
        built_in: true,
        manifest: "{apiVersion: v1, kind: ConfigMap, metadata: {name: v-map}, data: {a: b}}",
    },
    Subject {
        kind: "secret",
        name: "v-secret",
        built_in: true,
        manifest: "{apiVersion: v1, kind: Secret, metadata: {name: v-secret}, stringData: {a: b}}",
    },
    Subject {
        kind: "serviceaccount",
        name: "v-account",
        built_in: true,
        manifest: "{apiVersion: v1, kind: ServiceAccount, metadata: {name: v-account}}",
    },
    Subject {
        kind: "persistentvolumeclaim",
        name: "v-claim",
        built_in: true,
        manifest: "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: v-claim}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}",
    },
    Subject {
        kind: "lease",
        name: "v-lease",
        built_in: true,
        manifest: "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: v-lease}, spec: {holderIdentity: me}}",
    },
    Subject {
        kind: "pod",
        name: "v-pod",
        built_in: true,
        // No node matches, so that nobody tries to run it.
        manifest: "{apiVersion: v1, kind: Pod, metadata: {name: v-pod}, spec: {nodeSelector: {none: such}, containers: [{name: c, image: i}]}}",
    },
    Subject {
        kind: "node",
        name: "v-node",
        built_in: true,
        manifest: "{apiVersion: v1, kind: Node, metadata: {name: v-node}, spec: {unschedulable: true}}",
    },
    Subject {
        kind: "event",
        name: "v-event",
        built_in: true,
        manifest: "{apiVersion: v1, kind: Event, metadata: {name: v-event}, involvedObject: {kind: Pod, name: p, namespace: default}, reason: Tried, message: tried, type: Normal}",
    },
    Subject {
        kind: "priorityclass",
        name: "v-priority",
        built_in: true,
        manifest: "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: v-priority}, value: 10}",
    },
    Subject {
        kind: "crd",
        name: "things.v.example",
        built_in: true,
        manifest: "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: things.v.example}, spec: {group: v.example, scope: Namespaced, names: {plural: things, singular: thing, kind: Thing}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {a: {type: string}}}}}}}]}}",
    },
    Subject {
        kind: "vmi",
        name: "v-instance",
        built_in: false,
        // No node matches, so that no guest starts.
        manifest: "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: v-instance}, spec: {nodeSelector: {none: such}, domain: {memory: {guest: 64Mi}, devices: {}}}}",
    },
    Subject {
        kind: "vmpool",
        name: "v-pool",
        built_in: false,
        manifest: "{apiVersion: pool.kubevirt.io/v1alpha1, kind: VirtualMachinePool, metadata: {name: v-pool}, spec: {replicas: 0, selector: {matchLabels: {a: b}}, virtualMachineTemplate: {metadata: {labels: {a: b}}, spec: {runStrategy: Halted, template: {spec: {domain: {memory: {guest: 64Mi}, devices: {}}}}}}}}",
    },
    Subject {
        kind: "hyperconverged",
        name: "v-hco",
        built_in: false,
        manifest: "{apiVersion: hco.kubevirt.io/v1beta1, kind: HyperConverged, metadata: {name: v-hco}, spec: {}}",
    },
    Subject {
        kind: "kubevirt",
        name: "v-kubevirt",
        built_in: false,
        manifest: "{apiVersion: kubevirt.io/v1, kind: KubeVirt, metadata: {name: v-kubevirt}, spec: {}}",
    },
];

/// Kinds of which kubectl itself patches something each time, and what.
const APPLIED_ANEW: [(&str, &str); 1] = [("secret", "stringData is written and never read back")];

#[test]
fn every_verb_works_on_every_served_kind() {
    let server = Server::start(&["--emulation", "off"]);
    for subject in &SUBJECTS {
        every_verb(&server, subject);
    }
}

fn every_verb(server: &Server, subject: &Subject) {
    let Subject {
        kind,
        name,
        manifest,
        ..
    } = *subject;
    let path = server.file("subject.yaml", manifest).display().to_string();
    server.kubectl(&["apply", "-f", &path]);
    let again = server.kubectl(&["apply", "-f", &path]);
    let finding = APPLIED_ANEW
        .iter()
        .find(|(other, _)| *other == kind)
        .map_or("unchanged", |_| "configured");
    assert!(again.trim_end().ends_with(finding), "{kind}: {again}");
    server.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &path]);
    // diff ends with 1 when there is a difference, and with more when it fails.
    let labelled = manifest.replacen("metadata: {", "metadata: {labels: {new: one}, ", 1);
    let changed = server.file("changed.yaml", &labelled).display().to_string();
    let diff = server.try_kubectl(&["diff", "-f", &changed]);
    assert!(diff.out.contains("new: one"), "{kind}: {diff:?}");

    assert!(
        server
            .kubectl(&["get", kind, name, "-o", "wide"])
            .contains(name),
        "{kind}"
    );
    assert!(
        server
            .kubectl(&["get", kind, name, "-o", "yaml"])
            .contains("resourceVersion"),
        "{kind}"
    );
    assert_eq!(
        server.kubectl(&["get", kind, name, "-o", "jsonpath={.metadata.name}"]),
        name,
        "{kind}"
    );
    assert!(
        server.kubectl(&["describe", kind, name]).contains(name),
        "{kind}"
    );
    assert!(
        server.kubectl(&["explain", kind]).contains("VERSION:"),
        "{kind}"
    );
    assert_eq!(
        server.kubectl(&["auth", "can-i", "delete", kind]).trim(),
        "yes",
        "{kind}"
    );
    changing_verbs(server, subject);
}

fn changing_verbs(server: &Server, subject: &Subject) {
    let Subject {
        kind,
        name,
        built_in,
        ..
    } = *subject;
    server.kubectl(&["label", kind, name, "l=1"]);
    server.kubectl(&["annotate", kind, name, "a=1"]);
    server.kubectl(&[
        "patch",
        kind,
        name,
        "--type=merge",
        "-p",
        r#"{"metadata":{"labels":{"m":"1"}}}"#,
    ]);
    server.kubectl(&[
        "patch",
        kind,
        name,
        "--type=json",
        "-p",
        r#"[{"op":"add","path":"/metadata/labels/j","value":"1"}]"#,
    ]);
    let strategic = server.try_kubectl(&[
        "patch",
        kind,
        name,
        "--type=strategic",
        "-p",
        r#"{"metadata":{"labels":{"s":"1"}}}"#,
    ]);
    assert_eq!(strategic.success, built_in, "{kind}: {strategic:?}");
    let edited = server.kubectl_with(
        &["edit", kind, name],
        &[("KUBE_EDITOR", "sed -i s/j:.*/j:\\ \\\"2\\\"/")],
    );
    assert!(edited.out.contains("edited"), "{kind}: {edited:?}");
    assert_eq!(
        server
            .kubectl(&["get", kind, "-l", "l=1,m=1,j=2", "-o", "name"])
            .lines()
            .count(),
        1,
        "{kind}"
    );
    assert!(
        server
            .kubectl(&[
                "wait",
                kind,
                name,
                "--for=jsonpath={.metadata.labels.j}=2",
                "--timeout=30s"
            ])
            .contains("met"),
        "{kind}"
    );
    server.kubectl(&["delete", kind, name, "--timeout=60s"]);
    let gone = server.try_kubectl(&["get", kind, name]);
    assert!(
        !gone.success && gone.err.contains("NotFound"),
        "{kind}: {gone:?}"
    );
}
