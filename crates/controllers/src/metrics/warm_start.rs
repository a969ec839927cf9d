//! Templates for warm starts, as their objects tell of them.

use super::families::{count, family, series};
use super::{Family, View};
use api::warm_start::{WarmStartTemplate, WarmStartTemplateStatus};
use std::collections::BTreeMap;

/// All of them, by node.
pub(super) fn families(view: &View) -> Vec<Family> {
    let mut phases: BTreeMap<(String, String), u64> = BTreeMap::new();
    for template in &view.templates {
        let phase = template.status.as_ref().map(|status| status.phase.clone());
        let phase = phase.filter(|phase| !phase.is_empty());
        // One whose node has said nothing yet.
        let phase = phase.unwrap_or_else(|| "Unknown".to_owned());
        *phases.entry((node(template), phase)).or_default() += 1;
    }
    let by_phase = phases
        .into_iter()
        .map(|((node, phase), number)| series([("node", node), ("phase", phase)], count(number)));
    let mut standby: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for template in &view.templates {
        let guests = template.status.as_ref().and_then(|status| status.standby);
        let guests = guests.unwrap_or_default();
        for (state, number) in [("ready", guests.ready), ("wanted", guests.wanted)] {
            *standby.entry((node(template), state)).or_default() += u64::from(number);
        }
    }
    let standby = standby.into_iter().map(|((node, state), number)| {
        series([("node", node), ("state", state.to_owned())], count(number))
    });
    let sum = |name, help, of: fn(&WarmStartTemplateStatus) -> Option<i64>| {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for template in &view.templates {
            let value = template.status.as_ref().and_then(of).unwrap_or_default();
            *sums.entry(node(template)).or_default() += u64::try_from(value).unwrap_or_default();
        }
        let all = sums.into_iter();
        family(
            name,
            help,
            all.map(|(node, sum)| series([("node", node)], count(sum))),
        )
    };
    vec![
        family(
            "anyvirt_warm_start_templates",
            "Templates for warm starts by node and phase",
            by_phase,
        ),
        family(
            "anyvirt_warm_start_standby",
            "Guests that stand by for warm starts, ready or wanted, by node",
            standby,
        ),
        sum(
            "anyvirt_warm_start_template_disk_bytes",
            "Disk space that templates for warm starts take",
            |status| status.size_bytes,
        ),
        sum(
            "anyvirt_warm_start_template_held_bytes",
            "Memory that templates for warm starts take, shared by all guests that started from them",
            |status| status.held_bytes,
        ),
        // Gauges: with a template its count goes.
        sum(
            "anyvirt_warm_start_restores",
            "Guests that went on from the templates that there are",
            |status| Some(status.uses),
        ),
        sum(
            "anyvirt_warm_start_failures",
            "Templates that were dropped because no guest could go on from them, of those machines' shapes that are known",
            |status| Some(status.failures),
        ),
    ]
}

fn node(template: &WarmStartTemplate) -> String {
    template.spec.node.clone()
}
