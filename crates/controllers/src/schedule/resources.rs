//! What pods ask for and what nodes have, in thousandths of a unit.

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
    let text = quantity.0.trim();
    parse_thousandths(text).ok_or_else(|| {
        format!("resource {name}: \"{text}\" is not a quantity: write a number like 2, 500m, 1.5Gi")
    })
}

fn parse_thousandths(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let exponent: u32 = match suffix {
        "n" => 0,
        "u" => 3,
        "m" => 6,
        "" => 9,
        "k" => 12,
        "M" => 15,
        "G" => 18,
        "T" => 21,
        "P" => 24,
        "E" => 27,
        _ => 9,
    };
    let binary: i128 = match suffix {
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        _ => 1,
    };
    let known = matches!(
        suffix,
        "n" | "u" | "m" | "" | "k" | "M" | "G" | "T" | "P" | "E"
    );
    if !known && binary == 1 {
        return None;
    }
    let scale = u32::try_from(fraction.len()).ok()?;
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    // In thousand-millionths, divided by the digits behind the point.
    let scaled = mantissa
        .checked_mul(10_i128.checked_pow(exponent)?)?
        .checked_mul(binary)?;
    let divisor = 10_i128.checked_pow(scale)?.checked_mul(1_000_000)?;
    Some((scaled + divisor - 1) / divisor)
}
