//! What pods ask for and what nodes have, in thousandths of a unit.

use api::quantity::Amount;
use k8s_openapi::api::core::v1::{Container, Node, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// Amounts by resource name, in thousandths (1 CPU = 1000, 1 byte = 1000).
pub(super) type Amounts = BTreeMap<String, i128>;

/// What one pod takes from a node: the sum of its containers, or its hungriest init container.
/// An amount that cannot be read is an error naming it.
pub(super) fn requested(pod: &Pod) -> Result<Amounts, String> {
    let Some(spec) = &pod.spec else {
        return Ok(Amounts::new());
    };
    let mut running = Amounts::new();
    for container in &spec.containers {
        add(&mut running, &asked(container.resources.as_ref())?);
    }
    // Sidecars (init containers that go on running) count beside everything started after them.
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        let asked = asked(container.resources.as_ref())?;
        if is_sidecar(container) {
            add(&mut sidecars, &asked);
            raise(&mut peak, &sidecars);
        } else {
            let mut now = sidecars.clone();
            add(&mut now, &asked);
            raise(&mut peak, &now);
        }
    }
    add(&mut running, &sidecars);
    raise(&mut running, &peak);
    // Amounts for the pod as a whole replace those of its containers.
    for (name, amount) in asked(spec.resources.as_ref())? {
        running.insert(name, amount);
    }
    for (name, quantity) in spec.overhead.iter().flatten() {
        *running.entry(name.clone()).or_insert(0) += thousandths(name, quantity)?;
    }
    Ok(running)
}

/// What a node has for pods; the number of pods is among it as `pods`.
pub(super) fn allocatable(node: &Node) -> Result<Amounts, String> {
    let status = node.status.as_ref();
    let declared =
        status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref()));
    declared
        .into_iter()
        .flatten()
        .map(|(name, q)| Ok((name.clone(), thousandths(name, q)?)))
        .collect()
}

/// Adds `more` to `sum`.
pub(super) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *sum.entry(name.clone()).or_insert(0) += amount;
    }
}

fn raise(highest: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let highest = highest.entry(name.clone()).or_insert(0);
        *highest = (*highest).max(*amount);
    }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Requests; where one is missing, the limit of the same resource, as the API defaults it.
fn asked(resources: Option<&ResourceRequirements>) -> Result<Amounts, String> {
    let Some(resources) = resources else {
        return Ok(Amounts::new());
    };
    let limits = resources.limits.iter().flatten();
    let requests = resources.requests.iter().flatten();
    limits
        .chain(requests)
        .map(|(name, q)| Ok((name.clone(), thousandths(name, q)?)))
        .collect()
}

/// A quantity in thousandths, rounded up. The error names the resource and the text.
fn thousandths(name: &str, quantity: &Quantity) -> Result<i128, String> {
    let quantity = api::quantity::Quantity::from(quantity.clone());
    quantity.parse().map(Amount::thousandths).map_err(|_| {
        format!(
            "resource {name}: \"{quantity}\" is not a quantity: write a number like 2, 500m, 1.5Gi"
        )
    })
}
