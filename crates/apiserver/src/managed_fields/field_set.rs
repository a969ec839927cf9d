//! Sets of fields of an object: what one manager owns, what one write changed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element::Element;

/// A set of paths, as a tree. The tree's root is the object; a node without members in or below it is never kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether the path to this node is in the set itself.
    pub member: bool,
    /// What of the set is below.
    pub children: BTreeMap<Element, FieldSet>,
}

impl FieldSet {
    /// The set with only the path of this node.
    pub fn leaf() -> FieldSet {
        FieldSet {
            member: true,
            children: BTreeMap::new(),
        }
    }

    /// Whether no path is in the set.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Adds what `below` has under `element`, merging with what is there.
    pub fn attach(&mut self, element: Element, below: FieldSet) {
        if !below.is_empty() {
            self.children.entry(element).or_default().extend(below);
        }
    }

    /// Adds every path of `other`.
    pub fn extend(&mut self, other: FieldSet) {
        self.member |= other.member;
        for (element, child) in other.children {
            self.children.entry(element).or_default().extend(child);
        }
    }

    /// The paths in either set.
    #[must_use]
    pub fn union(mut self, other: &FieldSet) -> FieldSet {
        self.extend(other.clone());
        self
    }

    /// The paths that are not in `other`. A path in `other` takes nothing below it away.
    #[must_use]
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        let children = self.children.iter().filter_map(|(element, child)| {
            let left = match other.children.get(element) {
                Some(other) => child.difference(other),
                None => child.clone(),
            };
            (!left.is_empty()).then(|| (element.clone(), left))
        });
        FieldSet {
            member: self.member && !other.member,
            children: children.collect(),
        }
    }

    /// The paths in both sets.
    #[must_use]
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let children = self.children.iter().filter_map(|(element, child)| {
            let both = child.intersection(other.children.get(element)?);
            (!both.is_empty()).then(|| (element.clone(), both))
        });
        FieldSet {
            member: self.member && other.member,
            children: children.collect(),
        }
    }

    /// The node at `path` of field names, if anything is in or below it.
    pub fn at_fields(&self, path: &[&str]) -> Option<&FieldSet> {
        path.iter().try_fold(self, |node, name| {
            node.children.get(&Element::Field((*name).to_owned()))
        })
    }

    /// Every path: at each level first the members, then what is below, as upstream lists conflicts.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut Vec<Element>, paths: &mut Vec<Vec<Element>>) {
        for (element, _) in self.children.iter().filter(|(_, child)| child.member) {
            paths.push(prefix.iter().cloned().chain([element.clone()]).collect());
        }
        for (element, child) in &self.children {
            prefix.push(element.clone());
            child.collect(prefix, paths);
            prefix.pop();
        }
    }

    /// The JSON of `fieldsV1`.
    pub fn encode(&self) -> Value {
        let children = self.children.iter().map(|(element, child)| {
            let mut below = child.encode();
            if let (true, false, Value::Object(map)) =
                (child.member, child.children.is_empty(), &mut below)
            {
                map.insert(".".to_owned(), Value::Object(Map::new()));
            }
            (element.encode(), below)
        });
        Value::Object(children.collect())
    }

    /// The set that `fieldsV1` writes, or what is wrong with it.
    pub fn decode(value: &Value) -> Result<FieldSet, String> {
        let Value::Object(map) = value else {
            return Err(format!("fieldsV1 holds {value} where an object must be"));
        };
        let mut set = FieldSet::default();
        for (name, below) in map {
            if name == "." {
                set.member = true;
                continue;
            }
            let mut child = FieldSet::decode(below)?;
            child.member |= child.children.is_empty();
            set.attach(Element::parse(name)?, child);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn set(value: &Value) -> FieldSet {
        FieldSet::decode(value).expect("well formed")
    }

    #[test]
    fn fields_v1_is_read_and_written() {
        let value = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:list": {"k:{\"name\":\"a\",\"port\":80}": {".": {}, "f:x": {}}}, "f:set": {"v:\"s\"": {}, "v:1": {}}},
        });
        assert_eq!(set(&value).encode(), value);
    }

    #[test]
    fn keys_are_the_same_whatever_order_they_are_written_in() {
        let left = Element::parse(r#"k:{"b":1,"a":"x"}"#).expect("well formed");
        assert_eq!(
            left,
            Element::parse(r#"k:{"a": "x", "b": 1}"#).expect("well formed")
        );
        assert_eq!(left.to_string(), r#"[a="x",b=1]"#);
    }

    #[test]
    fn malformed_sets_are_refused() {
        for value in [
            json!([]),
            json!({"f:a": 1}),
            json!({"x:a": {}}),
            json!({"a": {}}),
            json!({"k:[]": {}}),
            json!({"v:{": {}}),
            json!({"i:x": {}}),
        ] {
            assert!(FieldSet::decode(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_difference_takes_single_paths() {
        let left = set(&json!({"f:a": {".": {}, "f:b": {}}}));
        assert_eq!(
            left.difference(&set(&json!({"f:a": {}}))),
            set(&json!({"f:a": {"f:b": {}}}))
        );
        assert_eq!(
            left.difference(&set(&json!({"f:a": {"f:b": {}}}))),
            set(&json!({"f:a": {}}))
        );
    }

    #[test]
    fn members_are_listed_before_what_is_below() {
        let texts: Vec<String> = set(&json!({"f:b": {"f:c": {}}, "f:z": {}}))
            .paths()
            .iter()
            .map(|path| super::super::element::path_text(path))
            .collect();
        assert_eq!(texts, [".z", ".b.c"]);
    }

    fn any_set() -> impl Strategy<Value = FieldSet> {
        let leaf = Just(FieldSet::leaf());
        let node = leaf.prop_recursive(3, 20, 4, |inner| {
            (
                any::<bool>(),
                proptest::collection::btree_map("[a-d]", inner, 1..4),
            )
                .prop_map(|(member, children)| FieldSet {
                    member,
                    children: children
                        .into_iter()
                        .map(|(name, child)| (Element::Field(name), child))
                        .collect(),
                })
        });
        node.prop_map(|mut set| {
            set.member = false;
            set
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(set in any_set()) {
            prop_assert_eq!(FieldSet::decode(&set.encode()), Ok(set));
        }

        #[test]
        fn sets_obey_the_laws_of_sets(left in any_set(), right in any_set()) {
            let both = left.intersection(&right);
            prop_assert_eq!(&both, &right.intersection(&left));
            prop_assert_eq!(left.difference(&right).union(&both), left.clone());
            prop_assert!(left.difference(&right).intersection(&right).is_empty());
            prop_assert_eq!(left.clone().union(&right), right.union(&left));
        }
    }
}
