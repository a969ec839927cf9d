//! Reads what the server knows that bears on accelerators; [`api::outlook`] looks at it.

use api::configuration::precedence;
use api::hyper_converged::HyperConverged;
use api::kubevirt::KubeVirt;
use api::names;
pub(crate) use api::outlook::{Cluster, MACHINES, Machine, NODES, SWITCH_NAMESPACE};
use api::outlook::{HYPER_CONVERGED, INSTANCES, KUBEVIRT, OTHER_MAP, SWITCH_MAP};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, Client};

/// Asks the server for everything. What may not be read is noted in the answer.
///
/// # Errors
/// Of a request that failed otherwise.
pub async fn look(client: &Client) -> kube::Result<Cluster> {
    let mut cluster = look_at_settings(client).await?;
    cluster.machines = list(&mut cluster, Api::all(client.clone()), MACHINES).await?;
    cluster.instances = list(&mut cluster, Api::all(client.clone()), INSTANCES).await?;
    Ok(cluster)
}

/// Asks the server for everything but the machines.
///
/// # Errors
/// As [`look`].
pub async fn look_at_settings(client: &Client) -> kube::Result<Cluster> {
    let mut cluster = Cluster::default();
    for (namespace, what) in [
        (SWITCH_NAMESPACE, SWITCH_MAP),
        (names::NAMESPACE_KUBEVIRT, OTHER_MAP),
    ] {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        match maps.get_opt(names::CONFIG_MAP).await {
            Ok(map) => cluster.config_maps.extend(map),
            Err(error) => hide(&mut cluster, error, what)?,
        }
    }
    let kubevirt = list::<KubeVirt>(&mut cluster, Api::all(client.clone()), KUBEVIRT).await?;
    // As the controllers choose.
    cluster.kubevirt = kubevirt.into_iter().min_by_key(|object| {
        precedence(&object.metadata, names::NAMESPACE_KUBEVIRT, names::KUBEVIRT)
    });
    let converged: Api<HyperConverged> = Api::all(client.clone());
    // A cluster without that operator does not know the kind.
    match converged.list(&ListParams::default()).await {
        Ok(list) => {
            cluster.hyper_converged = list.items.into_iter().min_by_key(|object| {
                precedence(
                    &object.metadata,
                    names::NAMESPACE_OPENSHIFT_CNV,
                    names::HYPER_CONVERGED,
                )
            });
        }
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => hide(&mut cluster, error, HYPER_CONVERGED)?,
    }
    cluster.namespaces = list(&mut cluster, Api::all(client.clone()), "namespaces").await?;
    cluster.nodes = list(&mut cluster, Api::all(client.clone()), NODES).await?;
    Ok(cluster)
}

async fn list<K>(cluster: &mut Cluster, api: Api<K>, what: &'static str) -> kube::Result<Vec<K>>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    match api.list(&ListParams::default()).await {
        Ok(list) => Ok(list.items),
        Err(error) => {
            hide(cluster, error, what)?;
            Ok(Vec::new())
        }
    }
}

/// Who may not read something sees less; every other failure is one.
fn hide(cluster: &mut Cluster, error: kube::Error, what: &'static str) -> kube::Result<()> {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            cluster.hidden.insert(what);
            Ok(())
        }
        error => Err(error),
    }
}
