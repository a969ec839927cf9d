//! Rules for network interfaces and networks.

use std::collections::BTreeMap;

use super::cause::{Causes, Path};
use super::text;
use crate::virtual_machine_instance::{Interface, Port, VirtualMachineInstanceSpec};

/// Bindings of KubeVirt that are not served; they count when an interface must have exactly one.
const OTHER_BINDINGS: [&str; 7] = [
    "binding",
    "bridge",
    "macvtap",
    "passt",
    "passtBinding",
    "slirp",
    "sriov",
];

pub(super) fn check(path: &Path, spec: &VirtualMachineInstanceSpec, causes: &mut Causes) {
    networks(path, spec, causes);
    let interfaces = path.field("domain").field("devices").field("interfaces");
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, interface) in spec.domain.devices.interfaces.iter().enumerate() {
        let here = interfaces.index(index);
        let name = here.field("name");
        if !spec
            .networks
            .iter()
            .any(|network| network.name == interface.name)
        {
            causes.invalid(&name, format!("{name} '{}' not found.", interface.name));
        }
        if seen.insert(&interface.name, index).is_some() {
            causes.duplicate(
                &name,
                "Only one interface can be connected to one specific network",
            );
        }
        check_interface(&here, interface, causes);
    }
}

fn networks(path: &Path, spec: &VirtualMachineInstanceSpec, causes: &mut Causes) {
    let networks = path.field("networks");
    let interfaces = &spec.domain.devices.interfaces;
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, network) in spec.networks.iter().enumerate() {
        let here = networks.index(index);
        let name = here.field("name");
        if seen.insert(&network.name, index).is_some() {
            let message = format!(
                "Network with name \"{}\" already exists, every network must have a unique name",
                network.name
            );
            causes.duplicate(&name, message);
        }
        if !interfaces
            .iter()
            .any(|interface| interface.name == network.name)
        {
            causes.required(&name, format!("{name} '{}' not found.", network.name));
        }
        let others = network
            .unserved
            .values()
            .filter(|value| !value.is_null())
            .count();
        match usize::from(network.pod.is_some()) + others {
            0 => causes.required(&here, "should have a network type"),
            1 => {}
            _ => causes.invalid(&here, "should have only one network type"),
        }
    }
    let of_pod = |interface: &&Interface| {
        let mut networks = spec.networks.iter();
        networks.any(|network| network.pod.is_some() && network.name == interface.name)
    };
    if interfaces.iter().filter(of_pod).count() > 1 {
        let message = format!(
            "more than one interface is connected to a pod network in {path}.domain.devices.interfaces"
        );
        causes.invalid(&networks, message);
    }
}

fn check_interface(path: &Path, interface: &Interface, causes: &mut Causes) {
    let name = path.field("name");
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if interface.name.is_empty()
        || interface.name.len() > text::LABEL_BYTES
        || !interface.name.bytes().all(allowed)
    {
        causes.invalid(
            &name,
            "Network interface name can only contain alphabetical characters, numbers, dashes (-) or \
             underscores (_)",
        );
    }
    let is_set = |name: &&&str| {
        interface
            .unserved
            .get(**name)
            .is_some_and(|found| !found.is_null())
    };
    let others = OTHER_BINDINGS.iter().filter(is_set).count();
    if usize::from(interface.masquerade.is_some()) + others != 1 {
        let message = format!(
            "logical {} interface must have exactly one binding method or binding plugin",
            interface.name
        );
        causes.invalid(path, message);
    }
    match interface.model.as_deref() {
        None | Some("" | "virtio" | "e1000" | "e1000e" | "rtl8139") => {}
        Some(model @ ("igb" | "ne2k_pci" | "pcnet")) => causes.unserved(
            &path.field("model"),
            &format!("interface model {model}"),
            "use virtio, e1000, e1000e or rtl8139",
        ),
        Some(model) => {
            let message = format!("interface {name} uses model {model} that is not supported.");
            causes.not_supported(&path.field("model"), message);
        }
    }
    if let Some(written) = interface
        .mac_address
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        mac_address(path, &name, written, causes);
    }
    ports(&path.field("ports"), &interface.ports, causes);
}

fn mac_address(path: &Path, name: &Path, written: &str, causes: &mut Causes) {
    let path = path.field("macAddress");
    match text::mac_address(written) {
        None => {
            causes.invalid(&path, format!("interface {name} has malformed MAC address ({written})."));
        }
        Some([2, 0, 0, 0, 0, 0]) => causes.invalid(
            &path,
            "The requested MAC address is reserved for the in-pod bridge. Please choose another one.",
        ),
        Some([first, ..]) if first & 1 == 1 => {
            let message = format!("interface {name} has a multicast MAC address ({written}).");
            causes.invalid(&path, message);
        }
        Some([0, 0, 0, 0, 0, 0]) => {
            let message = format!("interface {name} has an empty MAC address ({written}).");
            causes.invalid(&path, message);
        }
        Some(_) => {}
    }
}

fn ports(path: &Path, ports: &[Port], causes: &mut Causes) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut numbers: BTreeMap<(&str, i32), usize> = BTreeMap::new();
    for (index, port) in ports.iter().enumerate() {
        let here = path.index(index);
        match port.port {
            0 => causes.required(&here, "Port field is mandatory."),
            1..=65535 => {}
            _ => causes.invalid(&here, "Port field must be in range 0 < x < 65536."),
        }
        let protocol = port
            .protocol
            .as_deref()
            .filter(|text| !text.is_empty())
            .unwrap_or("TCP");
        if !matches!(protocol, "TCP" | "UDP") {
            let message = "Unknown protocol, only TCP or UDP allowed";
            causes.invalid(&here.field("protocol"), message);
        }
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() && names.insert(name, index).is_some() {
            causes.invalid(
                &here.field("name"),
                format!("Duplicate name of the port: {name}"),
            );
        }
        if numbers.insert((protocol, port.port), index).is_some() {
            let message = format!("{here}: {protocol} port {} is listed twice", port.port);
            causes.duplicate(&here.field("port"), message);
        }
    }
}
