//! Tables: durations, rings, patches.

use std::time::Duration;

use serde_json::json;

use super::*;

#[test]
fn durations_are_read_as_go_writes_them() {
    for (text, milliseconds) in [
        ("5m0s", Some(300_000)),
        ("0", Some(0)),
        ("0s", Some(0)),
        ("1h2m3.5s", Some(3_723_500)),
        ("300ms", Some(300)),
        ("1.5h", Some(5_400_000)),
        ("", None),
        ("5", None),
        ("-5m", None),
        ("5x", None),
        ("m", None),
        ("1..5s", None),
        ("99999h", None),
    ] {
        let expected = milliseconds.map(Duration::from_millis);
        assert_eq!(parse_duration(text), expected, "{text}");
    }
}

#[test]
fn a_snapshot_may_take_five_minutes_unless_it_says_otherwise() {
    let deadline = |text: Option<&str>| {
        let spec = VirtualMachineSnapshotSpec {
            failure_deadline: text.map(str::to_owned),
            ..Default::default()
        };
        spec.deadline().map(|it| it.as_secs())
    };
    assert_eq!(deadline(None), Some(300));
    assert_eq!(deadline(Some("1m30s")), Some(90));
    assert_eq!(deadline(Some("0")), None);
    assert_eq!(deadline(Some("0s")), None);
}

#[test]
fn a_ring_is_written_exactly_or_refused_with_what_is_wrong() {
    let asked = |text: &str| {
        let name = crate::names::annotations::SNAPSHOT_RING.to_owned();
        ring::asked(&[(name, text.to_owned())].into())
    };
    let ring = |seconds, keep| {
        Some(ring::Ring {
            every: Duration::from_secs(seconds),
            keep,
        })
    };
    assert_eq!(asked("every=1m,keep=5"), Ok(ring(60, 5)));
    assert_eq!(asked("keep=1, every=1h30m"), Ok(ring(5400, 1)));
    assert_eq!(ring::asked(&Default::default()), Ok(None));
    for (text, said) in [
        ("", "no NAME=VALUE"),
        ("every=1m", "keep is missing"),
        ("keep=5", "every is missing"),
        ("every=1s,keep=5", "from 10s to 24h"),
        ("every=25h,keep=5", "from 10s to 24h"),
        ("every=1m,keep=0", "from 1 to 60"),
        ("every=1m,keep=61", "from 1 to 60"),
        ("every=1m,keep=5,keep=6", "twice"),
        ("every=1m,keep=5,x=1", "neither every nor keep"),
    ] {
        let error = asked(text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn patches_change_only_what_they_may() {
    let machine = json!({ "metadata": { "name": "a", "labels": { "x": "1" } },
        "spec": { "runStrategy": "Always" } });
    let apply = |patch: serde_json::Value| patches::apply(&machine, &[patch.to_string()]);
    let halted = json!({ "op": "replace", "path": "/spec/runStrategy", "value": "Halted" });
    assert_eq!(apply(halted).unwrap()["spec"]["runStrategy"], "Halted");
    let labelled = json!({ "op": "add", "path": "/metadata/labels/y", "value": "2" });
    assert_eq!(apply(labelled).unwrap()["metadata"]["labels"]["y"], "2");
    for (patch, said) in [
        (
            json!({ "op": "replace", "path": "/metadata/name", "value": "b" }),
            "only for elements under /spec/",
        ),
        (
            json!({ "op": "replace", "path": "/specific", "value": "b" }),
            "only for elements under /spec/",
        ),
        (
            json!({ "op": "replace", "path": "/spec/nothing", "value": "b" }),
            "does not apply",
        ),
        (
            json!({ "op": "test", "path": "/spec/runStrategy", "value": "Manual" }),
            "does not apply",
        ),
        (
            json!({ "op": "copy", "from": "/spec", "path": "/spec/copy" }),
            "move and copy are not served",
        ),
        (
            json!({ "op": "conjure", "path": "/spec/x" }),
            "no operation",
        ),
    ] {
        let error = apply(patch.clone()).unwrap_err();
        assert!(error.contains(said), "{patch}: {error}");
    }
}
