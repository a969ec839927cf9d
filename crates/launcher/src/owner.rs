//! The one task that owns the guest: it hears of everything, lets [`Life`] decide, and acts.
//!
//! It never waits for QEMU: what asks the monitor runs in a task of its own, so that a QEMU that
//! hangs can still be killed.

mod boot_again;
mod keep;
mod progress;
mod rest;
mod restart;
mod save;
pub(crate) mod standby;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::accelerator::Accelerator;
use api::launcher::saved::Clock;
use api::launcher::{
    Exit, ExitKind, InterfaceStatus, KvmFailure, Milestone, QemuProcess, StartRequest, State,
    Status, files, milestones,
};
use api::scaling::Wait;
use host::identity::Signal;
use jiff::Timestamp;
use qemu::qmp::{Command, Event};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::exit_file::{put_aside, write_durably};
use crate::heard::{
    Heard, Keep, Rest, Running, Save, Starting, at, clock, happening, kept, rested, saved,
    stands_by, started,
};
use crate::kvm_failure;
use crate::life::{Action, Decision, Ended, Input, Life, Refusal};
use crate::monitor::Monitor;
use crate::networks::NetworkEnded;
use crate::serial::Serial;
use crate::signs::{Silence, Watched};
use crate::start::{Guest, Home, Progress, start};
use crate::usage::Accounts;
use crate::warm::Note;
use crate::warm::save::Manner;
use crate::warm::standby::Prepared;

/// How often the status tells how many bytes the guest has written, and the directory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What QEMU said before its end is read at once, unless the machine is very busy.
const LAST_EVENTS_WITHIN: Duration = Duration::from_secs(2);
/// QEMU tells that it has stopped or continued before it answers that it did.
const STATE_FOLLOWS_WITHIN: Duration = Duration::from_secs(5);

/// The devices of the ports of the guest agent and of the hook; see the crate `qemu`.
const AGENT_PORT: &str = "agent0";
const HOOK_PORT: &str = "renewal0";
/// What a client asks of the owner.
#[derive(Debug)]
pub(crate) enum Order {
    /// Start this.
    Start(Box<StartRequest>),
    /// Have a guest stand by that this restores.
    Prepare(Box<StartRequest>),
    /// Keep the guest in this folder.
    Keep(PathBuf),
    /// Save the guest.
    Save(Manner),
    /// Anything that needs no more than its name.
    Do(Input),
}

/// An order and where its answer goes.
pub(crate) type Ordered = (Order, oneshot::Sender<Result<(), Refusal>>);

/// What clients may use of a running guest.
#[derive(Clone, Debug)]
pub(crate) struct Attachable {
    /// Its monitor.
    pub(crate) monitor: Monitor,
    /// Its serial line.
    pub(crate) serial: Option<Serial>,
    /// Whether it has a graphics card.
    pub(crate) graphics: bool,
    /// What there is to count of it.
    pub(crate) accounts: Arc<Accounts>,
}

/// What everybody may look at and ask.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    /// How it stands.
    pub(crate) status: watch::Receiver<Status>,
    /// The guest, while one runs.
    pub(crate) guest: watch::Receiver<Option<Attachable>>,
    /// Where to order.
    pub(crate) orders: mpsc::Sender<Ordered>,
}

/// The owner's own things.
#[derive(Debug)]
pub(crate) struct Owner {
    home: Home,
    life: Life,
    born: Instant,
    status: watch::Sender<Status>,
    attachable: watch::Sender<Option<Attachable>>,
    orders: mpsc::Receiver<Ordered>,
    progress: (Progress, mpsc::Receiver<Milestone>),
    silence: Silence,
    starting: Option<Starting>,
    standby: Prepared,
    /// The launcher's directory, which may be moved: of one that has had a guest stand by.
    folder: Option<File>,
    guest: Option<Running>,
    keep: Option<Keep>,
    rest: Option<Rest>,
    save: Option<Save>,
    /// What is known of the clock of a guest that goes on.
    clock: Option<oneshot::Receiver<Clock>>,
    /// The guest's reset button is to be pressed as soon as its monitor is here, for this.
    owes_reset: Option<Milestone>,
    /// The launcher was told to leave.
    leaves: bool,
}

impl Owner {
    /// The owner of an idle launcher, or of one whose guest has ended before.
    pub(crate) fn new(home: Home, exit: Option<Exit>) -> (Self, Desk) {
        let life = if exit.is_some() {
            Life::ended()
        } else {
            Life::idle()
        };
        let status = Status {
            state: life.state,
            exit,
            ..Status::default()
        };
        let (status, seen) = watch::channel(status);
        let (attachable, guest) = watch::channel(None);
        // As many as there may be clients; see the server.
        let (orders, ordered) = mpsc::channel(crate::server::MOST_CLIENTS);
        let (tell, told) = mpsc::channel(32); // a start has at most as many milestones as there are names
        let owner = Self {
            home,
            life,
            born: Instant::now(),
            status,
            attachable,
            orders: ordered,
            progress: (Progress(tell), told),
            silence: Silence::default(),
            starting: None,
            standby: Prepared::Nothing,
            folder: None,
            guest: None,
            keep: None,
            rest: None,
            save: None,
            clock: None,
            owes_reset: None,
            leaves: false,
        };
        (
            owner,
            Desk {
                status: seen,
                guest,
                orders,
            },
        )
    }

    /// Runs until the launcher shall leave, and gives its directory. `leave` is told something when it is asked to.
    pub(crate) async fn run(mut self, mut leave: mpsc::Receiver<()>) -> PathBuf {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let due = self.life.next_tick().map(|due| self.born + due);
            let heard = tokio::select! {
                biased;
                happened = happening(&mut self.guest) => happened,
                started = started(&mut self.starting) => Heard::Started(Box::new(started)),
                stands = stands_by(&mut self.standby) => stands,
                done = kept(&mut self.keep) => Heard::Kept(Box::new(done)),
                done = rested(&mut self.rest) => Heard::Rested(Box::new(done)),
                done = saved(&mut self.save) => Heard::Saved(Box::new(done)),
                told = clock(&mut self.clock) => Heard::Clock(told),
                Some(milestone) = self.progress.1.recv() => Heard::Milestone(milestone),
                () = at(due) => Heard::Tick,
                Some(()) = leave.recv() => Heard::Leave,
                order = self.orders.recv() => order.map_or(Heard::NoOrders, Heard::Order),
                _ = look.tick() => Heard::Look,
            };
            if self.take(heard).await {
                self.take_standby().end("its launcher leaves").await;
                return self.home.directory;
            }
        }
    }

    /// True: leave.
    async fn take(&mut self, heard: Heard) -> bool {
        match heard {
            Heard::Order((order, answer)) => return self.order(order, answer).await,
            // The server is gone, which happens only when the launcher ends.
            Heard::NoOrders => return true,
            Heard::Milestone(milestone) => self.milestone(milestone),
            Heard::Prepared(got) => self.prepared(*got),
            Heard::StandbyEnded(how) => self.standby_ended(how),
            Heard::Started(started) if self.is_restarting() => {
                return self.restarted(*started).await;
            }
            Heard::Started(started) => {
                let input = match *started {
                    Ok(guest) => {
                        let paused = guest.paused;
                        self.adopt(guest);
                        Input::Started { paused }
                    }
                    Err(error) => {
                        self.note_warm();
                        let starting = self.starting.take();
                        let on_kvm =
                            starting.is_some_and(|it| it.request.accelerator == Accelerator::Kvm);
                        self.blame_kvm(on_kvm, &error.to_string());
                        Input::StartFailed(error.to_string())
                    }
                };
                return self.input(input).await;
            }
            Heard::Kept(done) => return self.kept(*done).await,
            Heard::Rested(done) => self.rested(*done),
            Heard::Saved(done) => return self.saved(*done).await,
            Heard::Clock(clock) => self.clock_told(clock),
            Heard::Said(event) => return self.said(event).await,
            Heard::Ended(ended) => return self.ended(ended).await,
            Heard::Agent(connected) => {
                self.status
                    .send_modify(|status| status.agent_connected = connected);
                if connected && !self.reached(milestones::AGENT) {
                    self.milestone(now(milestones::AGENT));
                }
            }
            Heard::NetworkEnded(ended) => self.network_ended(&ended),
            Heard::KvmFailed(failure) => self.kvm_failed(failure),
            Heard::Looked(look) => {
                match look {
                    Some(look) => self.silence.look(look),
                    // What nobody looks at is not silent.
                    None => self.silence.forget(),
                }
                self.publish_sign();
            }
            Heard::Tick => return self.input(Input::Tick).await,
            Heard::Look => {
                self.count_serial();
                if self.is_homeless() {
                    return self.input(Input::DirectoryGone).await;
                }
            }
            Heard::Leave => return self.leave().await,
        }
        false
    }

    async fn order(&mut self, order: Order, answer: oneshot::Sender<Result<(), Refusal>>) -> bool {
        let (input, request) = match order {
            Order::Do(input) => (input, None),
            Order::Keep(directory) => {
                self.keep(directory, answer);
                return false;
            }
            Order::Save(manner) => {
                self.rest_and_save(manner, answer);
                return false;
            }
            Order::Prepare(request) => {
                // The client may have gone; then nobody needs the answer.
                let _ = answer.send(self.prepare(*request));
                return false;
            }
            Order::Start(request) => {
                let known = self.look_who_it_is();
                if let Err(refusal) = known.and_then(|()| self.check_identity(&request)) {
                    // The client may have gone; then nobody needs the answer.
                    let _ = answer.send(Err(refusal));
                    return false;
                }
                let input = match self.starts_again(&request) {
                    Ok(true) => Input::StartAgain,
                    Ok(false) => Input::Start,
                    Err(refusal) => {
                        let _ = answer.send(Err(refusal));
                        return false;
                    }
                };
                (input, Some(Arc::new(*request)))
            }
        };
        let Decision {
            answer: result,
            actions,
        } = self.life.decide(self.born.elapsed(), input);
        let state = match actions.first() {
            Some(Action::Pause) => Some(State::Paused),
            Some(Action::Continue) if actions.len() == 1 => Some(State::Running),
            _ => None,
        };
        match (result, state) {
            // Answered when QEMU did it.
            (Ok(()), Some(state)) => self.pause(&actions, state, answer),
            (result, _) => {
                self.publish_state();
                let leave = self.perform(actions, request).await;
                let _ = answer.send(result);
                return leave;
            }
        }
        false
    }

    fn check_identity(&self, request: &StartRequest) -> Result<(), Refusal> {
        let uid = request.instance.metadata.uid.as_deref().unwrap_or_default();
        let own = &self.home.identity;
        if uid == own.uid {
            return Ok(());
        }
        Err(Refusal {
            reason: "OtherInstance",
            message: format!(
                "this launcher is for VirtualMachineInstance {}/{} with uid {}, not for uid {uid}",
                own.namespace, own.name, own.uid
            ),
        })
    }

    /// Whether this is the start, without KVM, of a guest that KVM failed and that has ended. Done
    /// at most once in a directory: how the first ended is put aside before anything else happens.
    ///
    /// # Errors
    /// It is, and how the first ended cannot be put aside, or was already: an answer that it started
    /// would be asked for again and again.
    fn starts_again(&self, request: &StartRequest) -> Result<bool, Refusal> {
        let ended_by_kvm = {
            let status = self.status.borrow();
            let exit = status.exit.as_ref();
            status.state == State::Ended && exit.is_some_and(|exit| exit.kvm_failure.is_some())
        };
        if !ended_by_kvm
            || request.stepped_down.is_none()
            || request.accelerator == Accelerator::Kvm
        {
            return Ok(false);
        }
        put_aside(&self.home.directory)
            .map(|()| true)
            .map_err(|error| Refusal {
                reason: "CannotStartAgain",
                message: format!(
                    "the guest cannot start again without KVM in {}: {error}",
                    self.home.directory.display()
                ),
            })
    }

    async fn input(&mut self, input: Input) -> bool {
        let Decision { actions, .. } = self.life.decide(self.born.elapsed(), input);
        self.publish_state();
        self.perform(actions, None).await
    }

    /// All but the end, which is published together with its exit.
    fn publish_state(&mut self) {
        let state = self.life.state;
        let before = self.status.borrow().state;
        if self.starts() && before != state {
            match state {
                State::Paused if !self.reached(milestones::PAUSED) => {
                    self.milestone(now(milestones::PAUSED));
                    self.silence.forget();
                }
                State::Paused => self.silence.forget(),
                State::Running if self.is_looked_at() => self.silence.resumed(Timestamp::now()),
                State::Running | State::Idle | State::Starting | State::Ended => {}
            }
            self.publish_sign();
        }
        if state != State::Ended {
            self.status.send_if_modified(|status| {
                let changed = status.state != state;
                status.state = state;
                if state == State::Running && status.started_at.is_none() {
                    status.started_at = Some(Timestamp::now());
                }
                changed
            });
        }
    }

    async fn perform(&mut self, actions: Vec<Action>, request: Option<Arc<StartRequest>>) -> bool {
        let mut commands = Vec::new();
        let mut leave = false;
        for action in actions {
            match action {
                Action::Launch => {
                    if let Some(request) = &request {
                        self.launch(Arc::clone(request));
                    }
                }
                Action::AbortLaunch => {
                    if let Some(abort) = self
                        .starting
                        .as_mut()
                        .and_then(|starting| starting.abort.take())
                    {
                        // A start that is just done hears nothing, and is then stopped.
                        let _ = abort.send(());
                    }
                }
                Action::PowerDown => commands.push(Command::SystemPowerdown),
                // Only by their own orders, which do it.
                Action::Keep | Action::Save => {}
                Action::Quit => commands.push(Command::Quit),
                Action::Pause => commands.push(Command::Stop),
                Action::Continue => commands.push(Command::Cont),
                Action::Kill => self.kill(),
                Action::Finish(kind, message) => self.finish(kind, message),
                Action::Leave => leave = true,
            }
        }
        self.tell_qemu(commands);
        leave
    }

    fn launch(&mut self, request: Arc<StartRequest>) {
        let last_breath = Wait::LastBreath.within(request.accelerator, request.slowdown);
        self.life.allow_last_breath(last_breath);
        if request.stepped_down.is_some() {
            self.milestone(now(milestones::STEPPED_DOWN));
            self.silence = Silence::default();
            self.status.send_modify(|status| {
                status.exit = None;
                status.kvm_failure = None;
                status.warm = None;
                status.accelerator = None;
                status.qemu = None;
            });
        }
        self.owes_reset = None;
        let (abort, aborted) = oneshot::channel();
        let progress = self.progress.0.clone();
        let note = Note::default();
        let standby = self.take_standby();
        let task = tokio::spawn(start(
            self.home.clone(),
            Arc::clone(&request),
            progress,
            (note.clone(), standby),
            aborted,
        ));
        self.starting = Some(Starting {
            request,
            note,
            abort: Some(abort),
            task,
            restarts: false,
        });
    }

    fn kill(&mut self) {
        if self.is_restarting() {
            let abort = self.starting.as_mut().and_then(|it| it.abort.take());
            // One that is just done hears nothing, and is killed then.
            let _ = abort.map(|abort| abort.send(()));
        }
        if let Some(running) = &self.guest
            && let Err(error) = running.guest.qemu.identity().signal(Signal::Kill)
        {
            tracing::error!("cannot kill QEMU: {error}");
        }
    }

    /// Sends commands in order, without waiting for their answers here.
    fn tell_qemu(&self, commands: Vec<Command>) {
        let Some(running) = self.guest.as_ref().filter(|_| !commands.is_empty()) else {
            return;
        };
        let monitor = running.guest.monitor.clone();
        tokio::spawn(async move {
            for command in commands {
                if let Err(error) = monitor.ask(command).await {
                    tracing::warn!("{error}");
                }
            }
        });
    }

    fn pause(
        &self,
        actions: &[Action],
        state: State,
        answer: oneshot::Sender<Result<(), Refusal>>,
    ) {
        let Some(running) = &self.guest else {
            return; // decided only while a guest runs; else the client sees the closed channel
        };
        let monitor = running.guest.monitor.clone();
        let mut status = self.status.subscribe();
        let command = if actions.contains(&Action::Pause) {
            Command::Stop
        } else {
            Command::Cont
        };
        tokio::spawn(async move {
            let result = match monitor.ask(command).await {
                Ok(_) => {
                    let follows = status
                        .wait_for(|status| status.state == state || status.state == State::Ended);
                    // Late is not wrong: QEMU has done it.
                    let _ = tokio::time::timeout(STATE_FOLLOWS_WITHIN, follows).await;
                    Ok(())
                }
                Err(error) => Err(Refusal {
                    reason: "QemuFailed",
                    message: error.to_string(),
                }),
            };
            let _ = answer.send(result);
        });
    }

    /// How the start went with its template, once that is known.
    fn note_warm(&self) {
        let note = self.starting.as_ref().and_then(|it| it.note.read());
        if let Some(note) = note {
            self.status.send_modify(|status| status.warm = Some(note));
        }
    }

    fn adopt(&mut self, guest: Guest) {
        self.note_warm();
        let request = self.starting.take().map(|starting| starting.request);
        let identity = guest.qemu.identity();
        let qemu = QemuProcess {
            pid: identity.pid,
            start_time: identity.start_time,
            version: guest.version.to_string(),
        };
        let disks = request.iter().flat_map(|request| {
            let devices = &request.instance.spec.domain.devices;
            devices.disks.iter().map(|disk| disk.name.clone())
        });
        let accounts = Accounts {
            qemu: identity.clone(),
            disks: disks.collect(),
            cables: guest.cables.clone(),
        };
        let interfaces = request.iter().flat_map(|request| &request.interfaces);
        let interfaces = interfaces
            .map(|interface| InterfaceStatus {
                name: interface.name.clone(),
                mac: interface.mac.clone(),
                address: interface.address,
                failure: None,
            })
            .collect();
        self.status.send_modify(|status| {
            status.accelerator = Some(guest.accelerator);
            status.adjustments.clone_from(&guest.adjustments);
            status.qemu = Some(qemu);
            status.machine_type = Some(guest.machine_type.clone());
            status.interfaces = interfaces;
        });
        self.attachable.send_replace(Some(Attachable {
            monitor: guest.monitor.clone(),
            serial: guest.serial.clone(),
            graphics: guest.graphics,
            accounts: Arc::new(accounts),
        }));
        // Looks come every few seconds, and are taken at once.
        let (tell, looks) = mpsc::channel(1);
        let watched = Watched {
            monitor: guest.monitor.clone(),
            serial: guest.serial.clone(),
            pid: identity.pid,
            status: self.status.subscribe(),
        };
        tokio::spawn(watched.look(tell));
        let (hook, rested) = (guest.hook, guest.rested);
        let resumed = guest.resumed.clone();
        self.guest = Some(Running {
            guest,
            events: true,
            agent: true,
            networks: true,
            kvm: true,
            looks: Some(looks),
            hook: watch::Sender::new(hook),
            rested,
            agent_open: watch::Sender::new(false),
            request,
        });
        self.note_resumed(resumed);
        self.reset_if_owed();
        if !self.starts() {
            self.forget_looks();
        }
    }

    /// The guest is left as it is: what follows is decided by the node agent.
    fn kvm_failed(&self, failure: KvmFailure) {
        let words = self
            .guest
            .as_ref()
            .map(|running| running.guest.output.so_far());
        let failure = kvm_failure::with_words(failure, &words.unwrap_or_default());
        tracing::error!(
            "KVM fails the guest: {:?}: {}",
            failure.kind,
            failure.evidence
        );
        self.status
            .send_modify(|status| status.kvm_failure = Some(failure));
    }

    /// QEMU has ended. What was seen before counts more than its words.
    fn blame_kvm(&self, on_kvm: bool, words: &str) {
        let known = self.status.borrow().kvm_failure.is_some();
        if let Some(failure) =
            kvm_failure::told(words, Timestamp::now()).filter(|_| on_kvm && !known)
        {
            self.kvm_failed(failure);
        }
    }

    /// The guest is left alone: its disks and programs are worth more than its network, and only a
    /// new QEMU can be given a new one.
    fn network_ended(&self, ended: &NetworkEnded) {
        tracing::error!(address = %ended.address, "the guest has no network any more: {}", ended.how);
        self.status.send_modify(|status| {
            for interface in &mut status.interfaces {
                if interface.address == ended.address {
                    interface.failure = Some(ended.how.clone());
                }
            }
        });
    }

    async fn said(&mut self, event: Event) -> bool {
        if let Event::BlockIoError(error) = &event {
            tracing::warn!(
                "{} of {}: {}{}",
                if error.write { "a write" } else { "a read" },
                error.device,
                error.reason,
                if error.stopped {
                    "; the guest is paused"
                } else {
                    ""
                }
            );
        }
        if event == Event::Stop
            && let Some(watch) = self
                .guest
                .as_ref()
                .and_then(|running| running.guest.kvm.as_ref())
        {
            watch.guest_stopped();
        }
        if let (Event::Migration(state), Some(save)) = (&event, &self.save) {
            // There is room for all that QEMU says of one.
            let _ = save.migrations.try_send(*state);
        }
        match (&event, &mut self.guest, &self.keep) {
            (Event::PortChange { id, open }, Some(running), _) if id == AGENT_PORT => {
                running.agent_open.send_replace(*open);
                if *open {
                    running.guest.agent_opened.notify_one();
                }
            }
            (Event::PortChange { id, open }, Some(running), _) if id == HOOK_PORT => {
                running.hook.send_replace(*open);
                // The next one may be of another start of the guest's system.
                running.rested &= *open;
            }
            (Event::Migration(state), _, Some(keep)) => {
                // There is room for all that QEMU says of one.
                let _ = keep.migrations.try_send(*state);
            }
            _ => {}
        }
        self.input(Input::Said(event)).await
    }

    async fn ended(&mut self, ended: Ended) -> bool {
        let Some(mut running) = self.guest.take() else {
            return false;
        };
        // What it said before its end decides how it ended.
        let rest = async {
            while let Some(event) = running.guest.events.recv().await {
                self.life.decide(self.born.elapsed(), Input::Said(event));
            }
        };
        if tokio::time::timeout(LAST_EVENTS_WITHIN, rest)
            .await
            .is_err()
        {
            tracing::warn!("QEMU has ended, but its monitor is still open");
        }
        let Some(running) = self.restart(running) else {
            return false;
        };
        if let Some(serial) = &running.guest.serial {
            if tokio::time::timeout(LAST_EVENTS_WITHIN, serial.ended())
                .await
                .is_err()
            {
                tracing::warn!("QEMU has ended, but its serial line is still open");
            }
            let bytes = serial.bytes();
            self.status
                .send_modify(|status| status.serial_bytes = bytes);
        }
        // All that the line had was read, and what it told waits here.
        while let Ok(milestone) = self.progress.1.try_recv() {
            self.milestone(milestone);
        }
        self.attachable.send_replace(None);
        let on_kvm = running.guest.accelerator == Accelerator::Kvm;
        let words = running.guest.output.last_words().await;
        self.blame_kvm(on_kvm, &words);
        let Decision { mut actions, .. } = self
            .life
            .decide(self.born.elapsed(), Input::QemuEnded(ended));
        for action in &mut actions {
            if let Action::Finish(ExitKind::Crashed { .. }, message) = action
                && !words.is_empty()
            {
                message.push_str(&format!("; QEMU said: {words}"));
            }
        }
        self.perform(actions, None).await
    }

    fn finish(&mut self, kind: ExitKind, message: String) {
        tracing::info!("the guest has ended: {kind:?}: {message}");
        let (is_kept, is_saved) = (kind == ExitKind::Kept, kind == ExitKind::Saved);
        let exit = Exit {
            kind,
            message,
            at: Timestamp::now(),
            kvm_failure: self.status.borrow().kvm_failure.clone(),
        };
        if let Err(error) = write_durably(&self.home.directory, &exit) {
            tracing::error!("cannot write {}: {error}", files::EXIT);
        }
        self.status.send_modify(|status| {
            status.state = State::Ended;
            status.exit = Some(exit);
            status.agent_connected = false;
            status.last_sign = None;
        });
        if let Some(answer) = self
            .save
            .take_if(|_| is_saved)
            .and_then(|mut save| save.answer.take())
        {
            // Said now, since the guest has ended.
            let _ = answer.send(Ok(()));
        }
        // One that ended otherwise while it was being kept: its answer comes when the writing has ended too.
        let kept = self.keep.take_if(|_| is_kept);
        if let Some(answer) = kept.and_then(|mut keep| keep.answer.take()) {
            // Said now, since the guest has ended.
            let _ = answer.send(Ok(()));
        }
    }
}

fn now(name: &str) -> Milestone {
    Milestone {
        name: name.to_owned(),
        at: Timestamp::now(),
        ..Milestone::default()
    }
}
