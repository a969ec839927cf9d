//! The rules once more, as a person would say them, sharing no code with what they are compared to.

/// What a place of the cluster's policy says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Says {
    Nothing,
    /// A worst way: 0 None, 1 Hardware, 2 Software.
    Way(u8),
    Nonsense,
}

/// Strongest first: the first place that says something decides; nonsense keeps what was in force before
/// the nonsense, and if nothing is known of that, the next place is asked. Way and place; no place is the
/// default, and `places.len()` stands for "what was before".
pub(super) fn cluster(places: &[Says], before: Option<u8>) -> (u8, Option<usize>) {
    for (at, says) in places.iter().enumerate() {
        match (says, before) {
            (Says::Way(way), _) => return (*way, Some(at)),
            (Says::Nonsense, Some(way)) => return (way, Some(places.len())),
            (Says::Nonsense, None) | (Says::Nothing, _) => {}
        }
    }
    (0, None)
}

/// A cap on a Namespace or Node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Label {
    Absent,
    Way(u8),
    Unreadable,
}

/// The guest's architecture on the node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Native,
    ForeignWithEmulator,
    ForeignWithout,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) cluster: u8,
    pub(super) machine: Option<u8>,
    pub(super) namespace: Label,
    pub(super) node: Label,
    pub(super) forced: Option<&'static str>,
    pub(super) works: bool,
    pub(super) device: bool,
    pub(super) kind: Kind,
}

/// What a row must come to: `KVM`, `TCG`, or nothing and why.
pub(super) fn outcome(row: &Row) -> Result<&'static str, &'static str> {
    let lets = |label: Label| match label {
        Label::Absent => true,
        Label::Way(way) => way == 2,
        Label::Unreadable => false,
    };
    let own = match row.machine {
        Some(way) => way,
        None => row.cluster,
    };
    let emulation_is_permitted = own == 2 && lets(row.namespace) && lets(row.node);
    let emulator = row.kind != Kind::ForeignWithout;
    let native = row.kind == Kind::Native;
    if row.forced == Some("kvm") {
        // Never emulated, and never stepped down; the verdict does not matter, only the device.
        if !native {
            return Err("ForeignArchitecture");
        }
        return if row.device || row.works {
            Ok("KVM")
        } else {
            Err("DeviceMissing")
        };
    }
    if row.forced == Some("tcg") {
        // It asks, it does not permit.
        return match (emulation_is_permitted, emulator) {
            (true, true) => Ok("TCG"),
            (true, false) => Err("EmulatorMissing"),
            (false, _) => Err("EmulationNotPermitted"),
        };
    }
    // The best that works.
    if native && row.works {
        return Ok("KVM");
    }
    match (emulation_is_permitted, emulator) {
        (true, true) => Ok("TCG"),
        (true, false) => Err("EmulatorMissing"),
        (false, _) if native => Err("HardwareVirtualizationUnusable"),
        (false, _) => Err("EmulationNotPermitted"),
    }
}

/// Who decided: the strictest word; of two equal ones the one nearer to the guest's owner.
pub(super) fn decider(row: &Row) -> (&'static str, u8) {
    let strictness = |label: Label| match label {
        Label::Absent => None,
        Label::Way(way) => Some(way),
        Label::Unreadable => Some(0),
    };
    let mut words = vec![match row.machine {
        Some(way) => ("machine", way),
        None => ("cluster", row.cluster),
    }];
    words.extend(strictness(row.namespace).map(|way| ("Namespace ns", way)));
    words.extend(strictness(row.node).map(|way| ("Node n1", way)));
    let strictest = words.iter().map(|(_, way)| *way).min().unwrap();
    *words.iter().find(|(_, way)| *way == strictest).unwrap()
}
