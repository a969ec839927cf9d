//! Controllers that die at any moment: nothing is lost, and nothing is done twice.

use crate::cluster::Cluster;
use crate::node::Devices;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use controllers::kubevirt::Publisher;
use controllers::{CancellationToken, Settings};
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use std::collections::BTreeSet;
use std::time::Duration;

const MACHINES: usize = 8;

/// Runs the controllers for a moment that differs each time, and drops them in the middle of whatever
/// they do.
async fn run_for_a_moment(cluster: &Cluster, round: u64) {
    let (publisher, settings) = (Publisher::default(), Settings::default());
    let run = controllers::run(
        cluster.client.clone(),
        settings,
        publisher,
        CancellationToken::new(),
    );
    // Spread over the few dozen milliseconds that a start takes; the exact values do not matter.
    let moment = Duration::from_micros(round * 7_919 % 60_000 + 500);
    assert!(
        tokio::time::timeout(moment, run).await.is_err(),
        "the controllers ended by themselves"
    );
}

#[tokio::test]
async fn controllers_that_die_again_and_again_start_every_machine_once() {
    let cluster = Cluster::without_controllers(Devices::KvmAndVhostNet).await;
    for number in 0..MACHINES {
        cluster.machine(&format!("m{number}"), "Always").await;
        run_for_a_moment(&cluster, number as u64).await;
    }
    for round in 0..30 {
        run_for_a_moment(&cluster, round).await;
    }
    let (publisher, settings) = (Publisher::default(), Settings::default());
    let cancel = CancellationToken::new();
    let run = controllers::run(cluster.client.clone(), settings, publisher, cancel.clone());
    let check = async {
        for number in 0..MACHINES {
            cluster.wait_printed(&format!("m{number}"), "Running").await;
        }
        let pods = cluster.pods().await;
        let owners: BTreeSet<_> = pods
            .iter()
            .map(|pod| pod.labels()["kubevirt.io/created-by"].clone())
            .collect();
        assert_eq!((pods.len(), owners.len()), (MACHINES, MACHINES));
        for number in 0..MACHINES {
            let name = format!("m{number}");
            cluster
                .api::<VirtualMachine>()
                .delete(&name, &DeleteParams::default())
                .await
                .unwrap();
        }
        for number in 0..MACHINES {
            let name = format!("m{number}");
            cluster.wait_gone::<VirtualMachine>(&name).await;
            cluster.wait_gone::<VirtualMachineInstance>(&name).await;
        }
        assert_eq!(cluster.pods().await.len(), 0);
        cancel.cancel();
    };
    tokio::join!(run, check);
}
