use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;

fn all_surroundings() -> Vec<Surroundings> {
    let mut found = Vec::new();
    for platform in Platform::ALL {
        let plain = Surroundings {
            platform,
            processor: Processor::Intel,
            ..Surroundings::default()
        };
        found.push(plain.clone());
        found.push(Surroundings {
            processor: Processor::Amd,
            ..plain.clone()
        });
        found.push(Surroundings {
            container: Some(Container::Docker),
            ..plain
        });
    }
    for container in Container::ALL {
        found.push(Surroundings {
            platform: Platform::BareMetal,
            container: Some(container),
            ..Surroundings::default()
        });
    }
    found.push(Surroundings {
        platform: Platform::Ec2,
        instance_type: Some("m8i-flex.large".to_owned()),
        processor: Processor::Intel,
        ..Surroundings::default()
    });
    found
}

fn key(surroundings: &Surroundings) -> String {
    format!("{surroundings} ({:?})", surroundings.processor)
}

/// Classes by surroundings, each with its titles; surroundings with the same answer share a line.
#[test]
fn each_class_has_its_cures_in_each_surroundings() {
    let mut text = String::new();
    for class in Class::ALL {
        let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for surroundings in all_surroundings() {
            let titles: Vec<String> = remedies(class, &surroundings)
                .into_iter()
                .map(|remedy| remedy.title)
                .collect();
            answers
                .entry(titles.join(" > "))
                .or_default()
                .push(key(&surroundings));
        }
        writeln!(text, "# {class}").expect("a String takes everything");
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.sort_by_key(|(_, places)| std::cmp::Reverse(places.len()));
        for (index, (answer, places)) in answers.iter().enumerate() {
            // The commonest answer is told as the rule, the others with their places.
            let places = if index == 0 && places.len() > 12 {
                format!("else ({})", places.len())
            } else {
                places.join("; ")
            };
            writeln!(text, "{places}\n    {answer}").expect("a String takes everything");
        }
    }
    expect_test::expect_file!["table.txt"].assert_eq(&text);
}

#[test]
fn a_broken_kvm_always_has_a_cure_beside_emulation() {
    for class in Class::ALL {
        for surroundings in all_surroundings() {
            let found = remedies(class, &surroundings);
            assert_eq!(
                found.is_empty(),
                class == Class::Usable,
                "{class} {surroundings}"
            );
            assert!(!found.contains(&permit_emulation()), "{class}");
            for remedy in &found {
                assert!(!remedy.title.is_empty() && !remedy.effect.is_empty());
                assert!(!remedy.cost.is_empty(), "{remedy:?}");
            }
        }
    }
}

#[test]
fn commands_name_what_the_surroundings_have() {
    let command = |class, surroundings: &Surroundings| {
        remedies(class, surroundings)
            .into_iter()
            .filter_map(|remedy| remedy.command)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let on = |platform| Surroundings {
        platform,
        processor: Processor::Amd,
        ..Surroundings::default()
    };
    for (class, platform, words) in [
        (
            Class::NestedOff,
            Platform::Ec2,
            "NestedVirtualization=enabled",
        ),
        (
            Class::NestedOff,
            Platform::Gce,
            "--enable-nested-virtualization",
        ),
        (Class::NestedOff, Platform::Azure, "az vm resize"),
        (
            Class::NestedOff,
            Platform::Wsl2,
            "nestedVirtualization=true",
        ),
        (Class::NestedOff, Platform::Qemu, "options kvm_amd nested=1"),
        (
            Class::NestedOff,
            Platform::VirtualBox,
            "--nested-hw-virt on",
        ),
        (Class::NestedOff, Platform::Vmware, "vhv.enable"),
        (
            Class::NestedOff,
            Platform::HyperV,
            "ExposeVirtualizationExtensions",
        ),
        (Class::ModuleAbsent, Platform::BareMetal, "modprobe kvm_amd"),
        (
            Class::DisabledByFirmware,
            Platform::BareMetal,
            "--firmware-setup",
        ),
        (
            Class::PermissionDenied,
            Platform::BareMetal,
            "usermod -aG kvm",
        ),
    ] {
        let commands = command(class, &on(platform));
        assert!(commands.contains(words), "{class} {platform:?}: {commands}");
    }
    let docker = Surroundings {
        container: Some(Container::Docker),
        ..on(Platform::BareMetal)
    };
    let commands = command(Class::DeviceMissing, &docker);
    assert!(
        commands.starts_with("docker run --device /dev/kvm"),
        "{commands}"
    );
}

#[test]
fn a_pod_gets_its_devices_by_what_kubernetes_has_and_no_manifest_of_ours() {
    let pod = Surroundings {
        container: Some(Container::Kubernetes),
        ..Surroundings::default()
    };
    let first = remedies(Class::DeviceMissing, &pod).remove(0);
    let command = first.command.unwrap_or_default();
    assert!(command.contains("privileged: true"), "{command}");
    assert!(!command.contains("deploy/"), "{command}");
}

#[test]
fn helper_devices_have_their_modules() {
    let plain = Surroundings::default();
    for (device, module) in [
        (HelperDevice::VhostNet, "modprobe vhost_net"),
        (HelperDevice::Tun, "modprobe tun"),
        (HelperDevice::VhostVsock, "modprobe vhost_vsock"),
    ] {
        let found = device_remedies(device, Class::DeviceMissing, &plain);
        let command = found[0].command.as_deref().unwrap_or_default();
        assert!(command.contains(module), "{command}");
        assert!(device_remedies(device, Class::Usable, &plain).is_empty());
        let denied = device_remedies(device, Class::PermissionDenied, &plain);
        assert!(denied[0].title.contains(device.path()), "{denied:?}");
    }
}
