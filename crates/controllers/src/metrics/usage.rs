//! What guests use, under KubeVirt's names. What was not sampled has no series.

use std::collections::BTreeMap;
use std::time::Duration;

use api::usage::{DiskUsage, InterfaceUsage};
use kube::ResourceExt as _;

use super::families::{count, family, place, series};
use super::{Family, Label, Series, Used, View};

/// All of them.
pub(super) fn families(view: &View) -> Vec<Family> {
    let guests = guests(view);
    let mut families = processes(&guests);
    families.extend(disks(&guests));
    families.extend(interfaces(&guests));
    families
}

/// A guest that was sampled and has an object.
struct Guest<'a> {
    labels: [Label; 3],
    used: &'a Used,
}

fn guests(view: &View) -> Vec<Guest<'_>> {
    let places: BTreeMap<_, _> = view
        .instances
        .iter()
        .filter_map(|instance| Some((instance.uid()?, place(instance))))
        .collect();
    let guests = view.used.iter().filter_map(|used| {
        let labels = places.get(&used.uid)?.clone();
        Some(Guest { labels, used })
    });
    guests.collect()
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

fn processes(guests: &[Guest<'_>]) -> Vec<Family> {
    let of = |value: fn(&Used) -> f64| {
        let all = guests.iter();
        all.map(move |guest| series(guest.labels.clone(), value(guest.used)))
    };
    vec![
        family(
            "kubevirt_vmi_cpu_usage_seconds_total",
            "Total CPU time spent in all modes (sum of both vcpu and hypervisor usage)",
            of(|it| it.usage.qemu.processor_time().as_secs_f64()),
        ),
        family(
            "kubevirt_vmi_cpu_user_usage_seconds_total",
            "Total CPU time spent in user mode",
            of(|it| seconds(it.usage.qemu.user_nanoseconds)),
        ),
        family(
            "kubevirt_vmi_cpu_system_usage_seconds_total",
            "Total CPU time spent in system mode",
            of(|it| seconds(it.usage.qemu.system_nanoseconds)),
        ),
        family(
            "kubevirt_vmi_memory_resident_bytes",
            "Resident set size of the process running the domain",
            of(|it| count(it.usage.qemu.resident_bytes)),
        ),
    ]
}

fn labelled(guest: &Guest<'_>, label: &'static str, name: &str, value: f64) -> Series {
    let [node, namespace, own] = guest.labels.clone();
    series([node, namespace, own, (label, name.to_owned())], value)
}

fn disks(guests: &[Guest<'_>]) -> Vec<Family> {
    let of = |value: fn(&DiskUsage) -> f64| {
        let disks = guests.iter().flat_map(|guest| {
            let disks = guest.used.usage.disks.iter().flatten();
            disks.map(move |(name, disk)| (guest, name, disk))
        });
        disks.map(move |(guest, name, disk)| labelled(guest, "drive", name, value(disk)))
    };
    vec![
        family(
            "kubevirt_vmi_storage_iops_read_total",
            "Total number of I/O read operations",
            of(|disk| count(disk.reads)),
        ),
        family(
            "kubevirt_vmi_storage_iops_write_total",
            "Total number of I/O write operations",
            of(|disk| count(disk.writes)),
        ),
        family(
            "kubevirt_vmi_storage_read_traffic_bytes_total",
            "Total number of bytes read from storage",
            of(|disk| count(disk.read_bytes)),
        ),
        family(
            "kubevirt_vmi_storage_write_traffic_bytes_total",
            "Total number of written bytes",
            of(|disk| count(disk.written_bytes)),
        ),
        family(
            "kubevirt_vmi_storage_read_times_seconds_total",
            "Total time spent on read operations",
            of(|disk| seconds(disk.read_nanoseconds)),
        ),
        family(
            "kubevirt_vmi_storage_write_times_seconds_total",
            "Total time spent on write operations",
            of(|disk| seconds(disk.write_nanoseconds)),
        ),
        family(
            "kubevirt_vmi_storage_flush_requests_total",
            "Total storage flush requests",
            of(|disk| count(disk.flushes)),
        ),
        family(
            "kubevirt_vmi_storage_flush_times_seconds_total",
            "Total time spent on cache flushing",
            of(|disk| seconds(disk.flush_nanoseconds)),
        ),
    ]
}

fn interfaces(guests: &[Guest<'_>]) -> Vec<Family> {
    let of = |value: fn(&InterfaceUsage) -> u64| {
        let interfaces = guests.iter().flat_map(|guest| {
            let interfaces = guest.used.usage.interfaces.iter();
            interfaces.map(move |(name, interface)| (guest, name, interface))
        });
        interfaces.map(move |(guest, name, interface)| {
            labelled(guest, "interface", name, count(value(interface)))
        })
    };
    vec![
        family(
            "kubevirt_vmi_network_receive_bytes_total",
            "Total network traffic received in bytes",
            of(|interface| interface.received_bytes),
        ),
        family(
            "kubevirt_vmi_network_receive_packets_total",
            "Total network traffic received packets",
            of(|interface| interface.received_packets),
        ),
        family(
            "kubevirt_vmi_network_transmit_bytes_total",
            "Total network traffic transmitted in bytes",
            of(|interface| interface.sent_bytes),
        ),
        family(
            "kubevirt_vmi_network_transmit_packets_total",
            "Total network traffic transmitted packets",
            of(|interface| interface.sent_packets),
        ),
    ]
}
