use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::decode;

/// Bytes of one field: `number`, wire type 2.
fn bytes(number: u32, payload: &[u8]) -> Vec<u8> {
    let mut field = varint(u64::from(number) << 3 | 2);
    field.extend(varint(payload.len() as u64));
    field.extend(payload);
    field
}

/// Bytes of one field: `number`, wire type 0.
fn number(number: u32, value: i64) -> Vec<u8> {
    let mut field = varint(u64::from(number) << 3);
    field.extend(varint(value.cast_unsigned()));
    field
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn frame(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let names = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [
        b"k8s\0".to_vec(),
        bytes(1, &names),
        bytes(2, raw),
        bytes(3, b""),
        bytes(4, b""),
    ]
    .concat()
}

fn decoded(api_version: &str, kind: &str, raw: &[&[u8]]) -> Value {
    let decoded =
        decode(&frame(api_version, kind, &raw.concat())).expect("the body is well formed");
    assert_eq!(
        (decoded.api_version.as_str(), decoded.kind.as_str()),
        (api_version, kind)
    );
    decoded.object
}

#[test]
fn bodies_recorded_from_kubectl_become_their_json() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/protobuf");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder of recorded bodies") {
        let path = entry.expect("an entry of that folder").path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let body = std::fs::read(&path).expect("a recorded body");
        let expected = std::fs::read(path.with_extension("json")).expect("its JSON beside it");
        let expected: Value = serde_json::from_slice(&expected).expect("JSON");
        let object = decode(&body).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(object.object, expected, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} recorded bodies were found");
}

#[test]
fn a_pod_keeps_what_was_said_and_drops_what_go_leaves_out() {
    let port = [
        bytes(1, b""),
        number(2, 0),
        number(3, 80),
        bytes(4, b"TCP"),
        bytes(5, b""),
    ]
    .concat();
    let limits = [bytes(1, b"cpu"), bytes(2, &bytes(1, b"500m"))].concat();
    let get = [
        bytes(1, b"/healthz"),
        bytes(2, &[number(1, 1), number(2, 0), bytes(3, b"web")].concat()),
    ];
    let probe = [
        bytes(1, &bytes(2, &get.concat())),
        number(2, 0),
        number(3, 7),
    ]
    .concat();
    let container = [
        bytes(1, b"main"),
        bytes(2, b""),
        bytes(6, &port),
        bytes(8, &bytes(1, &limits)),
        bytes(10, &probe),
        number(16, 0),
    ];
    let volume = [
        bytes(1, b"scratch"),
        bytes(2, &bytes(2, &bytes(1, b"Memory"))),
    ]
    .concat();
    let spec = [
        bytes(1, &volume),
        bytes(2, &container.concat()),
        bytes(3, b"Always"),
        number(4, 0),
        number(11, 0),
        number(21, 0),
        bytes(7, &[bytes(1, b"disk"), bytes(2, b"ssd")].concat()),
    ];
    let metadata = [
        bytes(1, b"web"),
        bytes(3, b"default"),
        number(7, 0),
        bytes(8, b""),
        bytes(9, &[number(1, 1_743_984_000), number(2, 0)].concat()),
        number(10, 0),
        bytes(14, b"example.io/hold"),
    ];
    let pod = decoded(
        "v1",
        "Pod",
        &[
            &bytes(1, &metadata.concat()),
            &bytes(2, &spec.concat()),
            &bytes(3, b""),
            &bytes(99, b"a field of the future"),
        ],
    );
    assert_eq!(
        pod,
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "web", "namespace": "default", "deletionTimestamp": "2025-04-07T00:00:00Z",
                "deletionGracePeriodSeconds": 0, "finalizers": ["example.io/hold"],
            },
            "spec": {
                "volumes": [{"name": "scratch", "emptyDir": {"medium": "Memory"}}],
                "containers": [{
                    "name": "main",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "500m"}},
                    "livenessProbe": {"httpGet": {"path": "/healthz", "port": "web"}, "timeoutSeconds": 7},
                }],
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "nodeSelector": {"disk": "ssd"},
            },
            "status": {},
        })
    );
}

#[test]
fn delete_options_are_read_in_every_version() {
    let raw = [
        number(1, 0),
        bytes(2, &bytes(1, b"u-1")),
        bytes(4, b"Foreground"),
        bytes(5, b"All"),
    ];
    for version in ["v1", "policy/v1", "kubevirt.io/v1"] {
        assert_eq!(
            decoded(version, "DeleteOptions", &[&raw.concat()]),
            json!({
                "apiVersion": version, "kind": "DeleteOptions", "gracePeriodSeconds": 0,
                "preconditions": {"uid": "u-1"}, "propagationPolicy": "Foreground", "dryRun": ["All"],
            })
        );
    }
}

#[test]
fn a_custom_resource_definition_keeps_its_schema_unions() {
    let text = bytes(5, b"string");
    let closed = bytes(30, &[number(1, 0), Vec::new()].concat());
    let open = bytes(30, &[number(1, 1), bytes(2, &text)].concat());
    let list = [
        bytes(5, b"array"),
        bytes(24, &bytes(1, &text)),
        number(17, 0),
    ]
    .concat();
    let entry = |name: &str, schema: &[u8]| {
        bytes(29, &[bytes(1, name.as_bytes()), bytes(2, schema)].concat())
    };
    let mut minimum = varint(11 << 3 | 1);
    minimum.extend(1.5_f64.to_le_bytes());
    let schema = [
        bytes(5, b"object"),
        entry("closed", &closed),
        entry("open", &open),
        entry("list", &list),
        entry(
            "number",
            &[
                minimum,
                bytes(8, &bytes(1, b"{\"a\":[1]}")),
                bytes(20, &bytes(1, b"3")),
            ]
            .concat(),
        ),
        number(37, 0),
        number(38, 1),
    ];
    let version = [
        bytes(1, b"v1"),
        number(2, 1),
        number(3, 0),
        bytes(4, &bytes(1, &schema.concat())),
        bytes(5, &bytes(1, b"")),
    ];
    let object = decoded(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &[&bytes(2, &bytes(7, &version.concat()))],
    );
    assert_eq!(
        object["spec"]["versions"][0],
        json!({
            "name": "v1", "served": true, "storage": false,
            "schema": {"openAPIV3Schema": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
                "properties": {
                    "closed": {"additionalProperties": false},
                    "open": {"additionalProperties": {"type": "string"}},
                    "list": {"type": "array", "items": {"type": "string"}, "minItems": 0},
                    "number": {"minimum": 1.5, "default": {"a": [1]}, "enum": [3]},
                },
            }},
            "subresources": {"status": {}},
        })
    );
}

#[test]
fn managed_fields_come_through_as_json() {
    let entry = [
        bytes(1, b"m"),
        bytes(4, &[number(1, 0), number(2, 0)].concat()),
        bytes(7, &bytes(1, b"{\"f:data\":{}}")),
    ];
    let object = decoded("v1", "ConfigMap", &[&bytes(1, &bytes(17, &entry.concat()))]);
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{"manager": "m", "time": "1970-01-01T00:00:00Z", "fieldsV1": {"f:data": {}}}])
    );
}

#[test]
fn event_times_have_microseconds_and_may_be_absent() {
    let metadata = bytes(1, &bytes(1, b"e"));
    let moment = [number(1, 1_743_984_000), number(2, 5_000)].concat();
    let object = decoded(
        "events.k8s.io/v1",
        "Event",
        &[&metadata, &bytes(2, &moment)],
    );
    assert_eq!(object["eventTime"], json!("2025-04-07T00:00:00.000005Z"));
    let object = decoded("events.k8s.io/v1", "Event", &[&metadata, &bytes(2, b"")]);
    assert_eq!(object.get("eventTime"), None);
}

#[test]
fn a_refusal_names_the_cause_and_the_field() {
    let nested =
        |depth: usize| (0..depth).fold(bytes(5, b"object"), |schema, _| bytes(28, &schema));
    let schema = |schema: &[u8]| {
        let version = bytes(7, &bytes(4, &bytes(1, schema)));
        frame(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            &bytes(2, &version),
        )
    };
    assert!(
        decode(&schema(&nested(60))).is_ok(),
        "real schemas nest less than this"
    );
    let many = bytes(13, b"").repeat(600_000);
    for (body, expected) in [
        (b"{}".to_vec(), "does not start with"),
        (
            frame("apps/v1", "Deployment", b""),
            "no kind \"Deployment\"",
        ),
        (
            frame("v1", "ConfigMap", &[0x0a, 0x20]),
            "ends in the middle",
        ),
        (
            frame("v1", "ConfigMap", &bytes(1, &number(1, 3))),
            ".metadata.name: the wire type",
        ),
        (
            frame("v1", "ConfigMap", &bytes(1, &bytes(1, b"\xff"))),
            ".metadata.name: is not UTF-8",
        ),
        (schema(&nested(200)), "nests deeper than 128"),
        (
            frame("v1", "ConfigMap", &bytes(1, &many)),
            "more than 500000 values",
        ),
    ] {
        let error = decode(&body).expect_err("must be refused");
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn every_table_has_each_number_and_each_name_once() {
    for (_, _, message) in super::table::KINDS {
        message.check();
    }
    for (_, message) in super::table::KINDS_OF_EVERY_VERSION {
        message.check();
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(kind in 0..super::table::KINDS.len(), raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (api_version, kind, _) = super::table::KINDS[kind];
        let _ = decode(&frame(api_version, kind, &raw));
        let _ = decode(&raw);
        let _ = decode(&[b"k8s\0", &raw[..]].concat());
    }

    #[test]
    fn a_recorded_body_with_changed_bytes_never_panics(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let mut body = include_bytes!("../../tests/golden/protobuf/create-configmap.bin").to_vec();
        for (place, value) in changes {
            let place = place % body.len();
            body[place] = value;
        }
        let _ = decode(&body);
    }
}
