//! What machines and nodes have used, for the console's charts. Whoever may get the object may see what it uses.

use std::time::Duration;

use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use apiserver::{Body, Status};
use http::Response;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, ResourceExt};
use node::usage::{HOST_SERIES, LONGEST_SPAN, MACHINE_SERIES, Series, Usages};
use serde_json::{Map, Value, json};

use super::machines::status;
use super::query;

/// How it is asked.
const FORM: &str = "?namespace=NS&name=VM&minutes=60 or ?node=NODE&minutes=60";
/// The time that is shown to who does not say which.
const USUAL_MINUTES: u64 = 60;

/// What the charts are read off.
pub(super) struct Metrics {
    pub(super) usages: Usages,
    /// The node that is this machine; others are not sampled here.
    pub(super) node: String,
}

impl Metrics {
    /// `GET metrics?namespace=NS&name=VM&minutes=60`, `GET metrics?node=NODE&minutes=60`.
    pub(super) async fn answer(
        &self,
        client: &Client,
        query: &str,
    ) -> Result<Response<Body>, Status> {
        let span = span(query)?;
        let told = if query::parameter(query, "node").is_some() {
            self.node(client, query::name(query, "node", FORM)?, span)
                .await?
        } else {
            let namespace = query::name(query, "namespace", FORM)?;
            let name = query::name(query, "name", FORM)?;
            self.machine(client, namespace, name, span).await?
        };
        Ok(super::answer(&told))
    }

    async fn machine(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
        span: Duration,
    ) -> Result<Value, Status> {
        let instances: Api<VirtualMachineInstance> = Api::namespaced(client.clone(), namespace);
        let instance = instances.get_opt(name).await.map_err(status)?;
        let machines: Api<VirtualMachine> = Api::namespaced(client.clone(), namespace);
        let machine = match (machines.get_opt(name).await, &instance) {
            (Ok(machine), _) => machine,
            // Who may get the instance alone is told of it alone.
            (Err(kube::Error::Api(refused)), Some(_)) if refused.code == 403 => None,
            (Err(error), _) => return Err(status(error)),
        };
        let uid = instance.as_ref().and_then(ResourceExt::uid);
        let created = match (machine, instance) {
            (Some(machine), _) => machine.metadata.creation_timestamp,
            (None, Some(instance)) => instance.metadata.creation_timestamp,
            (None, None) => {
                return Err(Status::not_found(
                    api::names::GROUP,
                    "virtualmachineinstances",
                    name,
                ));
            }
        };
        let known = self.usages.machine(namespace, name, uid.as_deref(), span);
        let mut series = known.unwrap_or_else(unknown);
        let now = Timestamp::now();
        let created = created.map(|created| created.0);
        forget_before(&mut series, created, now);
        Ok(told(&series, &MACHINE_SERIES, now))
    }

    async fn node(&self, client: &Client, name: &str, span: Duration) -> Result<Value, Status> {
        let nodes: Api<Node> = Api::all(client.clone());
        nodes.get(name).await.map_err(status)?;
        let now = Timestamp::now();
        if name != self.node {
            return Ok(told(&unknown(), &HOST_SERIES, now));
        }
        let (series, capacity) = self.usages.host(span);
        let mut told = told(&series, &HOST_SERIES, now);
        if let Some(capacity) = capacity {
            told["capacity"] = json!({
                "processor": capacity.processors,
                "memory": capacity.memory_bytes,
                "disk": capacity.disk_bytes,
            });
        }
        Ok(told)
    }
}

/// Of what was never sampled.
fn unknown<const SERIES: usize>() -> Series<SERIES> {
    Series {
        step: Duration::from_secs(5),
        began: Duration::ZERO,
        values: vec![],
        latest: None,
    }
}

fn span(query: &str) -> Result<Duration, Status> {
    let most = LONGEST_SPAN.as_secs() / 60;
    let minutes = match query::parameter(query, "minutes") {
        None => Some(USUAL_MINUTES),
        Some(text) => text.parse().ok(),
    };
    minutes
        .filter(|minutes| (1..=most).contains(minutes))
        .map(|minutes| Duration::from_secs(minutes * 60))
        .ok_or_else(|| {
            Status::bad_request(format!(
                "minutes: a number from 1 to {most}; a day is remembered"
            ))
        })
}

/// An earlier machine of the same name was another one: what was used before this was created is not its.
fn forget_before<const SERIES: usize>(
    series: &mut Series<SERIES>,
    created: Option<Timestamp>,
    now: Timestamp,
) {
    let Some(created) = created else { return };
    let age = Duration::try_from(now.duration_since(created)).unwrap_or_default();
    let mut left = series.began;
    for values in &mut series.values {
        left = left.saturating_sub(series.step);
        if left >= age {
            *values = [None; SERIES];
        }
    }
}

/// Columns of numbers, of which `null` is not known; `begin` is when the first step began.
fn told<const SERIES: usize>(
    series: &Series<SERIES>,
    names: &[&str; SERIES],
    now: Timestamp,
) -> Value {
    let columns: Map<String, Value> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let column = series
                .values
                .iter()
                .map(|values| values[index].map(rounded));
            ((*name).to_owned(), json!(column.collect::<Vec<_>>()))
        })
        .collect();
    let latest = series.latest.map(|values| {
        let named = names.iter().zip(values);
        named
            .map(|(name, value)| ((*name).to_owned(), json!(value.map(rounded))))
            .collect::<Map<String, Value>>()
    });
    let begin = now.checked_sub(series.began).unwrap_or(now);
    json!({
        "now": now.as_millisecond(),
        "begin": begin.as_millisecond(),
        "stepSeconds": series.step.as_secs(),
        "series": columns,
        "latest": latest,
    })
}

/// What is smaller than a thousandth of a processor, a byte or an operation per second is noise.
fn rounded(value: f32) -> f64 {
    (f64::from(value) * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series<2> {
        Series {
            step: Duration::from_secs(60),
            began: Duration::from_secs(150),
            values: vec![[Some(1.0), None], [Some(0.1), Some(8.0)], [None, Some(9.0)]],
            latest: Some([Some(2.0), None]),
        }
    }

    #[test]
    fn columns_begin_when_their_first_step_did() {
        let now = Timestamp::from_millisecond(1_000_000).unwrap();
        assert_eq!(
            told(&series(), &["a", "b"], now),
            json!({
                "now": 1_000_000, "begin": 850_000, "stepSeconds": 60,
                "series": {"a": [1.0, 0.1, null], "b": [null, 8.0, 9.0]},
                "latest": {"a": 2.0, "b": null},
            })
        );
    }

    #[test]
    fn what_an_earlier_machine_of_the_name_used_is_not_told() {
        let now = Timestamp::from_second(1000).unwrap();
        let known = |created: i64| {
            let mut series = series();
            forget_before(
                &mut series,
                Some(Timestamp::from_second(created).unwrap()),
                now,
            );
            series
                .values
                .iter()
                .filter(|values| **values != [None, None])
                .count()
        };
        // Steps begin at 850, 910 and 970.
        assert_eq!(known(850), 3);
        assert_eq!(known(909), 3);
        assert_eq!(known(910), 2);
        assert_eq!(known(971), 1);
        // A clock that was set back.
        assert_eq!(known(5000), 0);
    }

    #[test]
    fn the_time_that_is_asked_for_has_a_bound() {
        let minutes = |query: &str| span(query).map(|span| span.as_secs() / 60).ok();
        assert_eq!(minutes(""), Some(60));
        assert_eq!(minutes("minutes=5&x=1"), Some(5));
        assert_eq!(minutes("minutes=1440"), Some(1440));
        for wrong in ["minutes=0", "minutes=1441", "minutes=-1", "minutes=1h"] {
            assert_eq!(minutes(wrong), None, "{wrong}");
        }
    }
}
