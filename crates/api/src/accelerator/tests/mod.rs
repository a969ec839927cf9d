//! The policy against a plain statement of its rules: every combination by construction, and what must
//! hold for any input at all.

mod places;
mod properties;
mod rows;
mod rules;

use super::Accelerator;
use crate::virtual_machine::VirtualMachine;

#[test]
fn a_machine_insists_by_its_template_else_by_its_own_annotation() {
    let machine = |own: Option<&str>, template: Option<&str>| -> VirtualMachine {
        let annotated = |value: Option<&str>| match value {
            Some(value) => serde_json::json!({"annotations": {"anyvirt.io/accelerator": value}}),
            None => serde_json::json!({}),
        };
        serde_json::from_value(serde_json::json!({
            "metadata": annotated(own),
            "spec": {"template": {"metadata": annotated(template), "spec": {"domain": {"devices": {}}}}},
        }))
        .unwrap()
    };
    const OWN: &str = "/metadata/annotations/anyvirt.io~1accelerator";
    const TEMPLATE: &str = "/spec/template/metadata/annotations/anyvirt.io~1accelerator";
    for (own, template, expected) in [
        (None, None, None),
        (Some("kvm"), None, Some((Some(Accelerator::Kvm), OWN))),
        (None, Some("tcg"), Some((Some(Accelerator::Tcg), TEMPLATE))),
        (
            Some("kvm"),
            Some("tcg"),
            Some((Some(Accelerator::Tcg), TEMPLATE)),
        ),
        (Some("xen"), None, Some((None, OWN))),
    ] {
        let machine = machine(own, template);
        let found = machine.forced_accelerator();
        assert_eq!(found.map(|it| (it.accelerator(), it.pointer)), expected);
        if let Some(found) = found {
            // The pointer leads to the value.
            let object = serde_json::to_value(&machine).unwrap();
            assert_eq!(object.pointer(found.pointer), Some(&found.value.into()));
        }
    }
}
