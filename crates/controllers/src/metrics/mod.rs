//! Metrics for Prometheus: the objects as they stand in, the text of a scrape out.
//!
//! Nothing is counted here: each value is read off the objects at the moment of the scrape, so that it
//! always agrees with them. KubeVirt's names and labels where the value is KubeVirt's; metrics that
//! would need a history (rates, histograms of phases) or a look into guests are not there.

mod families;
#[cfg(test)]
mod tests;

use api::configuration::ClusterConfiguration;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use k8s_openapi::api::core::v1::Node;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text};
use prometheus_client::metrics::MetricType;
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
}

/// One metric with all its series. All are gauges.
#[derive(Debug, PartialEq)]
struct Family {
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
            let mut metric =
                encoder.encode_descriptor(family.name, family.help, None, MetricType::Gauge)?;
            if let [Series { labels, value }] = family.series.as_slice()
                && labels.is_empty()
            {
                // No braces around nothing.
                ConstGauge::new(*value).encode(metric)?;
                continue;
            }
            for series in &family.series {
                let gauge = ConstGauge::new(series.value);
                gauge.encode(metric.encode_family(&series.labels)?)?;
            }
        }
        Ok(())
    }
}
