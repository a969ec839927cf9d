//! The mixed cluster: seeds, scripts, and rules that are broken on purpose.

use api::accelerator::{self, Accelerator, EmulationPolicy, NodeFacts};
use controllers::virtual_machine_instance::Standing;
use node::decisions::Answer;
use simulation::mixed::{Failure, Report, Rules, Size, of_seed, run, script, shrunk};

/// A cluster that a machine without optimizations goes through in some tens of milliseconds; the long
/// run with 200 nodes and 5,000 VMs is `cargo xtask simulate mixed`.
const SMALL: Size = Size {
    nodes: 16,
    vms: 160,
};

/// Runs seeds, and prints the first that fails with a script that is enough for it.
fn check(seeds: impl IntoIterator<Item = u64>, size: Size) {
    for seed in seeds {
        if let Err(failure) = run(seed, &of_seed(seed, size), Rules::default()) {
            panic!("{}", shrunk(*failure, Rules::default()));
        }
    }
}

#[test]
fn small_clusters_obey_every_rule_and_come_to_rest() {
    check(0..120, SMALL);
}

#[test]
fn a_larger_cluster_obeys_every_rule_and_comes_to_rest() {
    let size = Size {
        nodes: 60,
        vms: 1200,
    };
    check(1000..1003, size);
}

#[test]
fn a_seed_is_the_same_every_time_and_meets_everything() {
    let script = of_seed(7, SMALL);
    let first = run(7, &script, Rules::default()).expect("it comes to rest");
    let second = run(7, &script, Rules::default()).expect("it comes to rest");
    assert_eq!(first, second);
    let mut sum = first;
    for seed in 8..40 {
        sum.add(&run(seed, &of_seed(seed, SMALL), Rules::default()).expect("rest"));
    }
    let met = [sum.kvm, sum.tcg, sum.steps_down, sum.refused, sum.renewed];
    assert!(met.iter().all(|it| *it > 0), "{sum}");
    let at_rest = [sum.running, sum.waiting, sum.queued];
    assert!(at_rest.iter().all(|it| *it > 0), "{sum}");
}

/// From seed 167 with 200 nodes: while a guest that KVM failed is on its way to emulation, a cap comes that
/// forbids this, and the hardware is found usable again.
#[test]
fn a_guest_that_kvm_failed_is_refused_where_a_cap_came_before_its_step_down() {
    let text = "0 switch Software\n\
                0 node n0 arch=amd64 cpus=4 memory=24 kvm=sly\n\
                100 vm v0 namespace=team-0 arch=amd64 cpus=1 memory=1\n\
                4000 cap-node n0 cap=None\n\
                4150 probe n0\n\
                20000 kvm n0 usable\n";
    let script = script::parse(text).expect("a script");
    let mut sum = Report::default();
    for seed in 0..200 {
        match run(seed, &script, Rules::default()) {
            Ok(report) => sum.add(&report),
            Err(failure) => panic!("{failure}"),
        }
    }
    assert!(sum.refused > 0 && sum.steps_down > 0, "{sum}");
}

#[test]
fn what_the_scheduler_remembers_misses_no_node_and_names_none_that_does_not_fit() {
    let rules = Rules {
        choose: |cluster, shape| {
            let chosen = cluster.choose(shape).map(str::to_owned);
            // This one looks at every node.
            let fitting = cluster.fitting(shape);
            match &chosen {
                Some(node) => assert!(fitting.contains(&node.as_str()), "{node}: {fitting:?}"),
                None => assert!(fitting.is_empty(), "{fitting:?}"),
            }
            chosen
        },
        ..Rules::default()
    };
    for seed in 0..20 {
        let script = of_seed(seed, SMALL);
        assert_eq!(
            run(seed, &script, rules),
            run(seed, &script, Rules::default())
        );
    }
}

/// Rules that are broken are noticed within some seeds, by what they break; how few lines show it is
/// bounded, which is what shrinking is for.
fn is_noticed(rules: Rules, by: &str) {
    let failures = (0..200).find_map(|seed| run(seed, &of_seed(seed, SMALL), rules).err());
    let failure: Failure = *failures.unwrap_or_else(|| panic!("{by}: nobody noticed"));
    assert!(
        failure.wrongs[0].contains(by),
        "{by}:\n{}",
        failure.wrongs[0]
    );
    let shrunk = shrunk(failure, rules);
    assert!(shrunk.short.wrongs[0].contains(by), "{by}:\n{shrunk}");
    assert!(shrunk.short.script.len() <= 40, "{shrunk}");
    let short = shrunk.short;
    let again = script::parse(&script::print(&short.script)).expect("a script");
    assert_eq!(run(short.seed, &again, rules), Err(Box::new(short)));
}

fn without_cap(node: &NodeFacts) -> NodeFacts {
    NodeFacts {
        cap: None,
        ..node.clone()
    }
}

#[test]
fn a_node_that_ignores_its_cap_is_noticed() {
    let rules = Rules {
        resolve: |policy, forced, architecture, node| {
            accelerator::resolve(policy, forced, architecture, &without_cap(node))
        },
        ..Rules::default()
    };
    is_noticed(rules, "is emulated on");
}

#[test]
fn a_node_that_ignores_the_policy_is_noticed() {
    let rules = Rules {
        resolve: |policy, forced, architecture, node| {
            let mut policy = policy.clone();
            policy.policy = EmulationPolicy::Software;
            accelerator::resolve(&policy, forced, architecture, &without_cap(node))
        },
        ..Rules::default()
    };
    is_noticed(rules, "is emulated on");
}

#[test]
fn a_node_that_ignores_a_forced_accelerator_is_noticed() {
    let rules = Rules {
        resolve: |policy, _, architecture, node| {
            accelerator::resolve(policy, None, architecture, node)
        },
        ..Rules::default()
    };
    is_noticed(rules, "where it can run on KVM");
}

#[test]
fn a_node_that_emulates_beside_its_hardware_is_noticed() {
    let rules = Rules {
        resolve: |policy, forced, architecture, node| {
            let mut broken = node.clone();
            broken.verdict.usable &= !policy.policy.permits_software();
            accelerator::resolve(policy, forced, architecture, &broken)
        },
        ..Rules::default()
    };
    is_noticed(rules, "where the best is");
}

#[test]
fn a_status_that_differs_from_the_fact_is_noticed() {
    let rules = Rules {
        shown: |decision, _| decision.status(Accelerator::Kvm).type_,
        ..Rules::default()
    };
    is_noticed(rules, "is shown");
}

#[test]
fn a_namespace_whose_cap_is_ignored_is_noticed() {
    let rules = Rules {
        effective: |cluster, vm, _| accelerator::effective(cluster, vm, None),
        ..Rules::default()
    };
    is_noticed(rules, "is placed under");
}

#[test]
fn a_vm_whose_own_policy_is_ignored_is_noticed() {
    let rules = Rules {
        effective: |cluster, _, namespace| accelerator::effective(cluster, None, namespace),
        ..Rules::default()
    };
    is_noticed(rules, "and its policy is");
}

#[test]
fn a_scheduler_that_ignores_who_prefers_hardware_is_noticed() {
    let rules = Rules {
        choose: |cluster, shape| cluster.fitting(shape).last().map(|it| (*it).to_owned()),
        ..Rules::default()
    };
    is_noticed(rules, "has hardware and room for it");
}

#[test]
fn a_scheduler_that_gives_up_on_some_pods_is_noticed() {
    let rules = Rules {
        choose: |cluster, shape| {
            let fitting = cluster.fitting(shape);
            (fitting.len() > 1).then(|| fitting[0].to_owned())
        },
        ..Rules::default()
    };
    is_noticed(rules, "");
}

#[test]
fn a_step_down_that_is_not_written_down_is_noticed() {
    let rules = Rules {
        writes_down: false,
        ..Rules::default()
    };
    is_noticed(rules, "not written down");
}

#[test]
fn a_step_down_of_a_forced_accelerator_is_noticed() {
    let rules = Rules {
        answer: |_| Answer::StartAgain,
        resolve: |policy, forced, architecture, node| {
            // Whom KVM failed is told apart by where that was seen.
            let forced = forced.filter(|_| node.verdict.stage != "Guest");
            accelerator::resolve(policy, forced, architecture, node)
        },
        ..Rules::default()
    };
    is_noticed(rules, "");
}

#[test]
fn a_guest_that_starts_on_kvm_again_is_noticed() {
    let rules = Rules {
        resolve: |policy, forced, architecture, node| {
            let mut node = node.clone();
            node.verdict.usable |= node.verdict.stage == "Guest";
            accelerator::resolve(policy, forced, architecture, &node)
        },
        ..Rules::default()
    };
    is_noticed(rules, "runs on KVM on");
}

#[test]
fn a_gate_that_lets_nobody_in_is_noticed() {
    let rules = Rules {
        advance: |_, _, _, _| Vec::new(),
        ..Rules::default()
    };
    is_noticed(rules, "at rest");
}

#[test]
fn a_pod_that_is_not_made_anew_is_noticed() {
    let rules = Rules {
        compare: |_, _, _, _| Ok(Standing::Current),
        ..Rules::default()
    };
    is_noticed(rules, "");
}

#[test]
fn a_vm_that_is_refused_and_stays_where_it_is_refused_is_noticed() {
    let rules = Rules {
        gives_up_when_refused: false,
        ..Rules::default()
    };
    is_noticed(rules, "no rest");
}
