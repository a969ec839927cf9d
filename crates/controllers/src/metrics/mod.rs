//! Metrics for Prometheus: the objects as they stand in, the text of a scrape out.
//!
//! Nothing is counted here: each value is read off the objects, or off the latest sample of what guests use, at the
//! moment of the scrape, so that it always agrees with them. KubeVirt's names and labels where the value is KubeVirt's;
//! metrics that would need a history (rates, histograms of phases) or a look into guests are not there.

mod families;
#[cfg(test)]
mod tests;
mod usage;
mod warm_start;

use api::configuration::ClusterConfiguration;
use api::usage::Usage;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use api::warm_start::WarmStartTemplate;
use k8s_openapi::api::core::v1::Node;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// The media type of what [`text`] gives: OpenMetrics, which Prometheus asks for first.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What metrics are read off.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The configuration in force; none before it was read.
    pub configuration: Option<Arc<ClusterConfiguration>>,
    /// All virtual machines.
    pub machines: Vec<Arc<VirtualMachine>>,
    /// All instances.
    pub instances: Vec<Arc<VirtualMachineInstance>>,
    /// All nodes.
    pub nodes: Vec<Arc<Node>>,
    /// All templates for warm starts.
    pub templates: Vec<Arc<WarmStartTemplate>>,
    /// What guests that run have used, as far as it was sampled.
    pub used: Vec<Used>,
}

/// What one guest has used.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// The UID of its instance: one of the same name may have been there before.
    pub uid: String,
    /// Its counters.
    pub usage: Usage,
}

/// What counters' names end in; the format has it at their values only.
const TOTAL: &str = "_total";

/// One metric with all its series.
#[derive(Debug, PartialEq)]
struct Family {
    /// A counter's ends in [`TOTAL`]; all others are gauges.
    name: &'static str,
    /// What it tells, for people.
    help: &'static str,
    series: Vec<Series>,
}

/// A label and its value.
type Label = (&'static str, String);

/// One value under its labels.
#[derive(Debug, PartialEq)]
struct Series {
    labels: Vec<Label>,
    value: f64,
}

/// The text of one scrape.
///
/// # Errors
/// None today: writing to a string succeeds.
pub fn text(view: &View) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(families::all(view))));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape(Vec<Family>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let counter = family.name.strip_suffix(TOTAL);
            let kind = match counter {
                Some(_) => MetricType::Counter,
                None => MetricType::Gauge,
            };
            let name = counter.unwrap_or(family.name);
            let mut metric = encoder.encode_descriptor(name, family.help, None, kind)?;
            if let [Series { labels, value }] = family.series.as_slice()
                && labels.is_empty()
            {
                // No braces around nothing.
                encode(*value, counter.is_some(), metric)?;
                continue;
            }
            for series in &family.series {
                let metric = metric.encode_family(&series.labels)?;
                encode(series.value, counter.is_some(), metric)?;
            }
        }
        Ok(())
    }
}

fn encode(value: f64, is_counter: bool, metric: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    if is_counter {
        ConstCounter::new(value).encode(metric)
    } else {
        ConstGauge::new(value).encode(metric)
    }
}
