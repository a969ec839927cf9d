//! kube-scheduler's sentence about a pod that it found no node for, taken apart.

/// Why no node takes a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unschedulable {
    /// How many nodes there are, if the sentence says so.
    pub nodes: Option<usize>,
    /// What is in the way, each with the number of nodes it is in the way on, if that is said.
    pub obstacles: Vec<(Option<usize>, Obstacle)>,
}

/// What is in the way of a pod on a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Obstacle {
    /// Too little of this resource is left, or the node has none at all.
    Insufficient(String),
    /// The node's labels are not those the pod asks for.
    Labels,
    /// The node has as many pods as it takes.
    TooManyPods,
    /// The node is cordoned.
    Cordoned,
    /// The node has a taint, `{key: value}`.
    Taint(String),
    /// Something else; the words.
    Other(String),
}

/// The sentence's beginning when there is no node at all.
const NO_NODES: &str = "no nodes available to schedule pods";

impl Unschedulable {
    /// Takes a sentence of kube-scheduler apart, or that of a scheduler that speaks like it. `None`
    /// if it is another sentence.
    ///
    /// `0/6 nodes are available: 2 Insufficient cpu, 4 node(s) were unschedulable. preemption: …`:
    /// what follows `preemption:` repeats itself and is left out.
    pub fn parse(message: &str) -> Option<Self> {
        if message.starts_with(NO_NODES) {
            return Some(Self {
                nodes: Some(0),
                obstacles: Vec::new(),
            });
        }
        let (head, rest) = message.split_once(" nodes are available: ")?;
        let nodes = head.split_once('/').and_then(|(_, all)| all.parse().ok());
        let sentence = rest
            .split_once(" preemption:")
            .map_or(rest, |(sentence, _)| sentence)
            .trim();
        let sentence = sentence.strip_suffix('.').unwrap_or(sentence);
        let obstacles = sentence
            .split(", ")
            .map(counted)
            .map(|(count, words)| (count, Obstacle::of(words)))
            .collect();
        Some(Self { nodes, obstacles })
    }

    /// Is too little of `resource` left somewhere?
    pub fn lacks(&self, resource: &str) -> bool {
        self.obstacles.iter().any(
            |(_, obstacle)| matches!(obstacle, Obstacle::Insufficient(name) if name == resource),
        )
    }

    /// Is `obstacle` in the way somewhere?
    pub fn has(&self, obstacle: &Obstacle) -> bool {
        self.obstacles.iter().any(|(_, found)| found == obstacle)
    }
}

/// The number before a reason. Figures in articles leave it out: `... Insufficient cpu`.
fn counted(reason: &str) -> (Option<usize>, &str) {
    let reason = reason.trim_start_matches(['.', ' ', '…']);
    match reason.split_once(' ') {
        Some((count, words)) if count.parse::<usize>().is_ok() => (count.parse().ok(), words),
        _ => (None, reason),
    }
}

impl Obstacle {
    fn of(words: &str) -> Self {
        if let Some(resource) = words.strip_prefix("Insufficient ") {
            return Self::Insufficient(resource.to_owned());
        }
        if let Some(taint) = words.strip_prefix("node(s) had untolerated taint ") {
            return Self::Taint(taint.to_owned());
        }
        match words {
            "Too many pods" => Self::TooManyPods,
            "node(s) were unschedulable" => Self::Cordoned,
            "node(s) didn't match Pod's node affinity/selector"
            | "node(s) didn't match node selector" => Self::Labels,
            other => Self::Other(other.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedulers_sentence_is_taken_apart() {
        use Obstacle::{Cordoned, Insufficient, Labels, Other, Taint, TooManyPods};
        let lacks = |name: &str| Insufficient(name.to_owned());
        let kvm = || lacks("devices.kubevirt.io/kvm");
        let vhost = || lacks("devices.kubevirt.io/vhost-net");
        for (sentence, nodes, obstacles) in [
            (
                "0/6 nodes are available: ... Insufficient devices.kubevirt.io/vhost-net.",
                Some(6),
                vec![(None, vhost())],
            ),
            (
                "0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm, 1 Insufficient \
                 devices.kubevirt.io/vhost-net.",
                Some(1),
                vec![(Some(1), kvm()), (Some(1), vhost())],
            ),
            (
                "0/3 nodes are available: 1 Too many pods, 2 node(s) were unschedulable. preemption: \
                 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
                Some(3),
                vec![(Some(1), TooManyPods), (Some(2), Cordoned)],
            ),
            (
                "0/2 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: \
                 }, 1 node(s) didn't match Pod's node affinity/selector.",
                Some(2),
                vec![
                    (
                        Some(1),
                        Taint("{node.kubernetes.io/not-ready: }".to_owned()),
                    ),
                    (Some(1), Labels),
                ],
            ),
            (
                "0/1 nodes are available: 1 node(s) sulk.",
                Some(1),
                vec![(Some(1), Other("node(s) sulk".to_owned()))],
            ),
            ("no nodes available to schedule pods", Some(0), vec![]),
        ] {
            let expected = Unschedulable { nodes, obstacles };
            assert_eq!(Unschedulable::parse(sentence), Some(expected), "{sentence}");
        }
        for other in [
            "",
            "Scheduling is blocked due to non-empty scheduling gates",
        ] {
            assert_eq!(Unschedulable::parse(other), None, "{other}");
        }
    }
}
