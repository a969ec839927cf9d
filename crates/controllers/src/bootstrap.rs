//! The objects everything else builds on: definitions of the kinds, namespaces, the legacy ConfigMap
//! and the KubeVirt object. Whatever is there already is left as it is.

use api::kubevirt::{KubeVirt, KubeVirtSpec};
use api::names;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::{self, await_condition};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;

/// The owner of the definitions' fields.
const FIELD_MANAGER: &str = "anyvirt";

/// How long a definition may take until it is served: an API server under load takes seconds; one
/// that takes longer is broken, and should be said to be.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(60);

/// Why the cluster could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A definition was not accepted.
    #[error("cannot apply the definition {name}")]
    Apply {
        /// The definition's name.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// A definition could not be watched until it is served.
    #[error("cannot wait for the definition {name}")]
    Wait {
        /// The definition's name.
        name: String,
        /// What went wrong.
        source: wait::Error,
    },
    /// A definition was accepted and is still not served.
    #[error("the definition {name} is not served after {ESTABLISHED_WITHIN:?}")]
    NotEstablished {
        /// The definition's name.
        name: String,
    },
    /// An object could not be created.
    #[error("cannot create {kind} {name}")]
    Create {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
}

/// Applies the definitions of all kinds, and waits until each is served.
///
/// # Errors
/// The first definition that was not accepted or is not served.
pub async fn crds(client: &Client) -> Result<(), BootstrapError> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let wanted = api::crds::crds();
    // The same fields are written by nobody else; an older version of this program is no other.
    let params = PatchParams::apply(FIELD_MANAGER).force();
    for definition in &wanted {
        let name = definition.name_any();
        let applied = definitions
            .patch(&name, &params, &Patch::Apply(definition))
            .await;
        applied.map_err(|source| BootstrapError::Apply { name, source })?;
    }
    for definition in &wanted {
        let name = definition.name_any();
        let established = await_condition(definitions.clone(), &name, is_crd_established());
        match tokio::time::timeout(ESTABLISHED_WITHIN, established).await {
            Ok(Ok(_)) => {}
            Ok(Err(source)) => return Err(BootstrapError::Wait { name, source }),
            Err(_) => return Err(BootstrapError::NotEstablished { name }),
        }
    }
    Ok(())
}

/// Prepares a cluster: applies the definitions as [`crds`] does, then creates the namespaces `kubevirt` and `openshift-cnv`, the empty ConfigMap
/// `openshift-cnv/kubevirt-config` and the KubeVirt object `kubevirt/kubevirt`, where they are missing.
///
/// # Errors
/// The first definition or object that could not be created.
pub async fn ensure(client: &Client) -> Result<(), BootstrapError> {
    crds(client).await?;
    for name in [names::NAMESPACE_KUBEVIRT, names::NAMESPACE_OPENSHIFT_CNV] {
        let namespace = Namespace {
            metadata: named(name, None),
            ..Default::default()
        };
        create(&Api::all(client.clone()), &namespace).await?;
    }
    let namespace = names::NAMESPACE_OPENSHIFT_CNV;
    let config = ConfigMap {
        metadata: named(names::CONFIG_MAP, Some(namespace)),
        data: Some(std::collections::BTreeMap::new()),
        ..Default::default()
    };
    create(&Api::namespaced(client.clone(), namespace), &config).await?;
    let namespace = names::NAMESPACE_KUBEVIRT;
    let mut kubevirt = KubeVirt::new(names::KUBEVIRT, KubeVirtSpec::default());
    kubevirt.metadata.namespace = Some(namespace.to_owned());
    create(&Api::namespaced(client.clone(), namespace), &kubevirt).await
}

fn named(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..Default::default()
    }
}

async fn create<K>(objects: &Api<K>, object: &K) -> Result<(), BootstrapError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    match objects.create(&PostParams::default(), object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(source) => {
            let kind = K::kind(&()).into_owned();
            Err(BootstrapError::Create {
                kind,
                name: object.name_any(),
                source,
            })
        }
    }
}
