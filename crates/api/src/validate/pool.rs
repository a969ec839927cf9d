//! What is wrong with pools of virtual machines, in KubeVirt's words where it has some.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::SelectorExt as _;

use super::cause::{Cause, Causes, Path};
use super::{annotations_of_controllers, check_machine, metadata, refuse_unserved};
use crate::configuration::ClusterConfiguration;
use crate::names::labels;
use crate::pool::{
    ScaleInStrategy, StatePreservation, Unavailable, UpdateStrategy, VirtualMachinePool,
    VirtualMachineTemplate,
};
use crate::unserved;
use crate::virtual_machine::VirtualMachine;

/// What is wrong with a new pool.
#[must_use]
pub fn virtual_machine_pool(
    pool: &VirtualMachinePool,
    cluster: &ClusterConfiguration,
) -> Vec<Cause> {
    let mut causes = Causes::default();
    check_own(pool, &mut causes);
    check_template(&pool.spec.virtual_machine_template, cluster, &mut causes);
    causes.into()
}

/// What is wrong with the update of a pool. A template that stays is not looked at again: what was allowed once may be
/// forbidden now, and the pool must still be scaled; and so must one that is being deleted be left alone.
#[must_use]
pub fn virtual_machine_pool_update(
    old: &VirtualMachinePool,
    new: &VirtualMachinePool,
    cluster: &ClusterConfiguration,
) -> Vec<Cause> {
    let mut causes = Causes::default();
    if new.metadata.deletion_timestamp.is_some() {
        return causes.into();
    }
    check_own(new, &mut causes);
    let template = &new.spec.virtual_machine_template;
    if *template != old.spec.virtual_machine_template {
        check_template(template, cluster, &mut causes);
    }
    if new.spec.selector != old.spec.selector {
        let selector = Path::of("spec").field("selector");
        causes.invalid(&selector, "selector is immutable after creation.");
    }
    causes.into()
}

/// What is wrong with the annotations of a pool's template that only controllers write: its machines would have them
/// from the controller.
#[must_use]
pub fn pool_annotations_of_controllers(
    old: Option<&VirtualMachinePool>,
    new: &VirtualMachinePool,
) -> Vec<Cause> {
    let machine = |pool: &VirtualMachinePool| {
        let metadata = pool.spec.virtual_machine_template.metadata.clone();
        metadata.unwrap_or_default()
    };
    let instance = |pool: &VirtualMachinePool| {
        let template = pool.spec.virtual_machine_template.spec.template.clone();
        template.and_then(|it| it.metadata).unwrap_or_default()
    };
    let told = |at: &str, of: &dyn Fn(&VirtualMachinePool) -> ObjectMeta| {
        annotations_of_controllers(at, old.map(of).as_ref(), &of(new))
    };
    let mut causes = told("spec.virtualMachineTemplate.metadata", &machine);
    causes.extend(told(
        "spec.virtualMachineTemplate.spec.template.metadata",
        &instance,
    ));
    causes
}

/// All but the template.
fn check_own(pool: &VirtualMachinePool, causes: &mut Causes) {
    let path = Path::of("spec");
    let spec = &pool.spec;
    let value = serde_json::to_value(spec).unwrap_or_default();
    refuse_unserved(&path, unserved::POOL, &value, causes);
    let replicas = path.field("replicas");
    if spec.replicas.is_some_and(|replicas| replicas < 0) {
        causes.invalid(
            &replicas,
            format!("{replicas}: must be greater than or equal to 0."),
        );
    }
    check_selector(pool, causes);
    let unavailable = path.field("maxUnavailable");
    if let Some(written) = &spec.max_unavailable
        && Unavailable::read(written).is_none()
    {
        let written = serde_json::to_value(written).unwrap_or_default();
        let message = format!(
            "{unavailable} {written}: write a number from 0, or a part from \"0%\" to \"100%\""
        );
        causes.invalid(&unavailable, message);
    }
    check_strategies(
        &path,
        spec.scale_in_strategy.as_ref(),
        spec.update_strategy.as_ref(),
        causes,
    );
    if let Some(annotations) = &pool.metadata.annotations {
        let path = Path::of("metadata").field("annotations");
        metadata::check_warm_start(&path, annotations, causes);
    }
}

/// The selector can be read, and the pool's own machines match it: each that does not would be let go, and replaced by
/// another one, for ever.
fn check_selector(pool: &VirtualMachinePool, causes: &mut Causes) {
    let path = Path::of("spec").field("selector");
    if let Some(why) = wrong(&pool.spec.selector) {
        causes.invalid(&path, format!("{path}: {why}"));
        return;
    }
    let selector = match pool.spec.selector() {
        Ok(selector) => selector,
        Err(error) => return causes.invalid(&path, format!("{path}: {error}")),
    };
    let metadata = pool.spec.virtual_machine_template.metadata.as_ref();
    let mut labels = metadata
        .and_then(|it| it.labels.clone())
        .unwrap_or_default();
    // Its machines have this one too.
    let revision = BTreeMap::from([(labels::POOL_REVISION.to_owned(), String::new())]);
    let written = selector.matches(&labels);
    labels.extend(revision);
    if !written || !selector.matches(&labels) {
        causes.invalid(&path, "selector does not match labels.");
    }
}

/// Why a selector is none, as Kubernetes says it.
fn wrong(selector: &LabelSelector) -> Option<String> {
    let requirements = selector.match_expressions.iter().flatten();
    requirements
        .map(|it| {
            let values = it.values.as_deref().unwrap_or_default();
            match it.operator.as_str() {
                "In" | "NotIn" if values.is_empty() => Some(format!(
                    "key \"{}\": for 'in', 'notin' operators, values set can't be empty",
                    it.key
                )),
                "Exists" | "DoesNotExist" if !values.is_empty() => Some(format!(
                    "key \"{}\": values set must be empty for exists and does not exist",
                    it.key
                )),
                "In" | "NotIn" | "Exists" | "DoesNotExist" => None,
                other => Some(format!(
                    "\"{}\" is not a valid label selector operator",
                    other.escape_debug()
                )),
            }
        })
        .find_map(|wrong| wrong)
}

fn check_strategies(
    path: &Path,
    scale_in: Option<&ScaleInStrategy>,
    update: Option<&UpdateStrategy>,
    causes: &mut Causes,
) {
    if let Some(strategy) = scale_in {
        let path = path.field("scaleInStrategy");
        let opportunistic = strategy.opportunistic.as_ref();
        let proactive = strategy.proactive.as_ref();
        only_one(
            &path,
            [
                strategy.unmanaged.is_some(),
                opportunistic.is_some(),
                proactive.is_some(),
            ],
            causes,
        );
        for (name, kept) in [
            (
                "opportunistic",
                opportunistic.and_then(|it| it.state_preservation),
            ),
            ("proactive", proactive.and_then(|it| it.state_preservation)),
        ] {
            if let Some(StatePreservation::Offline | StatePreservation::Online) = kept {
                let path = path.field(name).field("statePreservation");
                let what = format!(
                    "{path} {}",
                    if kept == Some(StatePreservation::Online) {
                        "Online"
                    } else {
                        "Offline"
                    }
                );
                causes.unserved(
                    &path,
                    &what,
                    "write Disabled or remove it: machines have no claims that could stay",
                );
            }
        }
    }
    if let Some(strategy) = update {
        let given = [
            strategy.unmanaged.is_some(),
            strategy.opportunistic.is_some(),
            strategy.proactive.is_some(),
        ];
        only_one(&path.field("updateStrategy"), given, causes);
    }
}

fn only_one(path: &Path, given: [bool; 3], causes: &mut Causes) {
    if given.into_iter().filter(|it| *it).count() > 1 {
        causes.invalid(
            path,
            format!("{path}: unmanaged, opportunistic and proactive exclude each other; keep one"),
        );
    }
}

fn check_template(
    template: &VirtualMachineTemplate,
    cluster: &ClusterConfiguration,
    causes: &mut Causes,
) {
    let path = Path::of("spec").field("virtualMachineTemplate");
    let mut machine = VirtualMachine::new("", template.spec.clone());
    machine.metadata = template.metadata.clone().unwrap_or_default();
    let metadata = path.field("metadata");
    metadata::check_labels(&metadata, &machine.metadata, causes);
    check_machine(&metadata, &path.field("spec"), &machine, cluster, causes);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cluster() -> ClusterConfiguration {
        ClusterConfiguration::of_architecture("amd64")
    }

    /// A pool with which nothing is wrong, and `value` at a JSON pointer in it.
    fn pool(at: &str, value: Value) -> VirtualMachinePool {
        let mut pool = json!({
            "metadata": { "name": "web" },
            "spec": {
                "replicas": 2,
                "selector": { "matchLabels": { "pool": "web" } },
                "virtualMachineTemplate": {
                    "metadata": { "labels": { "pool": "web" } },
                    "spec": { "runStrategy": "Always", "template": {
                        "spec": { "domain": { "memory": { "guest": "64Mi" }, "devices": {} } } } },
                },
            },
        });
        let mut node = &mut pool;
        for step in at.split('/').skip(1) {
            node = &mut node[step];
        }
        *node = value;
        serde_json::from_value(pool).unwrap()
    }

    fn told(causes: Vec<Cause>) -> Vec<(String, String)> {
        let told = causes.into_iter().map(|it| (it.field, it.message));
        told.collect()
    }

    /// Each case: where, what; then the field and a part of what is said, or nothing.
    fn check(cases: &[(&str, Value, &str, &str)]) {
        for (at, value, field, message) in cases {
            let found = told(virtual_machine_pool(&pool(at, value.clone()), &cluster()));
            match found.as_slice() {
                [] => assert_eq!(*field, "", "{at} {value}"),
                [(at, said)] => {
                    assert_eq!(at, field, "{value}");
                    assert!(said.contains(message), "{said}");
                }
                many => panic!("{at} {value}: {many:?}"),
            }
        }
    }

    #[test]
    fn a_selector_that_its_own_machines_do_not_match_is_refused() {
        check(&[
            ("/spec/replicas", json!(0), "", ""),
            (
                "/spec/replicas",
                json!(-1),
                "spec.replicas",
                "greater than or equal to 0",
            ),
            (
                "/spec/selector",
                json!({ "matchLabels": { "pool": "other" } }),
                "spec.selector",
                "selector does not match labels.",
            ),
            (
                "/spec/selector",
                json!({ "matchExpressions": [{ "key": "kubevirt.io/vm-pool-revision-name", "operator": "DoesNotExist" }] }),
                "spec.selector",
                "selector does not match labels.",
            ),
            (
                "/spec/selector",
                json!({ "matchExpressions": [{ "key": "pool", "operator": "Like", "values": ["w*"] }] }),
                "spec.selector",
                "\"Like\" is not a valid label selector operator",
            ),
            (
                "/spec/selector",
                json!({ "matchExpressions": [{ "key": "pool", "operator": "In" }] }),
                "spec.selector",
                "values set can't be empty",
            ),
            (
                "/spec/selector",
                json!({ "matchExpressions": [{ "key": "pool", "operator": "In", "values": ["web", "x"] }] }),
                "",
                "",
            ),
        ]);
    }

    #[test]
    fn a_strategy_is_one_that_is_served_or_refused_by_name() {
        check(&[
            ("/spec/maxUnavailable", json!("25%"), "", ""),
            (
                "/spec/maxUnavailable",
                json!("all"),
                "spec.maxUnavailable",
                "\"0%\" to \"100%\"",
            ),
            (
                "/spec/maxUnavailable",
                json!(-1),
                "spec.maxUnavailable",
                "a number from 0",
            ),
            (
                "/spec/scaleInStrategy",
                json!({ "unmanaged": {}, "proactive": {} }),
                "spec.scaleInStrategy",
                "exclude each other",
            ),
            (
                "/spec/updateStrategy",
                json!({ "opportunistic": {}, "proactive": {} }),
                "spec.updateStrategy",
                "exclude each other",
            ),
            (
                "/spec/scaleInStrategy/proactive/statePreservation",
                json!("Disabled"),
                "",
                "",
            ),
            (
                "/spec/scaleInStrategy/proactive/statePreservation",
                json!("Online"),
                "spec.scaleInStrategy.proactive.statePreservation",
                "statePreservation Online is not served",
            ),
            (
                "/spec/scaleInStrategy/opportunistic/statePreservation",
                json!("Offline"),
                "spec.scaleInStrategy.opportunistic.statePreservation",
                "statePreservation Offline is not served",
            ),
            (
                "/spec/autohealing",
                json!({}),
                "spec.autohealing",
                "spec.autohealing is not served",
            ),
            (
                "/spec/updateStrategy/proactive/selectionPolicy/selectors",
                json!({ "labelSelector": {} }),
                "spec.updateStrategy.proactive.selectionPolicy.selectors",
                "use sortPolicy",
            ),
            (
                "/metadata/annotations",
                json!({ "anyvirt.io/warm-start": "yes" }),
                "metadata.annotations",
                "write Auto, Never or Require",
            ),
        ]);
    }

    #[test]
    fn a_template_is_looked_at_as_a_machine_is() {
        let template = "spec.virtualMachineTemplate";
        for (at, value, field) in [
            (
                "/metadata/labels",
                json!({ "pool": "web", "a b": "c" }),
                "metadata.labels",
            ),
            ("/spec/runStrategy", json!("Never"), "spec.runStrategy"),
            (
                "/spec/dataVolumeTemplates",
                json!([{}]),
                "spec.dataVolumeTemplates",
            ),
            (
                "/spec/template/spec/affinity",
                json!({}),
                "spec.template.spec.affinity",
            ),
            (
                "/spec/template/metadata/annotations",
                json!({ "anyvirt.io/warm-start": "yes" }),
                "spec.template.metadata.annotations",
            ),
            (
                "/metadata/annotations",
                json!({ "anyvirt.io/snapshot-ring": "every=1m" }),
                "metadata.annotations",
            ),
        ] {
            let pool = pool(&format!("/spec/virtualMachineTemplate{at}"), value);
            let found = told(virtual_machine_pool(&pool, &cluster()));
            assert_eq!(found.len(), 1, "{field}: {found:?}");
            assert_eq!(found[0].0, format!("{template}.{field}"));
        }
    }

    #[test]
    fn a_pools_selector_stays_and_a_template_that_stays_is_not_looked_at_again() {
        let cluster = cluster();
        let good = || pool("/spec/paused", json!(true));
        let both = json!({ "matchExpressions": [{ "key": "pool", "operator": "Exists" }] });
        let found = virtual_machine_pool_update(&good(), &pool("/spec/selector", both), &cluster);
        let expected = "selector is immutable after creation.";
        assert_eq!(
            told(found),
            [("spec.selector".to_owned(), expected.to_owned())]
        );
        let at = "/spec/virtualMachineTemplate/spec/runStrategy";
        let old = pool(at, json!("Never"));
        let mut new = old.clone();
        new.spec.replicas = Some(5);
        assert_eq!(virtual_machine_pool_update(&old, &new, &cluster), []);
        assert_eq!(
            virtual_machine_pool_update(&good(), &new, &cluster).len(),
            1
        );
    }

    #[test]
    fn what_only_controllers_write_comes_into_no_template() {
        let at = "/spec/virtualMachineTemplate";
        let given = json!({ "anyvirt.io/resume-from": "somebody-elses" });
        for place in ["metadata", "spec/template/metadata"] {
            let pool = pool(&format!("{at}/{place}/annotations"), given.clone());
            let found = pool_annotations_of_controllers(None, &pool);
            let field = format!(
                "spec.virtualMachineTemplate.{}.annotations",
                place.replace('/', ".")
            );
            assert_eq!(told(found)[0].0, field);
            assert_eq!(pool_annotations_of_controllers(Some(&pool), &pool), []);
        }
    }
}
