//! Tables: names, bounds, strategies.

use serde_json::{Value, json};

use super::*;

fn spec(change: Value) -> VirtualMachinePoolSpec {
    let mut spec = json!({ "selector": {}, "virtualMachineTemplate": { "spec": {} } });
    spec.as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

#[test]
fn a_machines_name_tells_its_pool_and_its_index_and_no_other_name_does() {
    for (name, told) in [
        ("web-0", Some(("web", 0))),
        ("web-1-12", Some(("web-1", 12))),
        ("web-01", None),
        ("web-", None),
        ("-1", None),
        ("web", None),
        ("web-1a", None),
        ("web-+1", None),
        ("web-99999999999999999999999", None),
    ] {
        assert_eq!(pool_and_index(name), told, "{name}");
        if let Some((pool, index)) = told {
            assert_eq!(machine_name(pool, index), name);
        }
    }
}

#[test]
fn so_many_machines_may_be_unavailable_but_never_none() {
    for (replicas, written, most) in [
        (json!(10), json!(null), 10),
        (json!(null), json!(null), 1),
        (json!(10), json!(3), 3),
        (json!(10), json!(0), 1),
        (json!(10), json!("25%"), 2),
        (json!(10), json!("0%"), 1),
        (json!(10), json!("100%"), 10),
        (json!(0), json!("100%"), 1),
        (json!(10), json!("all"), 1),
    ] {
        let spec = spec(json!({ "replicas": replicas, "maxUnavailable": written }));
        assert_eq!(spec.max_unavailable(), most, "{replicas} {written}");
    }
    for wrong in ["%", "+5%", "101%", "5", "-1%", " 5%", ""] {
        let written = IntOrString::String(wrong.to_owned());
        assert_eq!(Unavailable::read(&written), None, "{wrong}");
    }
    assert_eq!(Unavailable::read(&IntOrString::Int(-1)), None);
}

#[test]
fn a_pool_deletes_and_restarts_unless_it_says_otherwise() {
    use SortPolicy::{Newest, Random};
    let newest = json!({ "proactive": { "selectionPolicy": { "sortPolicy": "Newest" } } });
    for (strategy, scale_in) in [
        (json!(null), ScaleIn::Pool(Random)),
        (json!({ "unmanaged": {} }), ScaleIn::Others),
        (json!({ "opportunistic": {} }), ScaleIn::Others),
        (json!({ "proactive": {} }), ScaleIn::Pool(Random)),
        (newest.clone(), ScaleIn::Pool(Newest)),
    ] {
        let spec = spec(json!({ "scaleInStrategy": strategy }));
        assert_eq!(spec.scale_in(), scale_in, "{strategy}");
    }
    for (strategy, update) in [
        (json!(null), Update::Restart(Random)),
        (json!({ "unmanaged": {} }), Update::Nothing),
        (json!({ "opportunistic": {} }), Update::Change),
        (newest, Update::Restart(Newest)),
    ] {
        let spec = spec(json!({ "updateStrategy": strategy }));
        assert_eq!(spec.update(), update, "{strategy}");
    }
}
