//! The server is killed with SIGKILL again and again, in the middle of writes and of running VMs: no acknowledged write
//! is lost, and the VMs never notice.

use acceptance::{PATIENCE, Server, processes_of, wait_for};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Config};
use laboratory::guests;
use laboratory::registry::Registry;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const KILLS: u32 = 50;
const WRITERS: u32 = 4;
const BOOT: Duration = Duration::from_secs(180);

/// Last value each ConfigMap's writer was told is stored.
type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

async fn client(server: &Server) -> Client {
    let kubeconfig =
        kube::config::Kubeconfig::read_from(server.kubeconfig()).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default())
        .await
        .expect("a usable kubeconfig");
    Client::try_from(config).expect("a client")
}

fn counter(name: &str, value: u64) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map.data = Some(BTreeMap::from([("value".to_owned(), value.to_string())]));
    map
}

/// Counts upwards in one ConfigMap after another until the server stops answering.
async fn write(maps: Api<ConfigMap>, writer: u32, round: u32, acknowledged: Acknowledged) {
    for number in 0.. {
        let name = format!("counter-{writer}-{round}-{}", number / 20);
        let value = number % 20;
        let written = if value == 0 {
            maps.create(&PostParams::default(), &counter(&name, value))
                .await
        } else {
            let patch = serde_json::json!({"data": {"value": value.to_string()}});
            maps.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await
        };
        match written {
            Ok(_) => acknowledged
                .lock()
                .expect("no writer panics")
                .insert(name, value),
            Err(_) => return, // killed: what happened to this one write is unknown, and may be either
        };
    }
}

fn stored(server: &Server) -> BTreeMap<String, u64> {
    let text = server.kubectl(&["get", "cm", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&text).expect("a list");
    let items = list["items"].as_array().expect("items").iter();
    items
        .filter_map(|map| {
            Some((
                map["metadata"]["name"].as_str()?.to_owned(),
                map["data"]["value"].as_str()?.parse().ok()?,
            ))
        })
        .collect()
}

/// `(pid, start time)` of every QEMU of this server: equal pairs are the same process.
fn machines(server: &Server) -> Vec<(u32, String)> {
    let mut found: Vec<_> = processes_of(&server.data_directory())
        .into_iter()
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|comm| comm.starts_with("qemu-system"))
        })
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // Field 22 is the start time; counting from behind the name, which may hold spaces.
            let start = stat
                .rsplit(')')
                .next()?
                .split_whitespace()
                .nth(19)?
                .to_owned();
            Some((pid, start))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn fifty_kills_lose_no_acknowledged_write_and_disturb_no_machine() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let image = guests::small().expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let mut server = Server::start(&["--emulation", "on"]);
    for name in ["one", "two"] {
        server.apply(&guests::small_vm(name, &registry.reference("small")));
    }
    for name in ["one", "two"] {
        server.wait_until("vmi", name, "/status/phase", "Running", BOOT);
    }
    let before = machines(&server);
    assert_eq!(before.len(), 2, "two machines run");

    let acknowledged = Acknowledged::default();
    let mut random = StdRng::seed_from_u64(2026);
    for round in 0..KILLS {
        let client = runtime.block_on(client(&server));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                runtime.spawn(write(
                    Api::default_namespaced(client.clone()),
                    writer,
                    round,
                    Arc::clone(&acknowledged),
                ))
            })
            .collect();
        // Not a wait for something: the kill must fall at a random moment of the writing.
        std::thread::sleep(Duration::from_millis(random.random_range(5..250)));
        server.kill();
        for writer in writers {
            runtime
                .block_on(writer)
                .expect("a writer ends when the server does");
        }
        assert_eq!(
            machines(&server),
            before,
            "round {round}: the machines run on without a server"
        );
        server.up();
        let stored = stored(&server);
        for (name, value) in acknowledged.lock().expect("no writer panics").iter() {
            let found = stored.get(name);
            assert!(
                found.is_some_and(|found| found >= value),
                "round {round}: {name} was acknowledged with {value}, found {found:?}"
            );
        }
    }
    let written = acknowledged.lock().expect("no writer panics").len();
    assert!(
        written as u32 > KILLS,
        "the writers hardly wrote: {written}"
    );
    println!("{KILLS} kills, {written} ConfigMaps, no acknowledged write lost");

    // The machines were adopted, not only left alone: their state is known and they obey.
    assert_eq!(machines(&server), before);
    for name in ["one", "two"] {
        server.wait_until("vmi", name, "/status/phase", "Running", PATIENCE);
    }
    server.kubectl(&[
        "patch",
        "vm",
        "one",
        "--type=merge",
        "-p",
        r#"{"spec":{"runStrategy":"Halted"}}"#,
    ]);
    server.wait_until("vm", "one", "/status/printableStatus", "Stopped", PATIENCE);
    wait_for("one machine is left", PATIENCE, || {
        if machines(&server).len() == 1 {
            Ok(())
        } else {
            Err(format!("{:?}", machines(&server)))
        }
    });
}
