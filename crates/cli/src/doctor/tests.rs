use std::time::Duration;

use api::accelerator::{Class, HelperDevice, Platform, Surroundings};
use expect_test::expect;
use serde_json::json;

use super::checks::examine;
use super::*;
use crate::cluster::Cluster;

fn program(path: &str, version: &str) -> Result<Program, String> {
    Ok(Program {
        path: path.into(),
        version: version.to_owned(),
    })
}

fn facts() -> Facts {
    let helper = |device| Helper {
        device,
        class: Class::Usable,
        evidence: "it opens".to_owned(),
    };
    Facts {
        version: "0.1.0".to_owned(),
        processor: "AMD EPYC 7763".to_owned(),
        processors: 2,
        virtualization_flag: Some("svm".to_owned()),
        architecture: "amd64".to_owned(),
        memory_bytes: 8 << 30,
        available_bytes: Some(4 << 30),
        kernel: "6.1.0".to_owned(),
        distribution: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        surroundings: Surroundings {
            platform: Platform::BareMetal,
            ..Surroundings::default()
        },
        kvm_file: "mode 660, user 0, group 108".to_owned(),
        kvm: Verdict {
            class: Class::Usable,
            stage: None,
            evidence: "all stages passed".to_owned(),
            runs: 3,
            took: Duration::from_micros(4200),
        },
        helpers: HelperDevice::ALL.map(helper).to_vec(),
        modules: [
            ("kvm_amd".to_owned(), true),
            ("vhost_net".to_owned(), false),
        ]
        .into(),
        nested: Some(("kvm_amd".to_owned(), "1".to_owned())),
        emulators: vec![Emulator {
            architecture: "amd64".to_owned(),
            program: program("/usr/bin/qemu-system-x86_64", "7.2.19"),
            accelerators: vec!["kvm".to_owned(), "tcg".to_owned()],
            package: "qemu-system-x86".to_owned(),
        }],
        firmware: vec![Firmware {
            name: "EFI for amd64".to_owned(),
            path: Some("/usr/share/OVMF/OVMF_CODE.fd".into()),
            package: "ovmf".to_owned(),
            without: "guests that start by EFI".to_owned(),
        }],
        slowdown: Ok(Slowdown {
            than: "KVM".to_owned(),
            ratio: 7.84,
            low: 7.5,
            high: 8.12,
        }),
        passt: program("/usr/bin/passt", "0.0~git"),
        user: User {
            id: 0,
            groups: vec!["root".to_owned()],
            can_change_user: true,
        },
        control_groups: ControlGroups {
            version: "v2".to_owned(),
            controllers: ["cpu", "memory", "pids"].map(str::to_owned).to_vec(),
            writable: true,
        },
        data_directory: "/var/lib/anyvirt".into(),
        free_bytes: Ok(40 << 30),
    }
}

fn broken() -> Facts {
    Facts {
        kvm: Verdict {
            class: Class::GuestKernelEmulated,
            stage: Some("Loop".to_owned()),
            evidence: "40003 instructions were emulated".to_owned(),
            runs: 5,
            took: Duration::from_millis(31),
        },
        ..facts()
    }
}

fn cluster(policy: &str) -> Cluster {
    let map = json!({
        "metadata": {"name": "kubevirt-config", "namespace": "openshift-cnv"},
        "data": {"debug.useEmulation": policy},
    });
    Cluster {
        config_maps: vec![serde_json::from_value(map).unwrap()],
        nodes: vec![crate::emulation::tests::node("secret-host-name", false)],
        ..Cluster::default()
    }
}

#[test]
fn a_healthy_machine_has_nothing_but_ok() {
    let report = examine(&facts(), Ok(&cluster("false")));
    assert_eq!(exit(&report), Exit::Ok);
    expect![[r#"
        anyvirt 0.1.0

        CHECK              RESULT   DETAIL
        System             ok       Debian GNU/Linux 12 (bookworm), Linux 6.1.0, amd64
        Surroundings       ok       a physical machine
        Processor          ok       2 x AMD EPYC 7763, has svm
        Memory             ok       8.0 GiB, 4.0 GiB available
        Disk               ok       /var/lib/anyvirt, 40.0 GiB free
        User               ok       root, in group root; each guest gets a user of its own
        Control groups     ok       v2: cpu, memory, pids; groups can be made
        Kernel modules     ok       loaded: kvm_amd; not loaded: vhost_net
        Nested guests      ok       guests can run guests of their own (kvm_amd nested=1)
        /dev/kvm           ok       Usable: all stages passed (3 guests run in 4.2 ms; mode 660, user 0, group 108)
        /dev/vhost-net     ok       Usable: it opens
        /dev/net/tun       ok       Usable: it opens
        /dev/vhost-vsock   ok       Usable: it opens
        QEMU for amd64     ok       7.2.19, /usr/bin/qemu-system-x86_64; accelerators kvm, tcg
        EFI for amd64      ok       /usr/share/OVMF/OVMF_CODE.fd
        passt              ok       0.0~git, /usr/bin/passt
        Emulation's cost   ok       emulated guests are about 7.8 times slower than KVM here (7.5 to 8.1, measured now)
        Policy             ok       None: hardware virtualization only (by ConfigMap openshift-cnv/kubevirt-config debug.useEmulation)
        Nodes              ok       1 in all, hardware virtualization works on 0, emulation's cost is known on 0; caps: 0 of namespaces, 0 of nodes

        Verdict: Hardware virtualization works: guests run at full speed.
    "#]].assert_eq(&table(&report));
}

#[test]
fn what_is_missing_is_told_with_its_cures() {
    let facts = Facts {
        kvm: Verdict {
            class: Class::PermissionDenied,
            stage: None,
            evidence: "/dev/kvm may not be opened".to_owned(),
            runs: 0,
            took: Duration::ZERO,
        },
        helpers: vec![Helper {
            device: HelperDevice::VhostNet,
            class: Class::DeviceMissing,
            evidence: "there is no /dev/vhost-net".to_owned(),
        }],
        passt: Err("not found on the PATH".to_owned()),
        slowdown: Err("QEMU did not start".to_owned()),
        available_bytes: Some(100 << 20),
        user: User {
            id: 1000,
            ..User::default()
        },
        control_groups: ControlGroups::default(),
        free_bytes: Ok(1 << 30),
        ..facts()
    };
    let report = examine(&facts, Err("cannot reach https://127.0.0.1:6443"));
    assert_eq!(exit(&report), Exit::Acceleration);
    expect![[r#"
        anyvirt 0.1.0

        CHECK              RESULT    DETAIL
        System             ok        Debian GNU/Linux 12 (bookworm), Linux 6.1.0, amd64
        Surroundings       ok        a physical machine
        Processor          ok        2 x AMD EPYC 7763, has svm
        Memory             warning   8.0 GiB, only 100 MiB available
                                     -> Free memory: free -m
        Disk               warning   /var/lib/anyvirt, only 1.0 GiB free
                                     -> Keep the data elsewhere: anyvirt up --data-dir DIR
        User               warning   user 1000, in none of the groups kvm and root; guests share this user, so only their jails keep them apart
                                     -> Run the server as root: sudo anyvirt up
        Control groups     warning   none: guests are not limited
        Kernel modules     ok        loaded: kvm_amd; not loaded: vhost_net
        Nested guests      ok        guests can run guests of their own (kvm_amd nested=1)
        /dev/kvm           warning   PermissionDenied: /dev/kvm may not be opened (no guest was run; mode 660, user 0, group 108)
                                     -> Add the user that runs anyvirt to the group kvm: sudo usermod -aG kvm "$USER"  # then log in again, or restart the service
                                     -> Give the user rights on /dev/kvm until the next boot: sudo setfacl -m u:"$USER":rw /dev/kvm
                                     -> Permit software emulation: anyvirt emulation on
        /dev/vhost-net     warning   DeviceMissing: there is no /dev/vhost-net
                                     -> Load the module vhost_net: sudo modprobe vhost_net && echo vhost_net | sudo tee /etc/modules-load.d/vhost_net.conf
        QEMU for amd64     ok        7.2.19, /usr/bin/qemu-system-x86_64; accelerators kvm, tcg
        EFI for amd64      ok        /usr/share/OVMF/OVMF_CODE.fd
        passt              FAILED    not found on the PATH
                                     -> Install passt: sudo apt-get install passt
        Emulation's cost   warning   could not be measured: QEMU did not start
                                     -> Measure again: anyvirt doctor
        Server             warning   not asked: cannot reach https://127.0.0.1:6443
                                     -> Start the server: anyvirt up

        Verdict: Virtual machines with a network cannot start: there is no passt (not found on the PATH).
    "#]].assert_eq(&table(&report));
}

#[test]
fn a_policy_that_may_not_be_read_is_no_policy() {
    let mut cluster = cluster("false");
    cluster.config_maps.clear();
    cluster.nodes.clear();
    cluster.hidden = ["the ConfigMap openshift-cnv/kubevirt-config", "nodes"].into();
    let report = examine(&broken(), Ok(&cluster));
    assert_eq!(exit(&report), Exit::Ok);
    assert!(report.verdict.ends_with("instead may not be read."));
    for id in ["policy", "nodes"] {
        let check = report.checks.iter().find(|it| it.id == id);
        assert_eq!(check.map(|it| it.result), Some(Outcome::Warning), "{id}");
    }
}

#[test]
fn free_space_that_cannot_be_read_is_a_warning_with_the_reason() {
    let facts = Facts {
        free_bytes: Err("Permission denied (os error 13)".to_owned()),
        ..facts()
    };
    let table = table(&examine(&facts, Err("no server")));
    let line = table.lines().find(|line| line.starts_with("Disk"));
    let words = "/var/lib/anyvirt, its free space cannot be read: Permission denied (os error 13)";
    let line = line.expect("the check");
    assert!(line.contains("warning") && line.ends_with(words), "{line}");
}

#[test]
fn the_verdict_follows_from_kvm_and_policy() {
    let (good, bad) = (facts(), broken());
    for (facts, server, expected) in [
        (&good, Some("false"), Exit::Ok),
        (&bad, Some("false"), Exit::Acceleration),
        (&bad, Some("true"), Exit::Ok),
        (&bad, None, Exit::Ok),
    ] {
        let cluster = server.map(cluster);
        let report = examine(facts, cluster.as_ref().ok_or("no server"));
        assert_eq!(exit(&report), expected, "{server:?}");
    }
    let no_qemu = Facts {
        emulators: vec![Emulator {
            program: Err("not installed".to_owned()),
            ..good.emulators[0].clone()
        }],
        ..good
    };
    assert_eq!(
        exit(&examine(&no_qemu, Err("no server"))),
        Exit::Acceleration
    );
}

#[test]
fn failures_in_a_report_name_neither_server_nor_user() {
    let why = "kubeconfig /home/alice/.kube/config: cannot reach https://10.0.0.7:6443: refused";
    assert_eq!(
        without_names(why, Some("https://10.0.0.7:6443"), Some("/home/alice")),
        "kubeconfig ~/.kube/config: cannot reach the server: refused"
    );
    assert_eq!(without_names("a/b", None, Some("/")), "a/b");
}

#[test]
fn a_report_for_programs_is_stable_and_names_nobody() {
    let facts = Facts {
        data_directory: "/home/alice/.local/share/anyvirt".into(),
        ..broken()
    };
    let report = examine(&facts, Ok(&cluster("false")));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["apiVersion"], "cli.anyvirt.io/v1");
    assert_eq!(json["kind"], "Doctor");
    assert_eq!(json["ready"], false);
    let ids: Vec<&str> = json["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["id"].as_str().unwrap())
        .collect();
    expect!["system surroundings processor memory disk user control-groups modules nested kvm vhost-net tun vhost-vsock qemu-amd64 firmware-efi-for-amd64 passt slowdown policy nodes"].assert_eq(&ids.join(" "));
    let kvm = &json["checks"][9];
    assert_eq!(kvm["result"], "failed");
    assert!(
        kvm["evidence"]
            .as_str()
            .unwrap()
            .contains("GuestKernelEmulated at Loop")
    );
    let text = json.to_string();
    for secret in ["alice", "secret-host-name"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}
