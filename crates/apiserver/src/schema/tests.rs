use serde_json::{Value, json};

use super::{ListType, MAX_DEPTH, Schema, Type};

fn compiled(spec: Value) -> Schema {
    let whole = json!({"type": "object", "properties": {"spec": spec, "status": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
    }}});
    match Schema::compile(&whole) {
        Ok(schema) => schema,
        Err(causes) => panic!("{causes:?}"),
    }
}

fn object(properties: Value) -> Schema {
    compiled(json!({"type": "object", "properties": properties}))
}

fn texts(schema: &Schema, spec: Value, old: Option<Value>) -> Vec<String> {
    let old = old.map(|spec| json!({"spec": spec}));
    let causes = schema.validate(&json!({"spec": spec}), old.as_ref());
    causes.iter().map(|cause| cause.to_string()).collect()
}

fn refusals(schema: Value) -> Vec<String> {
    match Schema::compile_at(&schema, "spec.versions[0].schema.openAPIV3Schema") {
        Ok(_) => Vec::new(),
        Err(causes) => causes
            .iter()
            .map(|cause| {
                cause
                    .to_string()
                    .replace("spec.versions[0].schema.openAPIV3Schema", "@")
            })
            .collect(),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn faults_of_values_are_told_with_upstreams_texts() {
    let cases: &[(Value, Value, &[&str])] = &[
        (
            json!({"type": "integer"}),
            json!("string"),
            &[
                r#"spec.a: Invalid value: "string": spec.a in body must be of type integer: "string""#,
            ],
        ),
        (
            json!({"type": "string"}),
            json!(null),
            &[r#"spec.a: Invalid value: "null": spec.a in body must be of type string: "null""#],
        ),
        (
            json!({"type": "string", "nullable": true}),
            json!(null),
            &[],
        ),
        (json!({"type": "integer"}), json!(3.0), &[]),
        (
            json!({"type": "integer"}),
            json!(3.5),
            &[
                r#"spec.a: Invalid value: "number": spec.a in body must be of type integer: "number""#,
            ],
        ),
        (json!({"type": "number"}), json!(3), &[]),
        (
            json!({"type": "integer", "minimum": 0}),
            json!(-1),
            &["spec.a: Invalid value: -1: spec.a in body should be greater than or equal to 0"],
        ),
        (
            json!({"type": "integer", "maximum": 10, "exclusiveMaximum": true}),
            json!(10),
            &["spec.a: Invalid value: 10: spec.a in body should be less than 10"],
        ),
        (
            json!({"type": "integer", "multipleOf": 4}),
            json!(6),
            &["spec.a: Invalid value: 6: spec.a in body should be a multiple of 4"],
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(5_000_000_000_i64),
            &[
                "spec.a: Invalid value: 5000000000: spec.a in body must be of type int32: 5000000000",
            ],
        ),
        (
            json!({"type": "string", "enum": ["red", "blue"]}),
            json!("green"),
            &[r#"spec.a: Unsupported value: "green": supported values: "red", "blue""#],
        ),
        (
            json!({"type": "string", "maxLength": 2, "minLength": 1}),
            json!("abc"),
            &["spec.a: Too long: may not be more than 2 bytes"],
        ),
        (
            json!({"type": "string", "minLength": 1}),
            json!(""),
            &[r#"spec.a: Invalid value: "": spec.a in body should be at least 1 chars long"#],
        ),
        (
            json!({"type": "string", "pattern": "^a$"}),
            json!("b"),
            &[r#"spec.a: Invalid value: "b": spec.a in body should match '^a$'"#],
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("x"),
            &[r#"spec.a: Invalid value: "x": spec.a in body must be of type date-time: "x""#],
        ),
        (
            json!({"type": "array", "maxItems": 1, "items": {"type": "string"}}),
            json!(["a", 2]),
            &[
                "spec.a: Too many: 2: must have at most 1 item",
                r#"spec.a[1]: Invalid value: "integer": spec.a[1] in body must be of type string: "integer""#,
            ],
        ),
        (
            json!({"type": "array", "minItems": 1, "items": {"type": "string"}}),
            json!([]),
            &["spec.a: Invalid value: 0: spec.a in body should have at least 1 items"],
        ),
        (
            json!({"type": "object", "required": ["b"], "properties": {"b": {"type": "string"}}}),
            json!({}),
            &["spec.a.b: Required value"],
        ),
        (
            json!({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}}),
            json!({"x": "y", "z": 1}),
            &[
                "spec.a: Too many: 2: must have at most 1 item",
                r#"spec.a.z: Invalid value: "integer": spec.a.z in body must be of type string: "integer""#,
            ],
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!("50%"),
            &[],
        ),
        (json!({"x-kubernetes-int-or-string": true}), json!(50), &[]),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            json!(true),
            &[
                r#"spec.a: Invalid value: "boolean": spec.a in body must be of type integer,string: "boolean""#,
            ],
        ),
    ];
    for (schema, value, expected) in cases {
        let schema = object(json!({"a": schema}));
        assert_eq!(
            texts(&schema, json!({"a": value}), None),
            *expected,
            "{value}"
        );
    }
}

#[test]
fn combinations_name_their_field_in_the_text() {
    let shape = |rule: Value| {
        let mut schema = json!({"type": "object", "properties": {
            "x": {"type": "string"}, "y": {"type": "string"},
        }});
        schema
            .as_object_mut()
            .unwrap()
            .extend(rule.as_object().unwrap().clone());
        object(json!({"a": schema}))
    };
    let either = json!([{"required": ["x"]}, {"required": ["y"]}]);
    let none = json!({"a": {}});
    let both = json!({"a": {"x": "1", "y": "2"}});
    let cases: &[(Value, &Value, &[&str])] = &[
        (
            json!({"oneOf": either}),
            &none,
            &[
                r#"<nil>: Invalid value: "": "spec.a" must validate one and only one schema (oneOf). Found none valid"#,
                "spec.a.x: Required value",
            ],
        ),
        (
            json!({"oneOf": either}),
            &both,
            &[
                r#"<nil>: Invalid value: "": "spec.a" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            ],
        ),
        (json!({"anyOf": either}), &both, &[]),
        (
            json!({"anyOf": either}),
            &none,
            &[
                r#"<nil>: Invalid value: "": "spec.a" must validate at least one schema (anyOf)"#,
                "spec.a.x: Required value",
            ],
        ),
        (
            json!({"allOf": either}),
            &none,
            &[
                "spec.a.x: Required value",
                "spec.a.y: Required value",
                r#"<nil>: Invalid value: "": "spec.a" must validate all the schemas (allOf)"#,
            ],
        ),
        (
            json!({"not": {"required": ["x"]}}),
            &both,
            &[r#"<nil>: Invalid value: "": "spec.a" must not validate the schema (not)"#],
        ),
    ];
    for (rule, value, expected) in cases {
        assert_eq!(
            texts(&shape(rule.clone()), (*value).clone(), None),
            *expected,
            "{rule}"
        );
    }
}

#[test]
fn duplicates_in_sets_and_keyed_lists_are_named_by_index() {
    let schema = object(json!({
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "value": {"type": "string"},
            }},
        },
    }));
    let value = json!({
        "set": ["a", "b", "a"],
        "map": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}],
    });
    assert_eq!(
        texts(&schema, value, None),
        [
            r#"spec.map[1]: Duplicate value: {"name":"a"}"#,
            r#"spec.set[2]: Duplicate value: "a""#,
        ]
    );
    let map = schema.property("spec").unwrap().property("map").unwrap();
    assert_eq!(
        (map.list_type(), map.list_keys()),
        (ListType::Map, ["name".to_owned()].as_slice())
    );
}

#[test]
fn what_did_not_change_is_not_judged_again() {
    let schema = object(json!({
        "a": {"type": "string", "pattern": "^new"},
        "b": {"type": "string"},
        "list": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "color": {"type": "string", "enum": ["red"]},
            }},
        },
    }));
    let old = json!({"a": "old", "b": "1", "list": [{"name": "x", "color": "green"}]});
    let mut new = old.clone();
    new["b"] = json!("2");
    new["list"] = json!([{"name": "y", "color": "red"}, {"name": "x", "color": "green"}]);
    assert_eq!(
        texts(&schema, new.clone(), Some(old.clone())),
        Vec::<String>::new()
    );
    assert_eq!(texts(&schema, new.clone(), None).len(), 2);
    new["a"] = json!("older");
    assert_eq!(texts(&schema, new, Some(old)).len(), 1);
}

#[test]
fn pruning_keeps_what_the_schema_keeps() {
    let schema = object(json!({
        "known": {"type": "string"},
        "open": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"inner": {"type": "object", "properties": {"a": {"type": "string"}}}},
        },
        "any": {"type": "object", "additionalProperties": true},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {
            "a": {"type": "string"},
        }}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
    }));
    let mut value = json!({
        "apiVersion": "x/v1", "kind": "X",
        "metadata": {"name": "x", "labels": {"a": "b"}, "zzz": 1},
        "zzz": 1,
        "spec": {
            "known": "1", "zzz": 1,
            "open": {"kept": {"deep": 1}, "inner": {"a": "1", "dropped": 2}},
            "any": {"kept": {"deep": 1}},
            "map": {"key": {"a": "1", "dropped": 2}},
            "template": {"kind": "Y", "kept": 1, "metadata": {"name": "y", "dropped": 1}},
            "list": [{"a": "1"}, {"dropped": 2}],
        },
        "status": {"kept": 1},
    });
    let mut unknown = schema.unknown_fields(&value);
    unknown.sort();
    assert_eq!(
        unknown,
        [
            "metadata.zzz",
            "spec.list[1].dropped",
            "spec.map.key.dropped",
            "spec.open.inner.dropped",
            "spec.template.metadata.dropped",
            "spec.zzz",
            "zzz",
        ]
    );
    schema.prune(&mut value);
    assert_eq!(
        value,
        json!({
            "apiVersion": "x/v1", "kind": "X",
            "metadata": {"name": "x", "labels": {"a": "b"}},
            "spec": {
                "known": "1",
                "open": {"kept": {"deep": 1}, "inner": {"a": "1"}},
                "any": {"kept": {"deep": 1}},
                "map": {"key": {"a": "1"}},
                "template": {"kind": "Y", "kept": 1, "metadata": {"name": "y"}},
                "list": [{"a": "1"}, {}],
            },
            "status": {"kept": 1},
        })
    );
}

#[test]
fn defaults_fill_what_is_missing_where_the_parent_exists() {
    let schema = object(json!({
        "image": {"type": "string", "default": "x"},
        "nullable": {"type": "string", "nullable": true, "default": "n"},
        "nested": {"type": "object", "default": {}, "properties": {
            "replicas": {"type": "integer", "default": 1},
        }},
        "absent": {"type": "object", "properties": {"a": {"type": "string", "default": "a"}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {
            "p": {"type": "string", "default": "TCP"},
        }}},
        "map": {"type": "object", "additionalProperties": {"type": "string", "default": "d"}},
    }));
    let mut value = json!({"spec": {
        "image": null, "nullable": null, "list": [{}, {"p": "UDP"}], "map": {"k": null},
    }});
    schema.default(&mut value);
    assert_eq!(
        value,
        json!({"spec": {
            "image": "x", "nullable": null, "nested": {"replicas": 1},
            "list": [{"p": "TCP"}, {"p": "UDP"}], "map": {"k": "d"},
        }})
    );
    let mut without_spec = json!({});
    schema.default(&mut without_spec);
    assert_eq!(without_spec, json!({}));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn schemas_that_are_not_structural_are_refused_rule_by_rule() {
    let cases: &[(Value, &[&str])] = &[
        (
            json!({}),
            &["@.type: Required value: must not be empty at the root"],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            &[r#"@.type: Invalid value: "array": must be object at the root"#],
        ),
        (
            json!({"type": "object", "properties": {"a": {}}}),
            &[
                "@.properties[a].type: Required value: must not be empty for specified object fields",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {}}}}),
            &[
                "@.properties[a].items.type: Required value: must not be empty for specified array items",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array"}}}),
            &["@.properties[a].items: Required value: must be specified"],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "strin"}}}),
            &[
                r#"@.properties[a].type: Unsupported value: "strin": supported values: "array", "boolean", "integer", "number", "object", "string""#,
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"$ref": "#/x"}}}),
            &["@.properties[a].$ref: Forbidden: $ref is not supported"],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "object",
                "properties": {"b": {"type": "string"}}, "additionalProperties": {"type": "string"}}}}),
            &[
                "@.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "anyOf": [{"type": "string"}]}}}),
            &["@.properties[a].anyOf[0].type: Forbidden: must be empty to be structural"],
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"b": {"minimum": 1}}}]}),
            &["@.properties[b]: Required value: because it is defined in @.anyOf[0].properties[b]"],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "default": 5}}}),
            &[
                r#"@.properties[a].default: Invalid value: "integer": @.properties[a].default in body must be of type string: "integer""#,
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object"},
                "x-kubernetes-list-type": "map"}}}),
            &[
                "@.properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object",
                    "properties": {"k": {"type": "string"}}}}}}),
            &[
                "@.properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "object", "x-kubernetes-embedded-resource": true}}}),
            &[
                "@.properties[a].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
            ],
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object",
                "properties": {"labels": {"type": "object"}}}}}),
            &[
                "@.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            &[
                r#"@.properties[a].pattern: Invalid value: "(": must be a valid regular expression, but isn't: error: unclosed group"#,
            ],
        ),
    ];
    for (schema, expected) in cases {
        assert_eq!(refusals(schema.clone()), *expected, "{schema}");
    }
}

#[test]
fn a_cel_rule_is_refused_by_name_and_never_skipped() {
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object", "x-kubernetes-validations": [{"rule": "self.a > 1"}],
    }}});
    let refused = refusals(schema);
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].starts_with(
            "@.properties[spec].x-kubernetes-validations: Forbidden: CEL validation rules are \
             not served yet"
        ),
        "{refused:?}"
    );
}

#[test]
fn an_embedded_resource_says_what_it_is() {
    let schema = object(
        json!({"a": {"type": "object", "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true}}),
    );
    assert_eq!(
        texts(&schema, json!({"a": {"kind": "X"}}), None),
        ["spec.a.apiVersion: Required value: must not be empty",]
    );
    let whole = json!({"a": {"kind": "X", "apiVersion": "v1"}});
    assert_eq!(texts(&schema, whole, None), Vec::<String>::new());
}

#[test]
fn a_default_may_rely_on_defaults_inside_it() {
    let schema = json!({"type": "object", "properties": {"a": {
        "type": "object", "default": {}, "required": ["b"],
        "properties": {"b": {"type": "string", "default": "x"}},
    }}});
    assert_eq!(refusals(schema), Vec::<String>::new());
}

#[test]
fn rules_for_metadata_name_hold() {
    let schema = Schema::compile(&json!({"type": "object", "properties": {"metadata": {
        "type": "object", "properties": {"name": {"type": "string", "maxLength": 3}},
    }}}))
    .unwrap();
    let causes = schema.validate(
        &json!({"metadata": {"name": "abcd", "labels": {"a": "b"}}}),
        None,
    );
    assert_eq!(causes.len(), 1);
    assert_eq!(causes[0].field, "metadata.name");
    let metadata = schema.property("metadata").unwrap();
    assert_eq!(
        metadata.property("labels").unwrap().value_type(),
        Some(Type::Object)
    );
}

#[test]
fn a_schema_may_nest_only_so_deep() {
    let mut schema = json!({"type": "string"});
    for _ in 0..MAX_DEPTH {
        schema = json!({"type": "object", "properties": {"a": schema}});
    }
    let causes = Schema::compile(&schema).unwrap_err();
    assert!(
        causes
            .iter()
            .any(|cause| cause.message.contains("must not nest deeper"))
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(
                    "[a-f]|spec|metadata|labels|name|containers",
                    inner,
                    0..6
                )
                .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    fn schemas() -> Vec<Schema> {
        let spec = json!({"type": "object", "properties": {
            "a": {"type": "string", "default": "a", "pattern": "^a"},
            "b": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
                "items": {"type": "object", "required": ["a"], "properties": {
                    "a": {"type": "string"}, "b": {"type": "integer", "default": 3, "minimum": 2}}}},
            "c": {"type": "object", "default": {}, "additionalProperties": {"type": "integer", "nullable": true}},
            "d": {"x-kubernetes-int-or-string": true},
            "e": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "a": {"type": "object", "properties": {"b": {"type": "boolean", "default": true}}}}},
            "f": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true},
        }, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]});
        let pod = crate::builtin_schema::schema("", "v1", "Pod").unwrap();
        let crd =
            crate::builtin_schema::schema("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        vec![compiled(spec), pod, crd.unwrap()]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn what_is_pruned_has_no_unknown_field(value in any_json()) {
            for schema in schemas() {
                let mut value = value.clone();
                schema.prune(&mut value);
                prop_assert_eq!(schema.unknown_fields(&value), Vec::<String>::new());
                let once = value.clone();
                schema.prune(&mut value);
                prop_assert_eq!(once, value);
            }
        }

        #[test]
        fn defaulting_twice_is_defaulting_once(value in any_json()) {
            for schema in schemas() {
                let mut value = value.clone();
                schema.default(&mut value);
                let once = value.clone();
                schema.default(&mut value);
                prop_assert_eq!(once, value);
            }
        }

        #[test]
        fn judging_never_panics_and_an_unchanged_object_passes(value in any_json(), old in any_json()) {
            for schema in schemas() {
                schema.validate(&value, Some(&old));
                prop_assert!(schema.validate(&value, Some(&value)).is_empty());
            }
        }

        #[test]
        fn compiling_anything_never_panics(value in any_json()) {
            let _ = Schema::compile(&value);
        }
    }
}
