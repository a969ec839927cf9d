//! The devices beside KVM: opened, and asked something harmless, as whoever uses them would.

use std::path::Path;

use api::accelerator::{Class, HelperDevice};
use host::facts::Device;

/// What a helper device is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceVerdict {
    /// Which device.
    pub device: HelperDevice,
    /// Usable or in which way not.
    pub class: Class,
    /// The evidence, a sentence.
    pub evidence: String,
}

impl DeviceVerdict {
    /// Whether it may be offered to guests.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.class == Class::Usable
    }
}

/// Looks at every helper device. Blocks for less than a millisecond.
#[must_use]
pub fn look() -> Vec<DeviceVerdict> {
    HelperDevice::ALL
        .into_iter()
        .map(|device| judge(device, &ask(device, Path::new(device.path()))))
        .collect()
}

/// Looks at one of them.
#[must_use]
pub fn look_at(device: HelperDevice) -> DeviceVerdict {
    judge(device, &ask(device, Path::new(device.path())))
}

fn ask(device: HelperDevice, path: &Path) -> Result<u64, Device> {
    match device {
        HelperDevice::VhostNet | HelperDevice::VhostVsock => host::facts::vhost_features(path),
        HelperDevice::Tun => host::facts::tun_features(path),
    }
}

/// What an answer means. Pure.
#[must_use]
pub fn judge(device: HelperDevice, answer: &Result<u64, Device>) -> DeviceVerdict {
    /// A network interface that is asked for by frames, which every use of a tap needs: IFF_TAP.
    const TAP: u64 = 2;
    let path = device.path();
    let (class, evidence) = match answer {
        Ok(features) if device == HelperDevice::Tun && features & TAP == 0 => (
            Class::DeviceBroken,
            format!("{path} opens, and offers no tap interfaces (features {features:#x})"),
        ),
        Ok(features) => (
            Class::Usable,
            format!("{path} opens and answers with its features {features:#x}"),
        ),
        // Never an error; told as it is if it were.
        Err(Device::Usable) => (Class::Unknown, format!("{path} was not asked")),
        Err(Device::Missing) => (Class::DeviceMissing, format!("there is no {path}")),
        Err(Device::PermissionDenied { rights }) => (
            Class::PermissionDenied,
            format!("{path} exists and may not be opened ({rights})"),
        ),
        Err(Device::Busy) => (
            Class::DeviceBusy,
            format!("{path} exists, and another program has it for itself"),
        ),
        Err(Device::Broken { error }) => (
            Class::DeviceBroken,
            format!("{path} exists and does not work: {error}"),
        ),
    };
    DeviceVerdict {
        device,
        class,
        evidence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_class() {
        let denied = Device::PermissionDenied {
            rights: "mode 600".to_owned(),
        };
        let broken = Device::Broken {
            error: "No such device".to_owned(),
        };
        for device in HelperDevice::ALL {
            for (answer, class) in [
                (Ok(0x1003), Class::Usable),
                (Err(Device::Missing), Class::DeviceMissing),
                (Err(denied.clone()), Class::PermissionDenied),
                (Err(Device::Busy), Class::DeviceBusy),
                (Err(broken.clone()), Class::DeviceBroken),
            ] {
                let verdict = judge(device, &answer);
                assert_eq!(verdict.class, class, "{answer:?}");
                assert!(verdict.evidence.contains(device.path()));
                assert_eq!(verdict.usable(), class == Class::Usable);
            }
        }
        assert_eq!(judge(HelperDevice::Tun, &Ok(1)).class, Class::DeviceBroken);
        assert_eq!(judge(HelperDevice::VhostNet, &Ok(1)).class, Class::Usable);
    }

    #[test]
    fn this_machines_devices_are_judged_and_another_file_is_no_device() {
        for verdict in look() {
            println!("{verdict:?}");
        }
        for device in HelperDevice::ALL {
            let verdict = judge(device, &ask(device, Path::new("/dev/null")));
            assert_eq!(verdict.class, Class::DeviceBroken, "{verdict:?}");
        }
    }
}
