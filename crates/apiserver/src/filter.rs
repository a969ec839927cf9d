//! Which objects a list or watch is about: label and field selectors together.

use serde_json::Value;

use crate::registry::Kind;
use crate::route::Query;
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::Status;

/// The selectors of a request.
#[derive(Debug)]
pub(crate) struct Filter {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Filter {
    /// Reads `labelSelector` and `fieldSelector`. `name` is one more condition, of legacy paths.
    ///
    /// # Errors
    /// 400 for selectors that cannot be read and for fields that the kind does not select by.
    pub(crate) fn parse(kind: &Kind, query: &Query, name: Option<&str>) -> Result<Filter, Status> {
        let labels = LabelSelector::parse(query.get("labelSelector").unwrap_or(""))?;
        let mut fields = query.get("fieldSelector").unwrap_or("").to_owned();
        if let Some(name) = name {
            if !fields.is_empty() {
                fields.push(',');
            }
            fields.push_str("metadata.name=");
            fields.push_str(name);
        }
        Ok(Filter {
            labels,
            fields: FieldSelector::parse(&fields, &kind.resource)?,
        })
    }

    /// Every object passes.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object passes.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.matches(object) && self.fields.matches(object)
    }
}
