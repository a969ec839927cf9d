//! One machine that is saved, or goes on from where it was saved.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use api::condition;
use api::launcher::saved::{Renewal, Saved, files as names};
use api::launcher::warm::WarmStart;
use api::launcher::{ExitKind, StartRequest, State, files};
use api::names::{annotations, conditions};
use api::resources;
use api::snapshot::VirtualMachineSnapshotContent;
use api::suspend;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::{SavedStatus, VirtualMachineInstance};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource as _, ResourceExt as _};
use serde::{Deserialize, Serialize};

use super::decide::{LauncherSeen, phase};
use super::perform::NotStarted;
use super::record::{LAUNCHER_LOCK, read_json, write_json};
use super::warm::Warm;
use super::{Machine, StepError, retry};
use crate::event::Fact;
use crate::launcher::LauncherError;
use crate::saved::{
    self, Made, Owner, Reservation, SaveError, Store, Stored, difference, is_id, is_used, shape,
};
use crate::templates::store::Fault;

/// Why a machine does not go on.
pub(crate) const REFUSED: &str = "ResumeRefused";
/// In the machine's folder, before it is saved: as what.
const SAVING: &str = "saving.json";
/// In the machine's folder, once its launcher has saved it by itself: from what it is to go on.
const GOES_ON: &str = "goes-on.json";

/// As what a machine is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Saving {
    id: String,
    made: Made,
}

/// What one machine has to do with saving.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Save {
    /// Why it could not be saved, and when to try again.
    pub(crate) failure: Option<(String, Timestamp)>,
    failures: u32,
    /// It is saved.
    pub(crate) done: Option<SavedStatus>,
    /// It was saved by its launcher alone, and is to go on here, from this.
    pub(crate) goes_on: Option<SavedStatus>,
    /// A guest has gone on from what was saved, which is of no use since.
    pub(crate) went_on: bool,
    /// What it went on from was looked after.
    settled: bool,
}

/// As what the guest of a VMI is to be saved.
pub(crate) fn wanted(instance: &VirtualMachineInstance) -> Option<&str> {
    let id = instance.annotations().get(annotations::SAVE_TO)?;
    Some(id.as_str())
}

/// As what the machines in this folder are being saved.
pub(crate) fn saving_ids(machines: &Path) -> io::Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for entry in std::fs::read_dir(machines)? {
        let entry = entry?;
        // One that its launcher saves by itself has its own name.
        ids.insert(entry.file_name().to_string_lossy().into_owned());
        if let Some(saving) = super::read_understood::<Saving>(&entry.path().join(SAVING))? {
            ids.insert(saving.id);
        }
    }
    Ok(ids)
}

fn owner(instance: &VirtualMachineInstance) -> Owner {
    let namespace = instance.namespace().unwrap_or_default();
    let kind = VirtualMachine::kind(&());
    let vm = instance.owner_references().iter();
    let vm = vm
        .clone()
        .find(|owner| owner.controller == Some(true) && owner.kind == kind);
    match vm {
        Some(vm) => Owner {
            kind: kind.into_owned(),
            namespace,
            name: vm.name.clone(),
            uid: vm.uid.clone(),
        },
        None => Owner {
            kind: VirtualMachineInstance::kind(&()).into_owned(),
            namespace,
            name: instance.name_any(),
            uid: instance.uid().unwrap_or_default(),
        },
    }
}

impl Machine {
    fn made(&self, instance: &VirtualMachineInstance) -> Made {
        Made {
            owner: owner(instance),
            shape: shape(instance),
            processor: Some(crate::templates::processor()),
            made_at: self.context.clock.now(),
        }
    }

    /// Lets the launcher save the guest, which ends then. True: it is doing so already, or ends.
    pub(super) async fn save_guest(
        &mut self,
        instance: &VirtualMachineInstance,
    ) -> Result<bool, StepError> {
        let Some(id) = wanted(instance) else {
            return Ok(false);
        };
        if !is_id(id) {
            let message = format!("annotation {}: {id:?} is no UID", annotations::SAVE_TO);
            self.not_saved(instance, message);
            return Ok(false);
        }
        let namespace = instance.namespace().unwrap_or_default();
        if let Ok(Some(stored)) = self.context.saved.get(&namespace, id)
            && stored.manifest.owner.uid != owner(instance).uid
        {
            let by = whose(&stored.manifest.owner);
            let message = format!("annotation {}: {id} is {by}", annotations::SAVE_TO);
            self.not_saved(instance, message);
            return Ok(false);
        }
        let saving = Saving {
            id: id.to_owned(),
            made: self.made(instance),
        };
        write_json(&self.directory, SAVING, &saving)?;
        if self.save.failure.is_none() {
            let message = "The guest is being saved with its memory.".to_owned();
            self.tell(instance, Fact::normal("Suspending", message));
        }
        let memory = resources::guest_memory_bytes(&instance.spec).unwrap_or_default();
        let store = &self.context.saved;
        let asked = saved::save(store, &self.directory, id, memory, (false, false)).await;
        match asked {
            Ok(_) => self.save.failure = None,
            Err(SaveError::Launcher(LauncherError::Refused { reason, .. }))
                if saved::is_under_way(&reason) =>
            {
                return Ok(true);
            }
            Err(SaveError::Launcher(LauncherError::Refused { message, .. })) => {
                self.not_saved(instance, message);
            }
            Err(SaveError::NoRoom(message)) => self.not_saved(instance, message),
            Err(SaveError::Launcher(error)) => return Err(error.into()),
            Err(SaveError::Io(error)) => return Err(error.into()),
        }
        Ok(false)
    }

    /// Removes what its launcher was writing, if it was.
    pub(super) fn forget_save(&self) -> io::Result<()> {
        let saving = super::read_understood::<Saving>(&self.directory.join(SAVING))?;
        let ids = saving.map(|it| it.id).into_iter();
        for id in ids.chain([self.uid.clone()]) {
            self.context.saved.discard(&id)?;
        }
        Ok(())
    }

    fn not_saved(&mut self, instance: &VirtualMachineInstance, message: String) {
        // Should its launcher save it by itself later, that is for another end.
        if let Err(error) = std::fs::remove_file(self.directory.join(SAVING))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(machine = self.uid, %error, "as what it was to be saved stays noted");
        }
        self.save.failures = self.save.failures.saturating_add(1);
        let now = self.context.clock.now();
        let retry_at = now.checked_add(retry(self.save.failures));
        let is_news = self.save.failure.as_ref().map(|it| &it.0) != Some(&message);
        if is_news {
            self.tell(instance, Fact::warning("SaveFailed", message.clone()));
        }
        self.save.failure = Some((message, retry_at.unwrap_or(Timestamp::MAX)));
    }

    /// Takes in what the launcher has saved, and what a guest went on from. True: the launcher is to be looked at again.
    pub(super) async fn settle_save(
        &mut self,
        launcher: &LauncherSeen,
        instance: Option<&VirtualMachineInstance>,
    ) -> Result<bool, StepError> {
        let exit = match launcher {
            LauncherSeen::Answers(status) => status.exit.as_ref(),
            LauncherSeen::Absent { exit, .. } => exit.as_ref(),
            LauncherSeen::Silent => None,
        };
        let ended = exit.is_some_and(|exit| exit.kind == ExitKind::Saved);
        if !ended {
            self.settle_resume(launcher, instance).await?;
            return Ok(false);
        }
        // What is over was taken in before, or is of nobody any more.
        let Some(instance) = instance.filter(|it| {
            self.save.done.is_none()
                && !phase(it).is_final()
                && it.metadata.deletion_timestamp.is_none()
        }) else {
            return Ok(false);
        };
        let has = |id: &str| self.context.saved.building(id).join(names::RECORD).exists();
        let asked = read_json::<Saving>(&self.directory.join(SAVING))?;
        let asked = asked.filter(|asked| was_asked(&asked.id, &self.uid, has));
        let by_itself = asked.is_none();
        let Saving { id, made } = match asked {
            Some(asked) => asked,
            None => Saving {
                id: self.uid.clone(),
                // It goes on as this VMI. If it cannot, what was saved is its VM's.
                made: self.made(instance),
            },
        };
        let store = self.context.saved.clone();
        let commits = tokio::task::spawn_blocking(move || {
            // It was taken in before, and then we ended.
            if !store.building(&id).exists()
                && let Some(stored) = store.get(&made.owner.namespace, &id)?
            {
                return Ok((id, stored));
            }
            let stored = store.commit(&id, made)?;
            Ok::<_, Fault>((id, stored))
        });
        let (id, stored) = match commits.await.map_err(io::Error::other)? {
            Ok(committed) => committed,
            // It is all there is of the guest: tried again until it can be taken in.
            Err(Fault::Io(error)) => return Err(error.into()),
            Err(fault) => {
                let message = format!("what was saved of the guest is of no use: {fault}");
                tracing::error!(machine = self.uid, message);
                self.not_saved(instance, message);
                return Ok(false);
            }
        };
        let done = SavedStatus {
            id,
            at: Time(stored.manifest.record.at),
            disk_bytes: i64::try_from(stored.manifest.disk_bytes).unwrap_or(i64::MAX),
        };
        if by_itself {
            // Its launcher has left, and another one is to find nothing of it.
            if !matches!(launcher, LauncherSeen::Absent { .. }) {
                return Ok(false);
            }
            write_json(&self.directory, GOES_ON, &done)?;
            for name in [files::EXIT, LAUNCHER_LOCK] {
                match std::fs::remove_file(self.directory.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(error.into());
                    }
                    _ => {}
                }
            }
            self.save = Save::default();
            return Ok(true);
        }
        self.save.done = Some(done);
        Ok(false)
    }

    /// What a guest that goes on has taken over is of no use to anybody else. It is removed once the VMI tells of that:
    /// until then it is what says so.
    async fn settle_resume(
        &mut self,
        launcher: &LauncherSeen,
        instance: Option<&VirtualMachineInstance>,
    ) -> Result<(), StepError> {
        let goes_on = read_json::<SavedStatus>(&self.directory.join(GOES_ON))?;
        self.save.goes_on.clone_from(&goes_on);
        let Some(instance) = instance.filter(|_| !self.save.settled) else {
            return Ok(());
        };
        let id = goes_on.map(|it| it.id).or_else(|| {
            let (id, _) = suspend::resume_from(instance.annotations())?;
            Some(id.to_owned())
        });
        let status = match launcher {
            LauncherSeen::Answers(status) => Some(status),
            LauncherSeen::Absent { .. } | LauncherSeen::Silent => None,
        };
        let resumed = status.is_some_and(|status| status.resumed.is_some());
        self.save.went_on |= resumed
            || id
                .as_deref()
                .is_some_and(|id| is_taken_over(&self.context.saved, instance, id));
        let runs = status.is_some_and(|it| matches!(it.state, State::Running | State::Paused));
        let conditions = instance.status.as_ref().map(|status| &status.conditions);
        let told = conditions.is_some_and(|all| condition::is_true(all, conditions::RESUMED));
        if !(resumed && runs && told) {
            return Ok(());
        }
        let namespace = instance.namespace().unwrap_or_default();
        if let Some(id) = id.filter(|id| is_id(id)) {
            let store = self.context.saved.clone();
            let removed = tokio::task::spawn_blocking(move || match store.get(&namespace, &id) {
                Ok(Some(stored)) if is_used(&stored.directory) => store.remove(&namespace, &id),
                _ => Ok(()),
            });
            removed.await.map_err(io::Error::other)??;
        }
        match std::fs::remove_file(self.directory.join(GOES_ON)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.save.goes_on = None;
        self.save.settled = true;
        Ok(())
    }

    /// Prepares a start that goes on from a saved machine, if it is one: then `request` says so. True: it does. The error
    /// is why it may not start at all.
    pub(super) async fn go_on(
        &mut self,
        instance: &VirtualMachineInstance,
        request: &mut StartRequest,
    ) -> Result<bool, NotStarted> {
        if suspend::survives_shutdown(instance.annotations()) {
            request.save_on_leaving = Some(self.context.saved.building(&self.uid));
        }
        let asked = suspend::resume_from(instance.annotations());
        let own = self.save.goes_on.as_ref();
        let own = own.map(|_| (&*self.uid, Renewal::Clock));
        let Some((id, renewal)) = own.or(asked) else {
            return Ok(false);
        };
        if !is_id(id) {
            let message = format!("annotation {}: {id:?} is no UID", annotations::RESUME_FROM);
            return Err(does_not_boot(message));
        }
        let namespace = instance.namespace().unwrap_or_default();
        let stored = self.context.saved.get(&namespace, id);
        let stored = stored.map_err(|fault| NotStarted {
            refused: (!fault.is_passing()).then_some(REFUSED),
            ..does_not_boot(format!("what was saved: {fault}"))
        })?;
        let is_there = stored.is_some();
        let used = stored.as_ref().is_none_or(|it| is_used(&it.directory));
        if request.stepped_down.is_some() && used {
            // It went on, and then KVM failed it: what it was is lost.
            return Ok(false);
        }
        let Some(stored) = stored.filter(|_| !used) else {
            let node = &self.context.settings.name;
            return Err(does_not_boot(nothing_saved(instance, id, node, is_there)));
        };
        let is_own = may_use(&stored.manifest.owner, instance, renewal).map_err(does_not_boot)?;
        fits(&stored, instance, request).map_err(does_not_boot)?;
        let take_over = renewal == Renewal::Clock && is_own;
        // With what an earlier try has reserved.
        self.warm = Warm::default();
        if !take_over {
            self.warm = Warm::copies(self.room_for_copies(&stored)?);
        }
        let reads = stored.clone();
        let verified = tokio::task::spawn_blocking(move || reads.verify()).await;
        let files = match verified {
            Ok(Ok(files)) => files,
            Ok(Err(fault)) => return Err(of_no_use(fault)),
            Err(error) => return Err(NotStarted::from(error.to_string())),
        };
        let record = stored.manifest.record.clone();
        if renewal == Renewal::Clock {
            // It keeps the cards that its guest knows.
            for (interface, mac) in request.interfaces.iter_mut().zip(&record.macs) {
                interface.mac.clone_from(mac);
            }
        }
        request.warm = Some(WarmStart::Resume(Box::new(Saved {
            directory: stored.directory,
            record,
            files,
            take_over,
            renewal,
        })));
        Ok(true)
    }

    /// Room on the disk for its own copies of what was saved.
    ///
    /// # Errors
    /// Why it may not start.
    fn room_for_copies(&self, stored: &Stored) -> Result<Reservation, NotStarted> {
        let bytes = stored.copied_bytes().map_err(of_no_use)?;
        let is_enough = |free| saved::room(saved::Writes::Copies, free, bytes);
        let reserved = self.context.saved.reserve(bytes, is_enough);
        let reserved =
            reserved.map_err(|error| format!("the folder of saved machines: {error}"))?;
        reserved.map_err(does_not_boot)
    }
}

/// It goes on, or does not start.
fn does_not_boot(message: String) -> NotStarted {
    NotStarted {
        message: format!("{message}; it does not boot instead"),
        refused: Some(REFUSED),
    }
}

/// What was saved cannot be used, or not now.
fn of_no_use(fault: Fault) -> NotStarted {
    NotStarted {
        refused: (!fault.is_passing()).then_some(REFUSED),
        message: format!("what was saved of the guest is of no use: {fault}"),
    }
}

/// Whether what a launcher has saved is what it was asked for, as `asked`, and not what it saves by itself, as `own`: it
/// may have been asked before, in vain. `has`: there is such a folder with all in it. One that was asked for may have
/// been taken in already.
fn was_asked(asked: &str, own: &str, has: impl Fn(&str) -> bool) -> bool {
    has(asked) || !has(own)
}

/// Whether a guest has gone on from what was saved as `id`.
fn is_taken_over(store: &Store, instance: &VirtualMachineInstance, id: &str) -> bool {
    let namespace = instance.namespace().unwrap_or_default();
    // Of what cannot be read a start says so.
    is_id(id) && matches!(store.get(&namespace, id), Ok(Some(stored)) if is_used(&stored.directory))
}

/// Whether a machine may go on from what was saved of that owner: a snapshot is there for all of its namespace, anything
/// else for its own machine, as who it is. True: it is its own, and becomes its. Who may write the annotations is checked
/// where they are written; this holds whoever did.
///
/// # Errors
/// A sentence: whose it is.
fn may_use(
    saved_of: &Owner,
    instance: &VirtualMachineInstance,
    renewal: Renewal,
) -> Result<bool, String> {
    let wrong = suspend::not_understood(instance.annotations());
    let wrong = wrong
        .iter()
        .find(|(name, ..)| *name == annotations::RESUME_AS);
    if let Some((name, value, instead)) = wrong {
        return Err(format!("annotation {name}: {value:?} is not {instead}"));
    }
    let snapshot = VirtualMachineSnapshotContent::kind(&());
    let mine = owner(instance);
    let is_own = instance.uid().as_deref() == Some(&saved_of.uid)
        || (saved_of.kind == mine.kind && saved_of.uid == mine.uid);
    if saved_of.kind == snapshot || (is_own && renewal == Renewal::Clock) {
        return Ok(is_own);
    }
    let by = whose(saved_of);
    Err(format!("what was saved is {by}, and of nobody else's use"))
}

fn whose(owner: &Owner) -> String {
    let Owner { kind, name, .. } = owner;
    format!("that of {kind} {name}")
}

/// Why there is nothing from which a guest could go on, and what to do.
fn nothing_saved(
    instance: &VirtualMachineInstance,
    id: &str,
    node: &str,
    is_there: bool,
) -> String {
    let namespace = instance.namespace().unwrap_or_default();
    let why = if is_there {
        format!("a guest has gone on from what was saved as {id} already, and has ended")
    } else {
        format!("nothing is saved as {id} in namespace {namespace} on node {node}")
    };
    // What a restore asked for, another restore changes.
    if instance
        .annotations()
        .contains_key(annotations::LAST_RESTORE)
    {
        return why;
    }
    format!(
        "{why}; to boot it anew: anyvirt resume -n {namespace} {} --discard",
        instance.name_any()
    )
}

/// Whether the guest can go on in this machine.
///
/// # Errors
/// A sentence: what has changed since it was saved.
fn fits(
    stored: &Stored,
    instance: &VirtualMachineInstance,
    request: &StartRequest,
) -> Result<(), String> {
    let manifest = &stored.manifest;
    if let Some(differs) = difference(&manifest.shape, &shape(instance)) {
        return Err(format!(
            "the machine was changed since its guest was saved: {differs}; undo that, or throw away what was saved"
        ));
    }
    saved::fits_here(manifest, request.qemu_version.as_deref())
}

#[cfg(test)]
#[path = "save_tests.rs"]
mod tests;
