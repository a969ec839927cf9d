//! The status of a launcher pod, as kubelet would write it. Pure.

use std::net::Ipv4Addr;

use api::launcher::State;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::{ImagesSeen, LauncherSeen, Outcome, Seen, is_over, kvm_failure, outcome};

/// All our pods are on the loopback network, and so is their host.
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The status that the pod should have, if it should have another one than it has.
pub(crate) fn wanted(seen: &Seen<'_>, now: Timestamp) -> Option<PodStatus> {
    let pod = seen.pod?;
    // What is over stays so.
    if is_over(pod) {
        return None;
    }
    let before = pod.status.clone().unwrap_or_default();
    let spec = pod.spec.as_ref()?;
    let after = if let Some(outcome) = outcome(seen) {
        ended(spec, &before, &outcome, now)
    } else {
        match (seen.record, seen.launcher) {
            (Some(record), LauncherSeen::Answers(status)) if status.state != State::Ended => {
                running(spec, &before, record.pod_address, now)
            }
            // What it was, it is until more is known.
            (Some(_), LauncherSeen::Silent | LauncherSeen::Absent { orphan: true, .. })
                if before.phase.as_deref() == Some("Running") =>
            {
                return None;
            }
            // Between the two starts of a guest that KVM failed its launcher runs on.
            (Some(_), LauncherSeen::Answers(_) | LauncherSeen::Absent { .. })
                if kvm_failure(seen.launcher).is_some()
                    && before.phase.as_deref() == Some("Running") =>
            {
                return None;
            }
            _ => waiting(spec, &before, seen.images, now),
        }
    };
    (after != before).then_some(after)
}

/// The status of a pod that this node cannot run.
pub(crate) fn refused(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> Option<PodStatus> {
    if is_over(pod) {
        return None;
    }
    let mut status = pod.status.clone().unwrap_or_default();
    status.phase = Some("Failed".to_owned());
    status.reason = Some(reason.to_owned());
    status.message = Some(message.to_owned());
    status.start_time.get_or_insert(Time(now));
    Some(status)
}

fn waiting(spec: &PodSpec, before: &PodStatus, images: &ImagesSeen, now: Timestamp) -> PodStatus {
    let (reason, message) = match images {
        ImagesSeen::Failed {
            failure,
            failures: 1,
            ..
        } => (failure.reason.clone(), Some(failure.message.clone())),
        // Kubelet's word for every later try, but for what no pull can mend.
        ImagesSeen::Failed { failure, .. } if failure.reason == "ErrImagePull" => (
            "ImagePullBackOff".to_owned(),
            Some(failure.back_off_message.clone()),
        ),
        ImagesSeen::Failed { failure, .. } => {
            (failure.reason.clone(), Some(failure.message.clone()))
        }
        ImagesSeen::NotPulled | ImagesSeen::Pulling | ImagesSeen::Pulled => {
            ("ContainerCreating".to_owned(), None)
        }
    };
    let state = |_: &Container| ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.clone()),
            message: message.clone(),
        }),
        ..ContainerState::default()
    };
    let mut status = with_containers(spec, before, false, state);
    status.phase = Some("Pending".to_owned());
    status.start_time.get_or_insert(Time(now));
    status.host_ip = Some(HOST.to_string());
    status.host_ips = Some(vec![HostIP {
        ip: HOST.to_string(),
    }]);
    status
        .qos_class
        .get_or_insert_with(|| quality_of_service(spec).to_owned());
    let names: Vec<&str> = spec.containers.iter().map(|it| it.name.as_str()).collect();
    let unready = format!("containers with unready status: [{}]", names.join(" "));
    set(&mut status, "Initialized", true, None, now);
    for condition in ["Ready", "ContainersReady"] {
        set(
            &mut status,
            condition,
            false,
            Some(("ContainersNotReady", &unready)),
            now,
        );
    }
    status
}

fn running(spec: &PodSpec, before: &PodStatus, address: Ipv4Addr, now: Timestamp) -> PodStatus {
    let state = |container: &Container| ContainerState {
        running: Some(ContainerStateRunning {
            started_at: Some(started_at(before, &container.name).unwrap_or(Time(now))),
        }),
        ..ContainerState::default()
    };
    let mut status = with_containers(spec, before, true, state);
    status.phase = Some("Running".to_owned());
    status.start_time.get_or_insert(Time(now));
    status.host_ip = Some(HOST.to_string());
    status.host_ips = Some(vec![HostIP {
        ip: HOST.to_string(),
    }]);
    status.pod_ip = Some(address.to_string());
    status.pod_ips = Some(vec![PodIP {
        ip: address.to_string(),
    }]);
    status
        .qos_class
        .get_or_insert_with(|| quality_of_service(spec).to_owned());
    set(&mut status, "Initialized", true, None, now);
    set(&mut status, "ContainersReady", true, None, now);
    match open_gates(spec, before) {
        None => set(&mut status, "Ready", true, None, now),
        Some(message) => {
            set(
                &mut status,
                "Ready",
                false,
                Some(("ReadinessGatesNotReady", &message)),
                now,
            );
        }
    }
    status
}

fn ended(spec: &PodSpec, before: &PodStatus, outcome: &Outcome, now: Timestamp) -> PodStatus {
    let finished = Time(outcome.at.unwrap_or(now));
    let state = |container: &Container| ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: i32::from(!outcome.succeeded),
            reason: Some(outcome.reason.to_owned()),
            message: (!outcome.succeeded).then(|| outcome.message.clone()),
            started_at: started_at(before, &container.name),
            finished_at: Some(finished.clone()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    };
    let mut status = with_containers(spec, before, false, state);
    let (phase, reason) = if outcome.succeeded {
        ("Succeeded", "PodCompleted")
    } else {
        ("Failed", "PodFailed")
    };
    status.phase = Some(phase.to_owned());
    if !outcome.succeeded {
        status.message = Some(outcome.message.clone());
    }
    set(&mut status, "Initialized", true, None, now);
    for condition in ["Ready", "ContainersReady"] {
        set(&mut status, condition, false, Some((reason, "")), now);
    }
    status
}

/// The status with all its containers in one state. Containers that run beside the others are
/// init containers to the API.
fn with_containers(
    spec: &PodSpec,
    before: &PodStatus,
    up: bool,
    state: impl Fn(&Container) -> ContainerState,
) -> PodStatus {
    let statuses = |containers: &[Container]| {
        containers
            .iter()
            .map(|container| ContainerStatus {
                name: container.name.clone(),
                image: container.image.clone().unwrap_or_default(),
                ready: up,
                started: Some(up),
                state: Some(state(container)),
                ..ContainerStatus::default()
            })
            .collect::<Vec<_>>()
    };
    PodStatus {
        container_statuses: Some(statuses(&spec.containers)),
        init_container_statuses: spec.init_containers.as_deref().map(statuses),
        ..before.clone()
    }
}

/// When a container started, as was told before.
fn started_at(before: &PodStatus, name: &str) -> Option<Time> {
    let known = [&before.container_statuses, &before.init_container_statuses];
    let state = known
        .into_iter()
        .flatten()
        .flatten()
        .find(|status| status.name == name)
        .and_then(|status| status.state.as_ref())?;
    state.running.as_ref()?.started_at.clone()
}

/// What kubelet says of the pod's readiness gates that are not fulfilled; none if all are.
fn open_gates(spec: &PodSpec, status: &PodStatus) -> Option<String> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    let open = gates.iter().filter_map(|gate| {
        let gate = gate.condition_type.as_str();
        let told = conditions.iter().find(|condition| condition.type_ == gate);
        match told.map(|condition| condition.status.as_str()) {
            Some("True") => None,
            Some(status) => Some(format!(
                "the status of pod readiness gate {gate:?} is not \"True\", but {status}"
            )),
            None => Some(format!(
                "corresponding condition of pod readiness gate {gate:?} does not exist."
            )),
        }
    });
    let open: Vec<String> = open.collect();
    (!open.is_empty()).then(|| open.join(", "))
}

fn set(
    status: &mut PodStatus,
    type_: &str,
    holds: bool,
    because: Option<(&str, &str)>,
    now: Timestamp,
) {
    let conditions = status.conditions.get_or_insert_default();
    let state = if holds { "True" } else { "False" };
    let known = conditions
        .iter()
        .position(|condition| condition.type_ == type_);
    let since = known
        .map(|index| &conditions[index])
        .filter(|condition| condition.status == state)
        .and_then(|condition| condition.last_transition_time.clone())
        .unwrap_or(Time(now));
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let wanted = PodCondition {
        type_: type_.to_owned(),
        status: state.to_owned(),
        reason: because.and_then(|(reason, _)| filled(reason)),
        message: because.and_then(|(_, message)| filled(message)),
        last_transition_time: Some(since),
        ..PodCondition::default()
    };
    match known {
        Some(index) => conditions[index] = wanted,
        None => conditions.push(wanted),
    }
}

/// Kubernetes' quality of service: guaranteed if all limits are set and requested, best effort if
/// nothing is said of processor and memory, else burstable.
fn quality_of_service(spec: &PodSpec) -> &'static str {
    let all = || {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
    };
    let mut guaranteed = true;
    let mut any = false;
    for container in all() {
        let resources = container.resources.clone().unwrap_or_default();
        let (requests, limits) = (
            resources.requests.unwrap_or_default(),
            resources.limits.unwrap_or_default(),
        );
        for name in ["cpu", "memory"] {
            let (request, limit) = (requests.get(name), limits.get(name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
