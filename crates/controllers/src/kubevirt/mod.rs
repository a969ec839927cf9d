//! Reads the cluster's configuration from every place where it may be written: the KubeVirt object,
//! the legacy ConfigMaps and HyperConverged's annotation in; the configuration in force, published in
//! this process, and what is to be said of it, out.
//!
//! ```text
//! ConfigMap openshift-cnv/kubevirt-config ┐                      ┌► Publisher: controllers, admission
//! ConfigMap kubevirt/kubevirt-config      ├► ClusterConfiguration ┼► KubeVirt status and conditions
//! HyperConverged, annotation jsonpatch    │                      └► events on the ConfigMap and KubeVirt
//! KVM_EMULATION of the environment        │
//! KubeVirt, spec.configuration            ┘
//! ```
//! A value that cannot be understood keeps the last good policy. That one is recorded in the KubeVirt
//! object's status, so that it survives a restart.

mod decide;
mod publish;
#[cfg(test)]
mod tests;

pub use decide::VERSION;
pub use publish::{Publisher, Reader};

use crate::Settings;
use crate::difference::merge_patch;
use crate::engine::{Engine, Next, Presence};
use crate::event::Recorder;
use crate::queue::Key;
use api::accelerator::{ClusterInputs, ClusterPolicy};
use api::configuration::{ClusterConfiguration, precedence};
use api::hyper_converged::HyperConverged;
use api::kubevirt::KubeVirt;
use api::names;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Who writes the events about the configuration, by KubeVirt's name for it.
const COMPONENT: &str = "virt-operator";

/// The namespaces of the legacy ConfigMap; the first that sets a key wins.
const CONFIG_MAP_NAMESPACES: [&str; 2] =
    [names::NAMESPACE_OPENSHIFT_CNV, names::NAMESPACE_KUBEVIRT];

/// Runs until cancelled.
pub async fn run(
    client: Client,
    settings: Settings,
    publisher: Publisher,
    cancel: CancellationToken,
) {
    let mut engine = Engine::new("kubevirt");
    let (recorder, record) = Recorder::new(client.clone(), COMPONENT, settings.clock.clone());
    engine.beside(record);
    // All places make one configuration, so they are looked at together.
    let whole = || vec![Key::new("", "configuration")];
    let kubevirts = Api::<KubeVirt>::all(client.clone());
    let kubevirts = engine.watch(
        kubevirts,
        Config::default(),
        Presence::Required,
        move |_| whole(),
    );
    let named = Config::default().fields(&format!("metadata.name={}", names::CONFIG_MAP));
    let maps = Api::<ConfigMap>::all(client.clone());
    let maps = engine.watch(maps, named, Presence::Required, move |_| whole());
    let hyper = Api::<HyperConverged>::all(client.clone());
    let hyper = engine.watch(hyper, Config::default(), Presence::Optional, move |_| {
        whole()
    });
    // Without any of these objects there still is a configuration: the default.
    engine.look_first_at(Key::new("", "configuration"));
    let places = Arc::new(Places {
        client,
        settings,
        recorder,
        publisher,
        kubevirts,
        maps,
        hyper,
    });
    engine.run(cancel, move |_| look(Arc::clone(&places))).await;
}

/// What this controller knows.
struct Places {
    client: Client,
    settings: Settings,
    recorder: Recorder,
    publisher: Publisher,
    kubevirts: Store<KubeVirt>,
    maps: Store<ConfigMap>,
    hyper: Store<HyperConverged>,
}

async fn look(places: Arc<Places>) -> kube::Result<Next> {
    let kubevirt = first(
        &places.kubevirts,
        names::NAMESPACE_KUBEVIRT,
        names::KUBEVIRT,
    );
    let hyper = first(
        &places.hyper,
        names::NAMESPACE_OPENSHIFT_CNV,
        names::HYPER_CONVERGED,
    );
    let maps: Vec<Arc<ConfigMap>> = CONFIG_MAP_NAMESPACES
        .iter()
        .filter_map(|it| {
            places
                .maps
                .get(&ObjectRef::new(names::CONFIG_MAP).within(it))
        })
        .collect();
    let last_good = match places.publisher.subscribe().current() {
        Some(published) => Some(published.emulation.clone()),
        None => recorded(kubevirt.as_deref()),
    };
    let last_values = match places.publisher.subscribe().current() {
        Some(published) => published.effective(),
        None => kubevirt
            .as_deref()
            .and_then(|it| it.status.as_ref())
            .map(|status| status.effective_configuration.clone())
            .unwrap_or_default(),
    };
    let empty = BTreeMap::new();
    let inputs = ClusterInputs {
        config_maps: CONFIG_MAP_NAMESPACES
            .iter()
            .filter_map(|namespace| {
                let map = maps
                    .iter()
                    .find(|map| map.metadata.namespace.as_deref() == Some(*namespace))?;
                Some((*namespace, map.data.as_ref().unwrap_or(&empty)))
            })
            .collect(),
        hyper_converged: hyper.as_deref(),
        environment: places.settings.kvm_emulation.as_deref(),
        kubevirt: kubevirt.as_deref(),
        last_good: last_good.as_ref(),
        last_values: &last_values,
    };
    let configuration = ClusterConfiguration::read(&inputs, &places.settings.architecture);
    if places.publisher.publish(configuration.clone()) {
        let emulation = &configuration.emulation;
        tracing::info!(policy = %emulation.policy, decided_by = emulation.decided_by,
            problems = configuration.problems.len(), "configuration read");
    }
    tell(
        &places,
        kubevirt.as_deref(),
        hyper.as_deref(),
        &maps,
        &configuration,
    )
    .await?;
    Ok(Next::OnChange)
}

/// Records the configuration in the KubeVirt object's status, and tells of what is wrong with it.
async fn tell(
    places: &Places,
    kubevirt: Option<&KubeVirt>,
    hyper: Option<&HyperConverged>,
    maps: &[Arc<ConfigMap>],
    configuration: &ClusterConfiguration,
) -> kube::Result<()> {
    let untold = decide::untold(kubevirt, configuration);
    if let Some(hyper) = hyper {
        let before = hyper.status.clone().unwrap_or_default();
        let after = decide::tainted(hyper, places.settings.clock.now());
        write_status(&places.client, hyper, &before, &after).await?;
    }
    if let Some(kubevirt) = kubevirt {
        let before = kubevirt.status.clone().unwrap_or_default();
        let after = decide::status(kubevirt, configuration, places.settings.clock.now());
        write_status(&places.client, kubevirt, &before, &after).await?;
        if let Some(fact) = decide::policy_changed(kubevirt, configuration) {
            places.recorder.record(kubevirt, fact);
        }
    }
    for problem in untold {
        if let Some(kubevirt) = kubevirt {
            places.recorder.record(kubevirt, decide::fact(problem));
        }
        for map in maps {
            if decide::concerns_config_map(problem, &map.namespace().unwrap_or_default()) {
                places.recorder.record(&**map, decide::fact(problem));
            }
        }
    }
    Ok(())
}

/// Writes what changed of an object's status.
async fn write_status<K>(
    client: &Client,
    object: &K,
    before: &impl Serialize,
    after: &impl Serialize,
) -> kube::Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned,
{
    let patch = merge_patch(before, after).map_err(kube::Error::SerdeError)?;
    let Some(patch) = patch else { return Ok(()) };
    let metadata = object.meta();
    let guard = json!({ "uid": metadata.uid, "resourceVersion": metadata.resource_version });
    let patch = json!({ "metadata": guard, "status": patch });
    let namespace = object.namespace().unwrap_or_default();
    let objects: Api<K> = Api::namespaced(client.clone(), &namespace);
    let params = PatchParams::default();
    objects
        .patch_status(&object.name_any(), &params, &Patch::Merge(&patch))
        .await
        .map(drop)
}

/// The policy recorded by an earlier run.
fn recorded(kubevirt: Option<&KubeVirt>) -> Option<ClusterPolicy> {
    ClusterPolicy::recorded(kubevirt?.status.as_ref()?.emulation.as_ref()?)
}

/// The object of a kind that there should be one of.
fn first<K>(objects: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    let all = objects.state().into_iter();
    all.min_by_key(|object| precedence(object.meta(), namespace, name))
}
