//! What is shown of a start while somebody waits for it.

use api::virtual_machine_instance::{Phase, StartTimeline, VirtualMachineInstance, steps};
use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::time::Instant;

use super::wait::unplaced;
use super::{accelerator, after, seconds, timeline, title};
use crate::output;

/// What has been shown of a start.
pub(super) struct Progress {
    terminal: bool,
    /// UID of the instance that is followed.
    pub(super) instance: Option<String>,
    told: Vec<String>,
    timeline: Option<StartTimeline>,
    line: bool,
    /// Since when no node takes it.
    pub(super) unplaced: Option<Instant>,
}

impl Progress {
    pub(super) fn new(terminal: bool) -> Self {
        Self {
            terminal,
            instance: None,
            told: Vec::new(),
            timeline: None,
            line: false,
            unplaced: None,
        }
    }

    /// Lines for what is new.
    pub(super) fn take(&mut self, instance: Option<&VirtualMachineInstance>) -> Vec<String> {
        let Some(instance) = instance else {
            return Vec::new();
        };
        let phase = instance.status.as_ref().and_then(|status| status.phase);
        if self.instance.is_none() && phase.is_some_and(Phase::is_final) {
            return Vec::new();
        }
        if self.instance != instance.uid() {
            self.instance = instance.uid();
            self.told.clear();
        }
        self.unplaced = unplaced(instance).map(|_| self.unplaced.unwrap_or_else(Instant::now));
        let Some(timeline) = timeline(instance) else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        for step in &timeline.steps {
            let Some(reached) = after(timeline, step) else {
                continue;
            };
            let more = match step.name.as_str() {
                steps::QEMU => accelerator(instance).unwrap_or_default(),
                _ => "",
            };
            let line = format!(
                "✓ {:<12} {:>8}   {more}",
                title(&step.name),
                seconds(reached)
            );
            self.tell(&step.name, line.trim_end(), &mut lines);
        }
        if let Some(stuck) = &timeline.stuck {
            self.tell(&stuck.message, &format!("! {}", stuck.message), &mut lines);
        }
        if let Some(estimate) = timeline.estimate.as_ref().filter(|_| !timeline.is_done()) {
            let line = format!(
                "  login expected after {}-{} s ({})",
                estimate.low_seconds, estimate.high_seconds, estimate.basis
            );
            // Once; the moving line has the latest.
            self.tell("estimate", &line, &mut lines);
        }
        self.timeline = Some(timeline.clone());
        lines
    }

    fn tell(&mut self, what: &str, line: &str, lines: &mut Vec<String>) {
        if !self.told.iter().any(|told| told == what) {
            self.told.push(what.to_owned());
            lines.push(format!("{line}\n"));
        }
    }

    /// The line that says how it goes, on a terminal.
    pub(super) fn refresh(&mut self, now: Timestamp) {
        let Some(timeline) = self.timeline.as_ref().filter(|_| self.terminal) else {
            return;
        };
        output::question(&format!("\r\x1b[K  {}", moving(timeline, now)));
        self.line = true;
    }

    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.line) {
            output::question("\r\x1b[K");
        }
    }
}

/// How it goes, in one line.
pub(super) fn moving(timeline: &StartTimeline, now: Timestamp) -> String {
    let elapsed = now.duration_since(timeline.started_at.0).as_secs().max(0);
    let percent = timeline.progress_percent;
    let rest = timeline.estimate.as_ref().map(|estimate| {
        let (low, high) = (
            estimate.low_seconds - elapsed,
            estimate.high_seconds - elapsed,
        );
        match (low, high) {
            (_, ..=0) => "later than expected".to_owned(),
            (..=0, high) => format!("login within {high} s ({})", estimate.basis),
            (low, high) => format!("login in {low}-{high} s ({})", estimate.basis),
        }
    });
    let rest = rest.unwrap_or_else(|| "no estimate yet".to_owned());
    format!("{elapsed} s, {percent} %, {rest}")
}
