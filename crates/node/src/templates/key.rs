//! What a template is for: all that shapes a guest, as one fingerprint. Pure, but for looking at programs.
//!
//! Two starts with the same key see the same machine until their identities are given to them. What may differ
//! between them (names, addresses, UUIDs, cloud-init data, forwarded ports, placement) is not in it.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use api::launcher::{ResolvedVolume, StartRequest};
use api::names::annotations;
use api::resources;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Of the layout of a template's files, and of what is in the key: raised when either changes.
pub(crate) const FORMAT: u32 = 1;

/// A key: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key(String);

impl Key {
    /// The key that somebody wrote, if it is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 64 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of it for people, and for names of folders that sockets lie in, whose paths are short.
    pub(crate) fn short(&self) -> &str {
        self.0.get(..16).unwrap_or(&self.0)
    }

    /// A UUID that belongs to it: that of the guest which becomes the template.
    pub(crate) fn uuid(&self) -> String {
        let part = |from: usize, to: usize| self.0.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-4{}-8{}-{}",
            part(0, 8),
            part(8, 12),
            part(13, 16),
            part(17, 20),
            part(20, 32)
        )
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.short())
    }
}

/// An installed file: another one, or another content, is told by these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installed {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Seconds and nanoseconds.
    pub(crate) modified: (i64, i64),
}

impl Installed {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let found = path.metadata()?;
        Ok(Self {
            path: path.display().to_string(),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

/// What of this machine and its programs shapes a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Surroundings {
    pub(crate) format: u32,
    pub(crate) anyvirt_version: String,
    /// anyvirt's own program: a build of the same version may be another one.
    pub(crate) anyvirt: Installed,
    pub(crate) qemu_version: String,
    pub(crate) qemu: Installed,
    /// Firmware that is not QEMU's own.
    pub(crate) firmware: Vec<Installed>,
    /// The host's processor: model and features.
    pub(crate) processor: String,
}

impl Surroundings {
    /// What is another one here than where a template with `other` surroundings was made; `None` if nothing is.
    pub(crate) fn foreign(&self, other: &Self) -> Option<String> {
        let differs = |name: &str, theirs: &str, ours: &str| {
            Some(format!(
                "it was made with {name} {theirs}, and here is {ours}"
            ))
        };
        if other.format != self.format {
            return differs(
                "the format",
                &other.format.to_string(),
                &self.format.to_string(),
            );
        }
        if other.qemu_version != self.qemu_version {
            return differs("QEMU", &other.qemu_version, &self.qemu_version);
        }
        if other.anyvirt_version != self.anyvirt_version {
            return differs("anyvirt", &other.anyvirt_version, &self.anyvirt_version);
        }
        if other.processor != self.processor {
            return differs("the processor", &other.processor, &self.processor);
        }
        let programs = [
            ("QEMU", &other.qemu, &self.qemu),
            ("anyvirt", &other.anyvirt, &self.anyvirt),
        ];
        if let Some((name, ..)) = programs.iter().find(|(_, theirs, ours)| theirs != ours) {
            return Some(format!(
                "the program of {name} was replaced since it was made"
            ));
        }
        (other.firmware != self.firmware)
            .then(|| "the firmware was replaced since it was made".to_owned())
    }
}

/// All that shapes a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) surroundings: Surroundings,
    /// The namespace: templates are never shared between them.
    pub(crate) namespace: String,
    /// The guest: a JSON object.
    pub(crate) guest: Value,
}

impl Shape {
    /// The shape of a start in these surroundings.
    pub(crate) fn of(request: &StartRequest, surroundings: Surroundings) -> Self {
        let instance = &request.instance;
        let spec = &instance.spec;
        let marker = instance
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(annotations::WARM_START_MARKER));
        let volumes: Map<String, Value> = request
            .volumes
            .iter()
            .map(|(name, volume)| (name.clone(), shape_of_volume(volume)))
            .collect();
        let order: Vec<&str> = spec.volumes.iter().map(|it| it.name.as_str()).collect();
        let interfaces: Vec<Value> = request
            .interfaces
            .iter()
            .map(|it| json!({ "name": it.name, "model": it.model }))
            .collect();
        let guest = json!({
            "accelerator": request.accelerator,
            "architecture": spec.architecture,
            "domain": without_identity(spec.domain.clone()),
            "memory": resources::guest_memory_bytes(spec),
            "topology": resources::topology(spec),
            "volumes": volumes,
            "order": order,
            "networks": spec.networks,
            "interfaces": interfaces,
            "kernel": request.kernel,
            "marker": marker,
        });
        Self {
            surroundings,
            namespace: instance.metadata.namespace.clone().unwrap_or_default(),
            guest,
        }
    }

    /// The key of it.
    pub(crate) fn key(&self) -> Key {
        // A shape always has a JSON form: it is made of such.
        let value = serde_json::to_value(self).unwrap_or_default();
        let mut text = String::new();
        write_canonical(&value, &mut text);
        Key(hexadecimal(&Sha256::digest(text.as_bytes())))
    }

    /// What the guest boots from, for people.
    pub(crate) fn image(request: &StartRequest) -> String {
        let spec = &request.instance.spec;
        let kernel = spec.domain.firmware.as_ref();
        let kernel = kernel
            .and_then(|firmware| firmware.kernel_boot.as_ref()?.container.as_ref())
            .map(|container| container.image.clone());
        let disks = spec.volumes.iter();
        let disks = disks.filter_map(|volume| Some(volume.container_disk.as_ref()?.image.clone()));
        let all: Vec<String> = kernel.into_iter().chain(disks).collect();
        all.join(", ")
    }
}

/// The domain without what is told to a restored guest, or is nobody's but the host's.
fn without_identity(mut domain: api::virtual_machine_instance::DomainSpec) -> Value {
    if let Some(firmware) = &mut domain.firmware {
        firmware.uuid = None;
        firmware.serial = None;
    }
    for interface in &mut domain.devices.interfaces {
        interface.mac_address = None;
        interface.ports.clear();
    }
    // What the pod asks for; what the guest gets of it stands beside.
    domain.resources = None;
    serde_json::to_value(domain).unwrap_or_default()
}

fn shape_of_volume(volume: &ResolvedVolume) -> Value {
    match volume {
        ResolvedVolume::ContainerDisk {
            format,
            virtual_size_bytes,
            digest,
            path,
        } => json!({
            // One image may have several disks.
            "containerDisk": { "digest": digest, "format": format, "bytes": virtual_size_bytes, "path": path }
        }),
        ResolvedVolume::CloudInitNoCloud { .. } => json!("cloudInitNoCloud"),
        ResolvedVolume::EmptyDisk { capacity_bytes } => json!({ "emptyDisk": capacity_bytes }),
        // Never templated; and one is not like another.
        ResolvedVolume::HostDisk { path, .. } => json!({ "hostDisk": path }),
    }
}

/// Writes JSON in the one form that equal values share, and others do not.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            text.push('{');
            for (name, value) in fields {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for value in values {
                write_canonical(value, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
        }
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use crate::templates::fixtures::{request, surroundings};

    /// What a change is called, and the change.
    type Change<T> = (&'static str, fn(&mut T));

    fn key(request: &StartRequest) -> Key {
        Shape::of(request, surroundings()).key()
    }

    /// Each way to the leaves of a JSON value.
    fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    leaves(value, &format!("{at}/{}", name.replace('/', "~1")), found);
                }
            }
            Value::Array(values) if !values.is_empty() => {
                for (index, value) in values.iter().enumerate() {
                    leaves(value, &format!("{at}/{index}"), found);
                }
            }
            _ => found.push(at.to_owned()),
        }
    }

    fn another(leaf: &Value) -> Value {
        match leaf {
            Value::Number(number) => json!(number.as_f64().unwrap_or_default() as i64 + 1),
            Value::String(text) => json!(format!("{text}x")),
            Value::Bool(flag) => json!(!flag),
            _ => json!("something"),
        }
    }

    #[test]
    fn a_change_of_any_part_of_a_shape_changes_the_key() {
        let shape = Shape::of(&request(), surroundings());
        let value = serde_json::to_value(&shape).expect("JSON");
        let mut paths = Vec::new();
        leaves(&value, "", &mut paths);
        assert!(paths.len() > 30, "{paths:?}");
        let text = |value: &Value| {
            let mut text = String::new();
            write_canonical(value, &mut text);
            text
        };
        let mut seen = BTreeSet::from([text(&value)]);
        for path in paths {
            let mut changed = value.clone();
            let leaf = changed.pointer_mut(&path).expect("a leaf");
            *leaf = another(leaf);
            assert!(seen.insert(text(&changed)), "{path} is not in the key");
        }
    }

    /// Where a start may differ, of all that [`request`] has, and still be one of the same guest. An image is told by
    /// its digest, and QEMU by the surroundings.
    const IDENTITY: &[&str] = &[
        "/firmware_uuid",
        "/hostname",
        "/instance/apiVersion",
        "/instance/kind",
        "/instance/metadata/annotations/note",
        "/instance/metadata/labels/team",
        "/instance/metadata/name",
        "/instance/metadata/uid",
        "/instance/spec/domain/devices/interfaces/0/macAddress",
        "/instance/spec/domain/devices/interfaces/0/ports/0/port",
        "/instance/spec/domain/firmware/serial",
        "/instance/spec/domain/firmware/uuid",
        "/instance/spec/hostname",
        "/instance/spec/nodeSelector/kubernetes.io~1hostname",
        "/instance/spec/volumes/0/containerDisk/image",
        "/instance/spec/volumes/1/cloudInitNoCloud/userData",
        "/instance_id",
        "/interfaces/0/address",
        "/interfaces/0/mac",
        "/interfaces/0/ports/0/port",
        "/interfaces/0/ports/0/protocol",
        "/qemu_version",
        "/slowdown",
        "/volumes/init/CloudInitNoCloud/network_data",
        "/volumes/init/CloudInitNoCloud/user_data",
    ];

    #[test]
    fn all_of_a_start_is_in_the_key_but_who_it_is_and_what_the_host_does_with_it() {
        let base = serde_json::to_value(request()).expect("JSON");
        let mut paths = Vec::new();
        leaves(&base, "", &mut paths);
        let mut left_out = Vec::new();
        for path in paths {
            let at = |value: Value| {
                let mut changed = base.clone();
                *changed.pointer_mut(&path).expect("a leaf") = value;
                serde_json::from_value::<StartRequest>(changed).ok()
            };
            // Words of which only some are known, an address, and what is only there or not.
            let words = ["KVM", "Raw", "UDP", "127.64.0.10"].map(|word| json!(word));
            let mut others = [another(base.pointer(&path).expect("a leaf"))]
                .into_iter()
                .chain(words)
                .chain([Value::Null]);
            let changed = others.find_map(at);
            let changed = changed.unwrap_or_else(|| panic!("{path} can be nothing else"));
            if key(&changed) == key(&request()) {
                left_out.push(path);
            }
        }
        assert_eq!(left_out, IDENTITY);
    }

    #[test]
    fn a_change_of_what_shapes_the_guest_changes_the_key_and_of_who_it_is_does_not() {
        let base = key(&request());
        let shaping: [Change<StartRequest>; 9] = [
            ("memory", |it| {
                it.instance.spec.domain.memory.get_or_insert_default().guest =
                    Some(api::quantity::Quantity::from("2Gi"));
            }),
            ("cores", |it| {
                it.instance.spec.domain.cpu.get_or_insert_default().cores = Some(7);
            }),
            ("accelerator", |it| {
                it.accelerator = api::accelerator::Accelerator::Kvm;
            }),
            ("image", |it| {
                if let Some(ResolvedVolume::ContainerDisk { digest, .. }) =
                    it.volumes.get_mut("root")
                {
                    digest.push('0');
                }
            }),
            ("empty disk", |it| {
                it.volumes.insert(
                    "scratch".to_owned(),
                    ResolvedVolume::EmptyDisk { capacity_bytes: 9 },
                );
            }),
            ("order of volumes", |it| it.instance.spec.volumes.reverse()),
            ("model of a card", |it| {
                it.interfaces[0].model = "e1000".to_owned();
            }),
            ("namespace", |it| {
                it.instance.metadata.namespace = Some("other".to_owned());
            }),
            ("marker", |it| {
                let all = it.instance.metadata.annotations.get_or_insert_default();
                all.insert(annotations::WARM_START_MARKER.to_owned(), "up".to_owned());
            }),
        ];
        let mut seen = BTreeSet::from([base.clone()]);
        for (name, change) in shaping {
            let mut changed = request();
            change(&mut changed);
            assert!(seen.insert(key(&changed)), "{name} is not in the key");
        }
        let identity: [Change<StartRequest>; 9] = [
            ("name", |it| {
                it.instance.metadata.name = Some("b".to_owned())
            }),
            ("UID", |it| it.instance.metadata.uid = Some("b".to_owned())),
            ("host name", |it| {
                it.hostname = "b".to_owned();
                it.instance.spec.hostname = Some("b".to_owned());
            }),
            ("UUID", |it| {
                it.firmware_uuid = "b".to_owned();
                let firmware = it.instance.spec.domain.firmware.get_or_insert_default();
                firmware.uuid = Some("b".to_owned());
                firmware.serial = Some("b".to_owned());
            }),
            ("instance-id", |it| it.instance_id = "b".to_owned()),
            ("MAC", |it| {
                it.interfaces[0].mac = "02:00:00:00:00:09".to_owned();
                it.instance.spec.domain.devices.interfaces[0].mac_address =
                    Some("02:00:00:00:00:09".to_owned());
            }),
            ("address", |it| {
                it.interfaces[0].address = [127, 9, 9, 9].into()
            }),
            ("ports", |it| {
                it.interfaces[0].ports.clear();
                it.instance.spec.domain.devices.interfaces[0].ports.clear();
            }),
            ("cloud-init data", |it| {
                it.volumes.insert(
                    "init".to_owned(),
                    ResolvedVolume::CloudInitNoCloud {
                        user_data: "other".to_owned(),
                        network_data: Some("other".to_owned()),
                    },
                );
            }),
        ];
        for (name, change) in identity {
            let mut changed = request();
            change(&mut changed);
            assert_eq!(key(&changed), base, "{name} is in the key");
        }
    }

    #[test]
    fn what_is_foreign_is_named() {
        let here = surroundings();
        assert_eq!(here.foreign(&here), None);
        let changes: [Change<Surroundings>; 6] = [
            ("QEMU 6.0.0", |it| it.qemu_version = "6.0.0".to_owned()),
            ("anyvirt 0.0.1", |it| {
                it.anyvirt_version = "0.0.1".to_owned()
            }),
            ("the processor old", |it| it.processor = "old".to_owned()),
            ("program of QEMU", |it| it.qemu.modified.1 += 1),
            ("program of anyvirt", |it| it.anyvirt.bytes += 1),
            ("firmware", |it| it.firmware.push(Installed::default())),
        ];
        for (expected, change) in changes {
            let mut there = here.clone();
            change(&mut there);
            let told = here.foreign(&there).expect(expected);
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn a_key_is_a_key_its_uuid_is_one_and_nothing_else_is() {
        let key = key(&request());
        assert_eq!(Key::parse(key.as_str()), Some(key.clone()));
        for other in ["", "../../etc", "A0", &key.as_str()[1..]] {
            assert_eq!(Key::parse(other), None, "{other}");
        }
        let lengths: Vec<usize> = key.uuid().split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
    }

    proptest! {
        #[test]
        fn the_canonical_form_does_not_depend_on_the_order_and_tells_texts_apart(
            one in "\\PC{0,8}", two in "\\PC{0,8}", number in any::<i32>()
        ) {
            let text = |value: Value| {
                let mut text = String::new();
                write_canonical(&value, &mut text);
                text
            };
            let forth = text(json!({ "a": one, "b": [two, number] }));
            let mut back = Map::new();
            back.insert("b".to_owned(), json!([two, number]));
            back.insert("a".to_owned(), json!(one));
            prop_assert_eq!(&forth, &text(Value::Object(back)));
            if one != two {
                prop_assert_ne!(forth, text(json!({ "a": two, "b": [one, number] })));
            }
        }
    }
}
