//! The status of a launcher pod.

use super::*;

fn waiting_reason(status: &PodStatus) -> Option<String> {
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    containers[0]
        .state
        .as_ref()?
        .waiting
        .as_ref()?
        .reason
        .clone()
}

fn pod_condition(status: &PodStatus, type_: &str) -> Option<String> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    conditions
        .iter()
        .find(|it| it.type_ == type_)
        .map(|it| it.status.clone())
}

#[test]
fn a_waiting_pod_says_what_it_waits_for_in_kubelets_words() {
    for (images, expected) in [
        (ImagesSeen::NotPulled, "ContainerCreating"),
        (ImagesSeen::Pulling, "ContainerCreating"),
        (failed(1, 110), "ErrImagePull"),
        (failed(2, 120), "ImagePullBackOff"),
    ] {
        let case = Case::bound().with(|it| it.images = images);
        let status = case.pod_status().expect("a status");
        assert_eq!(waiting_reason(&status).as_deref(), Some(expected));
        assert_eq!(status.phase.as_deref(), Some("Pending"));
        assert_eq!(pod_condition(&status, "Ready").as_deref(), Some("False"));
        assert_eq!(
            pod_condition(&status, "PodScheduled").as_deref(),
            Some("True")
        );
        assert_eq!(status.qos_class.as_deref(), Some("Burstable"));
        // Told once.
        let told = case.with(|it| {
            it.pod.as_mut().expect("a pod").status = Some(status);
        });
        assert_eq!(told.pod_status(), None);
    }
}

#[test]
fn a_pod_whose_launcher_answers_is_ready_at_its_address() {
    let case = Case::running().with(|it| it.launcher = answers(State::Idle));
    let status = case.pod_status().expect("a status");
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip.as_deref(), Some("127.64.0.5"));
    assert_eq!(pod_condition(&status, "Ready").as_deref(), Some("True"));
    assert!(status.container_statuses.as_ref().expect("containers")[0].ready);
    assert!(status.init_container_statuses.as_ref().expect("containers")[0].ready);
    let told = case.with(|it| it.pod.as_mut().expect("a pod").status = Some(status));
    assert_eq!(told.pod_status(), None, "told once");
    let silent = told.with(|it| it.launcher = LauncherSeen::Silent);
    assert_eq!(
        silent.pod_status(),
        None,
        "a silent launcher is no reason to take it back"
    );
}

#[test]
fn a_readiness_gate_keeps_a_pod_from_being_ready() {
    let gate = json!({ "spec": { "readinessGates": [{ "conditionType": "kubevirt.io/x" }] } });
    let case = Case::running().with(|it| it.pod = Some(pod(gate)));
    let status = case.pod_status().expect("a status");
    assert_eq!(pod_condition(&status, "Ready").as_deref(), Some("False"));
    assert_eq!(
        pod_condition(&status, "ContainersReady").as_deref(),
        Some("True")
    );
    let message = |status: &PodStatus| {
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let ready = conditions.iter().find(|it| it.type_ == "Ready");
        ready.and_then(|it| it.message.clone()).unwrap_or_default()
    };
    assert_eq!(
        message(&status),
        "corresponding condition of pod readiness gate \"kubevirt.io/x\" does not exist."
    );
    for (told, expected) in [
        (
            "False",
            "the status of pod readiness gate \"kubevirt.io/x\" is not \"True\", but False",
        ),
        ("True", ""),
    ] {
        let gate = json!({
            "spec": { "readinessGates": [{ "conditionType": "kubevirt.io/x" }] },
            "status": { "conditions": [{ "type": "kubevirt.io/x", "status": told }] },
        });
        let case = Case::running().with(|it| it.pod = Some(pod(gate)));
        assert_eq!(message(&case.pod_status().expect("a status")), expected);
    }
}

#[test]
fn an_ended_pod_says_how_and_stays_so() {
    let crashed = ExitKind::Crashed {
        signal: Some(11),
        code: None,
    };
    for (kind, phase, code) in [(ExitKind::Stopped, "Succeeded", 0), (crashed, "Failed", 1)] {
        let case = Case::running().with(|it| it.launcher = ended(kind));
        let status = case.pod_status().expect("a status");
        assert_eq!(status.phase.as_deref(), Some(phase));
        let containers = status.container_statuses.as_deref().expect("containers");
        let terminated = containers[0]
            .state
            .as_ref()
            .and_then(|it| it.terminated.as_ref());
        assert_eq!(terminated.map(|it| it.exit_code), Some(code));
        let later = case.with(|it| {
            it.pod.as_mut().expect("a pod").status = Some(status);
            it.launcher = absent(true, false);
        });
        assert_eq!(later.pod_status(), None);
    }
}
