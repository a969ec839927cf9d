//! Acts: writes statuses, starts and stops. Doing anything twice is harmless.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use api::accelerator::{self, Accelerator, ClusterPolicy, EffectivePolicy, NodeFacts};
use api::launcher::{
    ExitKind, Identity, KvmFailure, Request, StartRequest, State, Status, files, milestones,
};
use api::names::annotations;
use api::resources;
use api::virtual_machine_instance::VirtualMachineInstance;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use super::decide::{Action, ImagesSeen, LauncherSeen, REFUSED, StartFailure, grace_of};
use super::instance_status::{Change, difference};
use super::step_down::{self, StepDown};
use super::{Machine, Record, Step, StepError, images, link, retry, volumes};
use crate::event::Fact;
use crate::gate::{Admission, Booting};
use crate::launcher::LauncherError;

/// A guest that is being saved already is asked again this often.
const SAVING_RETRY: Duration = Duration::from_secs(1);

/// What stands in the way of a start.
pub(super) struct NotStarted {
    /// A sentence.
    pub(super) message: String,
    /// It does not pass, as a word for programs: nothing that works is permitted here.
    pub(super) refused: Option<&'static str>,
}

impl From<String> for NotStarted {
    fn from(message: String) -> Self {
        Self {
            message,
            refused: None,
        }
    }
}

impl Machine {
    /// Writes a VMI's status, and tells what happened.
    pub(super) async fn write_instance(
        &self,
        instance: &VirtualMachineInstance,
        change: Change,
    ) -> Result<(), StepError> {
        let before = instance.status.clone().unwrap_or_default();
        // The version makes it fail if anybody else changed the conditions meanwhile.
        let patch = json!({
            "metadata": { "resourceVersion": instance.metadata.resource_version },
            "status": difference(&before, &change.status)?,
        });
        let api: Api<VirtualMachineInstance> = Api::namespaced(
            self.context.client.clone(),
            &instance.namespace().unwrap_or_default(),
        );
        let written = api
            .patch(
                &instance.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await?;
        self.context.objects.wrote_instance(written);
        for fact in change.facts {
            self.tell(instance, fact);
        }
        self.doubt_hardware().await;
        Ok(())
    }

    /// Writes a pod's status.
    pub(super) async fn write_pod(&self, pod: &Pod, status: &PodStatus) -> Result<(), StepError> {
        let patch = json!({
            "metadata": { "uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version },
            "status": status,
        });
        let written = self
            .pods(pod)
            .patch_status(
                &pod.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await?;
        self.context.objects.wrote_pod(written);
        Ok(())
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(
            self.context.client.clone(),
            &pod.namespace().unwrap_or_default(),
        )
    }

    pub(super) fn tell(&self, instance: &VirtualMachineInstance, fact: Fact) {
        let now = self.context.clock.now();
        self.context
            .recorder
            .record(instance.object_ref(&()), fact, now);
    }

    /// A guest that could not start with KVM is a reason to look at KVM again.
    async fn doubt_hardware(&self) {
        let chosen = self
            .accelerator
            .as_ref()
            .map(|decision| decision.accelerator);
        if chosen != Some(Accelerator::Kvm) {
            return;
        }
        let exit = super::record::read_exit(&self.directory).ok().flatten();
        if exit
            .is_some_and(|it| matches!(it.kind, ExitKind::StartFailed | ExitKind::Crashed { .. }))
        {
            self.context.knowledge.doubt();
        }
    }

    /// Asks the API itself whether the pod of a record is still there, before its guest is stopped
    /// because the watch told of no such pod.
    pub(super) async fn pod_exists(&self, record: &Record) -> Result<bool, StepError> {
        let identity = &record.identity;
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &identity.namespace);
        let found = api.get_opt(&identity.pod_name).await?;
        Ok(found.is_some_and(|pod| pod.metadata.uid.as_deref() == Some(&identity.pod_uid)))
    }

    /// Does what was decided.
    pub(super) async fn perform(
        &mut self,
        action: Action,
        pod: Option<&Pod>,
        instance: Option<&VirtualMachineInstance>,
        record: Option<&Record>,
        step_down: Option<StepDown>,
    ) -> Result<Step, StepError> {
        let ends = matches!(
            action,
            Action::Stop { .. }
                | Action::EndLauncher
                | Action::KillOrphan
                | Action::RemoveDirectory
                | Action::DeletePod
        );
        if ends {
            self.context.gate.leave(&self.uid);
            self.queued = None;
        }
        match action {
            Action::StepDown => {
                let (Some(step_down), Some(instance)) = (step_down, instance) else {
                    return Ok(Step::Wait(None));
                };
                self.step_down(&step_down, instance)?;
            }
            Action::KillGuest => {
                self.link.ask(&Request::Kill).await?;
                // Its end is told.
                return Ok(Step::Wait(None));
            }
            Action::Wait(at) => return Ok(Step::Wait(at)),
            Action::Forget => return Ok(Step::Done),
            Action::PullImages => {
                let Some(instance) = instance else {
                    return Ok(Step::Wait(None));
                };
                self.pull_images(instance);
            }
            Action::StartLauncher => {
                let (Some(pod), Some(instance)) = (pod, instance) else {
                    return Ok(Step::Wait(None));
                };
                self.start_launcher(pod, instance).await?;
            }
            Action::StartGuest => {
                let (Some(instance), Some(record)) = (instance, record) else {
                    return Ok(Step::Wait(None));
                };
                let again = step_down.filter(StepDown::starts_again);
                let before = self.warm.told.clone();
                self.start_guest(instance, record, again).await?;
                if self.waits() {
                    return Ok(self.warm.wait_after(before.as_ref()));
                }
            }
            Action::Save => {
                let Some(instance) = instance else {
                    return Ok(Step::Wait(None));
                };
                if self.save_guest(instance).await? {
                    // Its end is told; look again in case it goes on.
                    let now = self.context.clock.now();
                    return Ok(Step::Wait(now.checked_add(SAVING_RETRY).ok()));
                }
            }
            Action::Stop {
                grace_period_seconds,
            } => {
                self.stop(instance, grace_period_seconds).await?;
            }
            Action::EndLauncher => {
                match self.link.ask(&Request::End).await {
                    // It may be gone before it has answered.
                    Ok(_) | Err(LauncherError::Absent(_) | LauncherError::Broken(_)) => {}
                    Err(error) => return Err(error.into()),
                }
                // Its end is told by its lock; look again soon, in case it was told already.
                let soon = self
                    .context
                    .clock
                    .now()
                    .checked_add(Duration::from_millis(50));
                return Ok(Step::Wait(soon.ok()));
            }
            Action::KillOrphan => link::kill_orphan(&self.directory).await?,
            Action::RemoveDirectory => self.remove_folder(instance).await?,
            Action::DeletePod => {
                let Some(pod) = pod else {
                    return Ok(Step::Again);
                };
                self.delete_pod(pod).await?;
            }
        }
        Ok(Step::Again)
    }

    pub(super) fn pull_images(&mut self, instance: &VirtualMachineInstance) {
        let cache = self.context.cache.clone();
        let spec = instance.spec.clone();
        let insecure = self.context.settings.insecure_loopback_registries;
        self.pulling = Some(tokio::spawn(async move {
            images::pull(&cache, &spec, insecure).await
        }));
    }

    /// Starts the launcher, while the record of what it is becomes durable: nobody is told of it before both are done.
    async fn start_launcher(
        &mut self,
        pod: &Pod,
        instance: &VirtualMachineInstance,
    ) -> Result<(), StepError> {
        if self.adopt_standby(pod, instance).await? {
            return Ok(());
        }
        self.make_room(instance);
        let is_new = self.make_folder(pod, instance).await?;
        let directory = self.directory.clone();
        let durable = async move {
            if !is_new {
                return Ok(());
            }
            let made = tokio::task::spawn_blocking(move || Record::make_durable(&directory));
            made.await.map_err(std::io::Error::other)?
        };
        let program = self.context.settings.anyvirt_program.clone();
        let (started, durable) = tokio::join!(self.link.start(&program), durable);
        if let Err(error) = durable {
            // As if nothing had begun: the next try makes all anew.
            if started.is_ok() {
                self.link.ask(&Request::End).await?;
            }
            std::fs::remove_file(self.directory.join(files::IDENTITY))?;
            return Err(error.into());
        }
        started?;
        Ok(())
    }

    /// Makes the machine's folder with its record, which is not durable yet, unless it has one: then false.
    async fn make_folder(
        &self,
        pod: &Pod,
        instance: &VirtualMachineInstance,
    ) -> Result<bool, StepError> {
        if Record::read(&self.directory)?.is_some() {
            return Ok(false);
        }
        let _choosing = self.context.choosing_address.lock().await;
        let record = self.record(pod, instance)?;
        host::socket::private_directory(&self.directory)?;
        record.write(&self.directory)?;
        Ok(true)
    }

    /// Whose launcher it is, with an address that nobody has. To be written while no other address is chosen.
    pub(super) fn record(
        &self,
        pod: &Pod,
        instance: &VirtualMachineInstance,
    ) -> Result<Record, StepError> {
        let pod_uid = pod.uid().unwrap_or_default();
        let range = self.context.settings.pod_addresses;
        let pod_address = range
            .choose(&pod_uid, &self.context.taken_addresses()?)
            .ok_or(StepError::NoAddress(range))?;
        Ok(Record {
            identity: Identity {
                namespace: instance.namespace().unwrap_or_default(),
                name: instance.name_any(),
                uid: self.uid.clone(),
                pod_name: pod.name_any(),
                pod_uid,
                qemu_program: self.context.settings.qemu_program.clone(),
                grace_period_seconds: grace_of(instance),
            },
            pod_address,
        })
    }

    async fn start_guest(
        &mut self,
        instance: &VirtualMachineInstance,
        record: &Record,
        step_down: Option<StepDown>,
    ) -> Result<(), StepError> {
        let asked = self.ask_to_start(instance, record, step_down).await?;
        if self.waits() {
            return Ok(());
        }
        match asked {
            Ok(()) => {
                self.start_failure = None;
                self.start_failures = 0;
                self.tell(
                    instance,
                    Fact::normal("Created", "VirtualMachineInstance defined."),
                );
            }
            Err(NotStarted { message, refused }) => {
                self.context.gate.leave(&self.uid);
                self.start_failures = self.start_failures.saturating_add(1);
                let wait = retry(self.start_failures);
                let now = self.context.clock.now();
                let retry_at = now.checked_add(wait).unwrap_or(Timestamp::MAX);
                self.tell(instance, Fact::warning("SyncFailed", message.clone()));
                self.start_failure = Some(StartFailure {
                    message,
                    retry_at,
                    refused,
                });
            }
        }
        Ok(())
    }

    /// What the guest is to run on.
    pub(super) fn accelerator_for(
        &self,
        instance: &VirtualMachineInstance,
        step_down: Option<&StepDown>,
    ) -> Result<accelerator::Decision, NotStarted> {
        let node = self.context.knowledge.facts();
        let node = match step_down {
            Some(step_down) => step_down::lowered(&node, &step_down.failure),
            None => node,
        };
        let architecture = architecture(instance, &node);
        let forced = accelerator::forced(instance.annotations()).map_err(|value| {
            format!(
                "annotation {}: {value:?} is neither kvm nor tcg",
                annotations::ACCELERATOR
            )
        })?;
        let decision = accelerator::resolve(&policy(instance), forced, &architecture, &node);
        let decision = decision.map_err(|refusal| NotStarted {
            message: refusal.to_string(),
            refused: Some(REFUSED),
        })?;
        Ok(match step_down {
            Some(step_down) => step_down.decision(decision),
            None => decision,
        })
    }

    /// The request that starts the VMI.
    pub(super) fn request(
        &self,
        instance: &VirtualMachineInstance,
        decision: &accelerator::Decision,
        (address, stepped_down): (Ipv4Addr, Option<KvmFailure>),
        secrets: &BTreeMap<String, Secret>,
    ) -> Result<StartRequest, volumes::Unresolved> {
        volumes::start_request(
            instance,
            decision.accelerator,
            self.context.knowledge.known().offered.version,
            (self.context.knowledge.facts().slowdown, stepped_down),
            &self.pulled,
            secrets,
            address,
        )
    }

    /// Hands the VMI to its launcher. The inner error is what stands in the way of the start.
    async fn ask_to_start(
        &mut self,
        instance: &VirtualMachineInstance,
        record: &Record,
        step_down: Option<StepDown>,
    ) -> Result<Result<(), NotStarted>, StepError> {
        let decision = match self.accelerator_for(instance, step_down.as_ref()) {
            Ok(decision) => decision,
            Err(refused) => {
                self.queued = None;
                return Ok(Err(refused));
            }
        };
        let waited = self.queued.take().is_some();
        let secrets = self.secrets(instance).await?;
        let stepped_down = step_down.map(|it| it.failure);
        let request = self.request(
            instance,
            &decision,
            (record.pod_address, stepped_down),
            &secrets,
        );
        let mut request = match request {
            Ok(request) => request,
            Err(unresolved) => return Ok(Err(unresolved.to_string().into())),
        };
        match self.go_on(instance, &mut request).await {
            Ok(true) => {}
            Ok(false) => {
                if let Err(refused) = self.warm_up(instance, &mut request).await {
                    return Ok(Err(refused));
                }
            }
            Err(refused) => return Ok(Err(refused)),
        }
        // A guest that goes on from a template boots nothing, so it waits for nobody who does.
        if decision.accelerator == Accelerator::Tcg && request.warm.is_none() && !self.warm.waits {
            self.queued = self.ask_for_a_turn(instance);
        }
        if self.waits() {
            return Ok(Ok(()));
        }
        if waited {
            self.start.queued_at = Some(self.context.clock.now());
        }
        self.accelerator = Some(decision);
        self.start.begin(&self.directory, &request);
        match self.link.ask(&Request::Start(Box::new(request))).await {
            Ok(_) => Ok(Ok(())),
            Err(LauncherError::Refused { message, .. }) => Ok(Err(message.into())),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it has to wait: for its turn to boot, or for a template.
    pub(super) fn waits(&self) -> bool {
        self.queued.is_some() || self.warm.waits
    }

    /// Asks whether the guest may boot now; why not, if not.
    fn ask_for_a_turn(&self, instance: &VirtualMachineInstance) -> Option<String> {
        let guest = self.booting(instance);
        match self.context.gate.ask(&guest, &self.changed) {
            Admission::Enter => None,
            Admission::Wait { message } => Some(message),
        }
    }

    fn booting(&self, instance: &VirtualMachineInstance) -> Booting {
        let topology = resources::topology(&instance.spec);
        let count = |count: Option<u32>| count.unwrap_or(1).max(1);
        Booting {
            uid: self.uid.clone(),
            made: instance
                .creation_timestamp()
                .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            processors: count(topology.sockets)
                .saturating_mul(count(topology.cores))
                .saturating_mul(count(topology.threads)),
        }
    }

    /// Tells the gate whether the guest boots.
    pub(super) fn take_turn(
        &mut self,
        launcher: &LauncherSeen,
        instance: Option<&VirtualMachineInstance>,
    ) {
        let gate = &self.context.gate;
        let (LauncherSeen::Answers(status), Some(instance)) = (launcher, instance) else {
            if !matches!(launcher, LauncherSeen::Silent) {
                gate.leave(&self.uid);
                self.queued = None;
            }
            return;
        };
        match (status.state, status.accelerator, &status.qemu) {
            (State::Running, Some(Accelerator::Tcg), Some(qemu)) if !has_booted(status) => {
                let process = host::identity::Identity::of(qemu.pid).ok().flatten();
                let process = process.filter(|it| it.start_time == qemu.start_time);
                if let Some(process) = process {
                    let since = status
                        .started_at
                        .unwrap_or_else(|| self.context.clock.now());
                    gate.found_booting(&self.booting(instance), since, &process);
                }
            }
            (State::Running | State::Paused, _, _) => gate.leave(&self.uid),
            // It may wait for its turn, or has it and is about to run; once it is asked to stop
            // neither matters.
            (State::Idle | State::Ended, _, _)
                if instance.metadata.deletion_timestamp.is_some() =>
            {
                gate.leave(&self.uid);
                self.queued = None;
            }
            (State::Idle | State::Starting | State::Ended, _, _) => {}
        }
    }

    /// What follows from a failure of KVM.
    pub(super) fn answer(
        &self,
        failure: &KvmFailure,
        instance: &VirtualMachineInstance,
        node: &NodeFacts,
    ) -> StepDown {
        let answer = step_down::answer(&step_down::Question {
            failure,
            // One that cannot be read was refused before the guest's start.
            forced: accelerator::forced(instance.annotations()).unwrap_or_default(),
            policy: &policy(instance),
            architecture: &architecture(instance, node),
            node,
        });
        StepDown {
            failure: failure.clone(),
            answer,
            at: self.context.clock.now(),
        }
    }

    /// Lowers the node's verdict, writes the answer down, then tells it: whatever is cut short in
    /// between is done again, with the same result.
    fn step_down(
        &mut self,
        step_down: &StepDown,
        instance: &VirtualMachineInstance,
    ) -> Result<(), StepError> {
        let namespace = instance.namespace().unwrap_or_default();
        let machine = format!("{namespace}/{}", instance.name_any());
        self.context.knowledge.lower(&machine, &step_down.failure)?;
        step_down.write(&self.directory)?;
        tracing::warn!(machine, ?step_down, "KVM failed a guest");
        self.tell(instance, step_down.fact());
        Ok(())
    }

    pub(super) async fn secrets(
        &self,
        instance: &VirtualMachineInstance,
    ) -> Result<BTreeMap<String, Secret>, StepError> {
        let api: Api<Secret> = Api::namespaced(
            self.context.client.clone(),
            &instance.namespace().unwrap_or_default(),
        );
        let mut found = BTreeMap::new();
        for name in volumes::secrets(instance) {
            if let Some(secret) = api.get_opt(&name).await? {
                found.insert(name, secret);
            }
        }
        Ok(found)
    }

    async fn stop(
        &mut self,
        instance: Option<&VirtualMachineInstance>,
        grace_period_seconds: u64,
    ) -> Result<(), StepError> {
        let is_first = self.stopping.is_none();
        let status = self
            .link
            .ask(&Request::Stop {
                grace_period_seconds,
            })
            .await?;
        self.stopping = Some(grace_period_seconds);
        if let (Some(instance), true, State::Running) = (instance, is_first, status.state) {
            self.tell(
                instance,
                Fact::normal("ShuttingDown", "Signaled Graceful Shutdown"),
            );
        }
        Ok(())
    }

    async fn remove_folder(
        &mut self,
        instance: Option<&VirtualMachineInstance>,
    ) -> Result<(), StepError> {
        self.forget_save()?;
        let directory = self.directory.clone();
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory));
        match removed.await.map_err(std::io::Error::other)? {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        if let Some(instance) = instance {
            self.tell(instance, Fact::normal("Deleted", "Signaled Deletion"));
        }
        // Should the same VMI get another pod, it starts afresh.
        self.images = ImagesSeen::NotPulled;
        self.context.in_use.release(&self.uid);
        self.stopping = None;
        self.start_failure = None;
        self.start_failures = 0;
        self.accelerator = None;
        self.queued = None;
        self.warm = super::warm::Warm::default();
        self.save = super::save::Save::default();
        self.start = super::start::Start::default();
        Ok(())
    }

    async fn delete_pod(&self, pod: &Pod) -> Result<(), StepError> {
        let uid = pod.uid().unwrap_or_default();
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default().grace_period(0)
        };
        match self.pods(pod).delete(&pod.name_any(), &parameters).await {
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        self.context.objects.deleted_pod(&uid);
        Ok(())
    }
}

/// The policy under which the VMI's pod was made, as recorded on it; none is permitted without a
/// record.
fn policy(instance: &VirtualMachineInstance) -> EffectivePolicy {
    EffectivePolicy::of_annotations(instance.annotations()).unwrap_or_else(|| {
        let place = format!("default: no annotation {}", annotations::EMULATION_POLICY);
        let cluster = ClusterPolicy {
            decided_by: place,
            ..ClusterPolicy::default()
        };
        accelerator::effective(&cluster, None, None)
    })
}

/// Whether the guest has shown that it booted, since its latest start.
fn has_booted(status: &Status) -> bool {
    // One that goes on from a template has booted before it was kept.
    let shown = |name: &str| {
        matches!(
            name,
            milestones::LOGIN | milestones::AGENT | milestones::RENEWED
        )
    };
    status.agent_connected || status.latest_milestones().iter().any(|it| shown(&it.name))
}

/// The guest's architecture: what its VMI says, else the node's.
fn architecture(instance: &VirtualMachineInstance, node: &NodeFacts) -> String {
    let said = instance.spec.architecture.clone();
    said.filter(|name| !name.is_empty())
        .unwrap_or_else(|| node.architecture.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::accelerator::EmulationPolicy;
    use api::launcher::Milestone;

    #[test]
    fn a_guest_that_starts_again_has_not_booted_because_it_did_before() {
        use milestones::{AGENT, KERNEL, LOGIN, STEPPED_DOWN};
        for (reached, booted) in [
            (vec![], false),
            (vec![KERNEL], false),
            (vec![KERNEL, LOGIN], true),
            (vec![KERNEL, AGENT], true),
            (vec![KERNEL, LOGIN, AGENT, STEPPED_DOWN], false),
            (vec![KERNEL, LOGIN, STEPPED_DOWN, KERNEL], false),
            (vec![KERNEL, STEPPED_DOWN, KERNEL, LOGIN], true),
            (vec![milestones::RESTORED], false),
            (vec![milestones::RESTORED, milestones::RENEWED], true),
            (
                vec![milestones::RESTORED, milestones::BOOTS_INSTEAD, KERNEL],
                false,
            ),
        ] {
            let milestone = |name: &&str| Milestone {
                name: (*name).to_owned(),
                ..Milestone::default()
            };
            let status = Status {
                milestones: reached.iter().map(milestone).collect(),
                ..Status::default()
            };
            assert_eq!(has_booted(&status), booted, "{reached:?}");
        }
    }

    #[test]
    fn the_policy_is_what_was_recorded_and_strict_without_a_record() {
        let mut instance = VirtualMachineInstance::new("vm", Default::default());
        assert_eq!(policy(&instance).policy, EmulationPolicy::None);
        let record = [
            (annotations::EMULATION_POLICY, "Software"),
            (annotations::EMULATION_DECIDED_BY, "ConfigMap a/b"),
        ];
        instance
            .annotations_mut()
            .extend(record.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let found = policy(&instance);
        assert_eq!(found.policy, EmulationPolicy::Software);
        assert_eq!(found.decided_by, "ConfigMap a/b");
    }
}
