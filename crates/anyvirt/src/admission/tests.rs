//! Writes of each kind, and what they are answered.

use super::*;
use apiserver::User;
use controllers::kubevirt::Publisher;
use serde_json::json;

fn admission() -> KubeVirtAdmission {
    let identity = || FirmwareIdentity {
        uuid: "6f1c6a52-6a0a-4b0e-8b5b-0a2d6c3e9f10".into(),
        serial: "s-1".into(),
    };
    let (overview, _) = controllers::overview::overview();
    KubeVirtAdmission::new(
        Publisher::default().subscribe(),
        overview,
        "amd64",
        identity,
    )
}

fn request<'a>(user: &'a User, resource: &'a str, old: Option<&'a Value>) -> AdmissionRequest<'a> {
    AdmissionRequest {
        user,
        operation: if old.is_some() {
            Operation::Update
        } else {
            Operation::Create
        },
        group: "kubevirt.io",
        version: "v1",
        resource,
        subresource: None,
        namespace: Some("default"),
        name: Some("vm"),
        old,
        dry_run: false,
    }
}

fn machine() -> Value {
    json!({"apiVersion": "kubevirt.io/v1alpha3", "kind": "VirtualMachine", "metadata": {"name": "vm"},
        "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"memory": {"guest": "64Mi"}, "devices": {}}}}}})
}

#[test]
fn a_machine_gets_a_firmware_identity_and_keeps_its_api_version() {
    let (admission, user) = (admission(), User::admin("ada"));
    let mut object = machine();
    admission
        .mutate(&request(&user, "virtualmachines", None), &mut object)
        .unwrap();
    assert_eq!(
        object["spec"]["template"]["spec"]["domain"]["firmware"]["uuid"],
        "6f1c6a52-6a0a-4b0e-8b5b-0a2d6c3e9f10"
    );
    assert_eq!(object["apiVersion"], "kubevirt.io/v1alpha3");
    assert_eq!(
        admission
            .validate(&request(&user, "virtualmachines", None), &object)
            .unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn a_refusal_names_the_webhook_and_the_field() {
    let (admission, user) = (admission(), User::admin("ada"));
    let mut object = machine();
    object["spec"].as_object_mut().unwrap().remove("template");
    let status = admission
        .validate(&request(&user, "virtualmachines", None), &object)
        .unwrap_err();
    assert_eq!(status.code, 422);
    assert!(
        status
            .message
            .contains("virtualmachine-validator.kubevirt.io"),
        "{}",
        status.message
    );
    assert_eq!(status.details.unwrap().causes[0].field, "spec.template");
}

#[test]
fn snapshots_and_restores_are_refused_in_kubevirts_words() {
    let (admission, user) = (admission(), User::admin("ada"));
    let asked = |resource, old: Option<&Value>, spec: Value| {
        let request = AdmissionRequest {
            group: "snapshot.kubevirt.io",
            ..request(&user, resource, old)
        };
        let answer = admission.validate(&request, &json!({"metadata": {}, "spec": spec}));
        answer.map_err(|status| (status.code, status.message))
    };
    let source = |group: Value, kind: &str| json!({"apiGroup": group, "kind": kind, "name": "vm"});
    let machine = || source(json!("kubevirt.io"), "VirtualMachine");
    let snapshot = |spec: Value| asked("virtualmachinesnapshots", None, spec);
    let restore = |change: Value| {
        let mut spec = json!({"target": machine(), "virtualMachineSnapshotName": "s"});
        spec.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        asked("virtualmachinerestores", None, spec)
    };
    assert!(snapshot(json!({"source": machine(), "includeMemory": true})).is_ok());
    let patch = r#"{"op": "remove", "path": "/spec/template/spec/hostname"}"#;
    assert!(restore(json!({"targetReadinessPolicy": "StopTarget", "patches": [patch]})).is_ok());
    let old = json!({"metadata": {}, "spec": {"source": machine()}});
    let changed = json!({"source": machine(), "includeMemory": true});
    for (answer, said) in [
        (
            snapshot(json!({"source": source(Value::Null, "VirtualMachine")})),
            "missing apiGroup",
        ),
        (
            snapshot(json!({"source": source(json!("apps"), "VirtualMachine")})),
            "invalid apiGroup",
        ),
        (
            snapshot(json!({"source": source(json!("kubevirt.io"), "Pod")})),
            "invalid kind",
        ),
        (
            snapshot(json!({"source": machine(), "failureDeadline": "soon"})),
            "is no duration",
        ),
        (
            asked("virtualmachinesnapshots", Some(&old), changed),
            "spec in immutable after creation",
        ),
        (
            restore(json!({"volumeRestoreOverrides": [{"volumeName": "a"}]})),
            "spec.volumeRestoreOverrides is not served",
        ),
        (
            restore(json!({"patches": ["{}"]})),
            "is no operation of a JSON patch",
        ),
        (
            restore(json!({"virtualMachineSnapshotName": ""})),
            "must name a VirtualMachineSnapshot",
        ),
    ] {
        let (code, message) = answer.unwrap_err();
        assert_eq!(code, 422, "{message}");
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn a_machine_of_which_a_snapshot_is_taken_changes_neither_disks_nor_run_strategy() {
    let admission = admission();
    let ada = User::admin("ada");
    let kubevirt = User {
        groups: vec![TRUSTED_GROUP.to_owned()],
        ..User::admin("kubevirt")
    };
    let ask = |user: &User, status: Value, change: fn(&mut Value)| {
        let mut old = machine();
        old["status"] = status;
        let mut new = old.clone();
        change(&mut new);
        let answer = admission.validate(&request(user, "virtualmachines", Some(&old)), &new);
        answer.map(drop).map_err(|status| status.message)
    };
    let snapshot = || json!({"snapshotInProgress": "s"});
    let restore = || json!({"restoreInProgress": "r"});
    let label = |vm: &mut Value| vm["metadata"]["labels"] = json!({"a": "b"});
    let run = |vm: &mut Value| vm["spec"]["runStrategy"] = "Always".into();
    let volumes = |vm: &mut Value| {
        vm["spec"]["template"]["spec"]["volumes"] =
            json!([{"name": "a", "containerDisk": {"image": "registry/a:1"}}]);
    };
    assert_eq!(ask(&ada, snapshot(), label), Ok(()));
    assert_eq!(ask(&kubevirt, snapshot(), run), Ok(()));
    for (status, change, said) in [
        (
            snapshot(),
            run as fn(&mut Value),
            "Cannot update vm running state until snapshot \"s\" completes",
        ),
        (
            snapshot(),
            volumes,
            "Cannot update vm disks or volumes until snapshot \"s\" completes",
        ),
        (
            restore(),
            run,
            "Cannot update VM runStrategy until restore \"r\" completes",
        ),
    ] {
        let message = ask(&ada, status, change).unwrap_err();
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn only_controllers_say_what_a_guest_goes_on_from() {
    let admission = admission();
    let users = [
        User::admin("ada"),
        User {
            groups: vec![TRUSTED_GROUP.to_owned()],
            ..User::admin("kubevirt")
        },
    ];
    let name = "anyvirt.io/resume-from";
    for (at, resource) in [
        ("/metadata", "virtualmachines"),
        ("/spec/template/metadata", "virtualmachines"),
        ("/metadata", "virtualmachineinstances"),
    ] {
        let old = match resource {
            "virtualmachines" => machine(),
            _ => {
                json!({"metadata": {"name": "vm"}, "spec": {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}}})
            }
        };
        let mut new = old.clone();
        let (above, field) = at.rsplit_once('/').unwrap();
        let parent = new.pointer_mut(above).unwrap();
        parent[field]["annotations"] = json!({ name: "somebody-elses" });
        for user in &users {
            for old in [None, Some(&old)] {
                let answer = admission.validate(&request(user, resource, old), &new);
                if user.name == "ada" {
                    let message = answer.unwrap_err().message;
                    assert!(message.contains(name), "{at} {resource}: {message}");
                } else if let Err(status) = answer {
                    assert!(!status.message.contains(name), "{}", status.message);
                }
            }
        }
    }
}

#[test]
fn a_pool_has_one_machine_unless_it_says_and_its_template_is_no_way_around_admission() {
    let (admission, user) = (admission(), User::admin("ada"));
    let request = |resource| AdmissionRequest {
        group: "pool.kubevirt.io",
        version: "v1beta1",
        ..request(&user, resource, None)
    };
    let mut pool = json!({"metadata": {"name": "p"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "virtualMachineTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": machine()["spec"]}}});
    admission
        .mutate(&request("virtualmachinepools"), &mut pool)
        .unwrap();
    assert_eq!(pool["spec"]["replicas"], 1);
    assert!(
        admission
            .validate(&request("virtualmachinepools"), &pool)
            .is_ok()
    );
    let annotations = json!({"anyvirt.io/resume-from": "somebody-elses"});
    pool["spec"]["virtualMachineTemplate"]["metadata"]["annotations"] = annotations;
    let refused = admission.validate(&request("virtualmachinepools"), &pool);
    let message = refused.unwrap_err().message;
    assert!(
        message.contains("virtualmachinepool-validator.kubevirt.io")
            && message.contains("spec.virtualMachineTemplate.metadata.annotations"),
        "{message}"
    );
}

#[test]
fn a_ring_that_cannot_be_read_is_refused_even_if_the_spec_stays() {
    let (admission, user) = (admission(), User::admin("ada"));
    let old = machine();
    let mut new = old.clone();
    new["metadata"]["annotations"] = json!({"anyvirt.io/snapshot-ring": "every=1m"});
    let status = admission
        .validate(&request(&user, "virtualmachines", Some(&old)), &new)
        .unwrap_err();
    assert!(
        status.message.contains("keep is missing"),
        "{}",
        status.message
    );
}

#[test]
fn only_kubevirts_own_components_write_an_instances_status() {
    let admission = admission();
    let old =
        json!({"metadata": {"name": "vm"}, "spec": {"domain": {}}, "status": {"phase": "Running"}});
    let mut object = old.clone();
    object["status"]["phase"] = "Failed".into();
    let mut stranger = object.clone();
    let (ada, handler) = (
        User::admin("ada"),
        User::service_account("kubevirt", "kubevirt-handler"),
    );
    admission
        .mutate(
            &request(&ada, "virtualmachineinstances", Some(&old)),
            &mut stranger,
        )
        .unwrap();
    assert_eq!(stranger["status"]["phase"], "Running");
    admission
        .mutate(
            &request(&handler, "virtualmachineinstances", Some(&old)),
            &mut object,
        )
        .unwrap();
    assert_eq!(object["status"]["phase"], "Failed");
}

/// What a write of the legacy ConfigMap with this data is answered.
fn legacy(data: Value) -> Result<Vec<String>, Status> {
    let user = User::admin("ada");
    let request = AdmissionRequest {
        group: "",
        namespace: Some("openshift-cnv"),
        name: Some("kubevirt-config"),
        ..request(&user, "configmaps", None)
    };
    let mut object = json!({ "data": data });
    let mut warnings = admission().mutate(&request, &mut object)?;
    warnings.extend(admission().validate(&request, &object)?);
    Ok(warnings)
}

#[test]
fn an_unclear_switch_is_stored_with_a_warning_that_names_the_cure() {
    for (data, expected) in [
        (
            json!({"debug.useEmulation": "True"}),
            Some("write \"true\""),
        ),
        (
            json!({"debug.useEmulation": "maybe"}),
            Some("the last good policy stays"),
        ),
        (
            json!({"debug-useEmulation": "true"}),
            Some("remove debug-useEmulation"),
        ),
        (json!({"machinetype": "q35"}), Some("write machine-type")),
        (json!({"smbios": "x"}), Some("spec.configuration.smbios")),
        (json!({"debug.useEmulation": "true"}), None),
        (json!({"cpu-request": "100m"}), None),
    ] {
        let warnings = legacy(data).unwrap();
        assert_eq!(
            warnings.len(),
            usize::from(expected.is_some()),
            "{warnings:?}"
        );
        if let Some(expected) = expected {
            assert!(warnings[0].contains(expected), "{warnings:?}");
        }
    }
}

#[test]
fn an_unquoted_value_is_refused_with_the_quotation_marks_that_are_missing() {
    for (value, cure) in [
        (json!(true), "write debug.useEmulation: \"true\""),
        (json!(1), "write debug.useEmulation: \"1\""),
    ] {
        let status = legacy(json!({"debug.useEmulation": value})).unwrap_err();
        assert_eq!(status.code, 400);
        assert!(status.message.ends_with(cure), "{}", status.message);
        assert!(
            status.message.contains("cannot unmarshal"),
            "{}",
            status.message
        );
    }
}

#[test]
fn a_config_map_that_nobody_reads_is_told_where_it_would_be_read() {
    let user = User::admin("ada");
    let request = AdmissionRequest {
        group: "",
        namespace: Some("default"),
        name: Some("kubevirt-config"),
        ..request(&user, "configmaps", None)
    };
    let warnings = admission()
        .validate(&request, &json!({"data": {}}))
        .unwrap();
    assert!(
        warnings[0].contains("openshift-cnv/kubevirt-config"),
        "{warnings:?}"
    );
}

#[test]
fn a_forced_accelerator_changes_what_is_to_be_said() {
    let annotated =
        |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}, "spec": {}});
    let accelerator = |value| annotated("anyvirt.io/accelerator", value);
    for subject in [Subject::Machine, Subject::Instance] {
        let stays = |old: &Value, new: &Value| stays(Some(subject), old, new);
        assert!(stays(&accelerator("kvm"), &accelerator("kvm")));
        assert!(!stays(&accelerator("kvm"), &accelerator("tcg")));
        assert!(!stays(&json!({"spec": {}}), &accelerator("tcg")));
        assert!(stays(&json!({"spec": {}}), &annotated("note", "x")));
        assert!(!stays(&json!({"spec": {}}), &json!({"spec": {"a": 1}})));
    }
}

#[test]
fn an_unreadable_cap_is_told_when_it_is_written_and_not_again() {
    let user = User::admin("ada");
    let object = json!({"metadata": {"name": "team-a", "labels": {
        "anyvirt.io/emulation-policy": "none", "anyvirt.io/emulation-multi-tenancy": "deny"}}});
    let request = |old| AdmissionRequest {
        group: "",
        ..request(&user, "namespaces", old)
    };
    let warnings = admission().validate(&request(None), &object).unwrap();
    assert!(
        warnings[0].contains("\"none\" is no policy and counts as None"),
        "{warnings:?}"
    );
    assert!(warnings[1].contains("counts as Deny"), "{warnings:?}");
    let again = admission()
        .validate(&request(Some(&object)), &object)
        .unwrap();
    assert_eq!(again, Vec::<String>::new());
}

#[test]
fn a_policy_that_is_none_of_the_three_is_left_to_the_schema_which_names_the_field() {
    let mut object = machine();
    object["spec"]["template"]["spec"]["emulationPolicy"] = json!("software");
    let schema = api::crds::crds().into_iter().find_map(|crd| {
        let is = crd.spec.names.kind == "VirtualMachine";
        is.then(|| crd.spec.versions[0].schema.clone()?.open_api_v3_schema)?
    });
    let schema = serde_json::to_value(schema.unwrap()).unwrap();
    let schema = apiserver::schema::Schema::compile(&schema).unwrap();
    let causes = schema.validate(&object, None);
    let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
    assert_eq!(fields, ["spec.template.spec.emulationPolicy"], "{causes:?}");
    assert!(causes[0].message.contains("\"Software\""), "{causes:?}");
}
