//! KubeVirt's fields that this version does not serve.

use std::collections::BTreeMap;

use serde_json::Value;

/// Fields beside the typed ones, kept as they came.
pub type Unserved = BTreeMap<String, Value>;
