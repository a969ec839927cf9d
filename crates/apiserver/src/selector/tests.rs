use serde_json::json;

use super::*;
use crate::resource_type::{
    GenerationRule, NameRule, Names, Origin, ResourceType, SelectableField, Strategy,
};

#[test]
fn label_operators_agree_with_the_truth_table() {
    let none = json!({"metadata": {}});
    let b = json!({"metadata": {"labels": {"a": "b", "n": "5"}}});
    let c = json!({"metadata": {"labels": {"a": "c", "n": "x", "app.io/x": "y"}}});
    // Selector, then whether it matches: no labels, a=b n=5, a=c n=x.
    let cases: &[(&str, [bool; 3])] = &[
        ("", [true, true, true]),
        ("a=b", [false, true, false]),
        ("a==b", [false, true, false]),
        ("a!=b", [true, false, true]),
        ("a in (b,c)", [false, true, true]),
        ("a in ( b )", [false, true, false]),
        ("a notin (b)", [true, false, true]),
        ("a", [false, true, true]),
        ("!a", [true, false, false]),
        ("n>4", [false, true, false]),
        ("n<4", [false, false, false]),
        ("n>5", [false, false, false]),
        ("a=c,n", [false, false, true]),
        ("a, !app.io/x", [false, true, false]),
        ("a=", [false, false, false]),
        ("in=in", [false, false, false]),
        ("a in (,b)", [false, true, false]),
    ];
    for (text, expected) in cases {
        let selector = LabelSelector::parse(text).unwrap();
        let actual = [&none, &b, &c].map(|object| selector.matches(object));
        assert_eq!(actual, *expected, "{text}");
    }
}

#[test]
fn broken_label_selectors_get_upstreams_text() {
    let cases = [
        (
            "a in b",
            "unable to parse requirement: found 'b' expected: '('",
        ),
        (
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        (
            "=a",
            "found '=', expected: !, identifier, or 'end of string'",
        ),
        (
            "a in (b",
            "unable to parse requirement: found '', expected: ',', ')' or identifier",
        ),
        (
            "!",
            "unable to parse requirement: found '', expected: identifier",
        ),
        (
            "a>x",
            "unable to parse requirement: values[0][a]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ];
    for (text, expected) in cases {
        let status = LabelSelector::parse(text).unwrap_err();
        assert_eq!(
            (status.code, status.message.as_str()),
            (400, expected),
            "{text}"
        );
    }
    for text in ["-a=b", "a=-b", "A.io/b=c/d", "UPPER/b=c"] {
        let message = LabelSelector::parse(text).unwrap_err().message;
        assert!(
            message.starts_with("unable to parse requirement: "),
            "{message}"
        );
        assert!(message.contains("regex used for validation"), "{message}");
    }
}

fn resource(origin: Origin, fields: &[(&str, &str, &str)]) -> ResourceType {
    ResourceType {
        group: String::new(),
        version: "v1".to_owned(),
        names: Names::default(),
        namespaced: true,
        origin,
        open_api_schema: std::sync::Arc::new(json!({})),
        strategy: Strategy {
            status: false,
            scale: None,
            unconditional_update: true,
            create_on_update: false,
            graceful_delete: false,
            generation: GenerationRule::None,
            name_rule: NameRule::Subdomain,
        },
        columns: Vec::new(),
        selectable_fields: fields
            .iter()
            .map(|(name, path, missing)| SelectableField {
                name: (*name).to_owned(),
                json_path: (*path).to_owned(),
                missing: (*missing).to_owned(),
            })
            .collect(),
        verbs: Vec::new(),
        deprecation_warning: None,
    }
}

#[test]
fn fields_are_compared_as_text() {
    let resource = resource(
        Origin::BuiltIn,
        &[
            ("status.phase", ".status.phase", ""),
            ("spec.unschedulable", ".spec.unschedulable", "false"),
        ],
    );
    let object = json!({"metadata": {"name": "a,b"}, "status": {"phase": "Running"}});
    let cases = [
        ("", true),
        ("status.phase=Running", true),
        ("status.phase==Running", true),
        ("status.phase!=Running", false),
        ("status.phase!=Failed,spec.unschedulable=false", true),
        ("spec.unschedulable=true", false),
        (r"metadata.name=a\,b", true),
        ("metadata.namespace=", true),
    ];
    for (text, expected) in cases {
        let selector = FieldSelector::parse(text, &resource).unwrap();
        assert_eq!(selector.matches(&object), expected, "{text}");
    }
    let by_name = FieldSelector::parse("metadata.name=x", &resource).unwrap();
    assert_eq!(by_name.exact_name(), Some("x"));
    let not_by_name = FieldSelector::parse("metadata.name!=x", &resource).unwrap();
    assert_eq!(not_by_name.exact_name(), None);
}

#[test]
fn unknown_fields_and_broken_terms_are_refused_with_upstreams_text() {
    let plain = resource(Origin::BuiltIn, &[]);
    let pod = resource(Origin::BuiltIn, &[("status.phase", ".status.phase", "")]);
    let custom = resource(Origin::CustomResource, &[]);
    let cases = [
        (
            &plain,
            "data.x=1",
            "\"data.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
        (&pod, "spec.x=1", "field label not supported: spec.x"),
        (&custom, "spec.x=1", "field label not supported: spec.x"),
        (
            &pod,
            "nonsense",
            "invalid selector: 'nonsense'; can't understand 'nonsense'",
        ),
    ];
    for (resource, text, expected) in cases {
        let status = FieldSelector::parse(text, resource).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (400, expected));
    }
}

proptest::proptest! {
    #[test]
    fn parsing_never_panics(text in r"[a-c=!<>(), \\.]{0,16}") {
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text, &resource(Origin::BuiltIn, &[]));
    }
}
