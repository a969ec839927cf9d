//! `metadata.managedFields` as entries: who owns which fields, since when.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::element::Element;
use super::field_set::FieldSet;

/// How a manager came to own its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who owns fields. An Update in another version is another owner; an Apply is the same in every version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The field manager's name.
    pub manager: String,
    /// How it wrote.
    pub operation: Operation,
    /// Of an Update: in which version. Empty for Apply.
    pub api_version: String,
    /// The sub-resource it wrote to; empty for the object itself.
    pub subresource: String,
}

impl Owner {
    /// The owner of fields applied by `manager`.
    pub fn applier(manager: &str, subresource: Option<&str>) -> Owner {
        Owner {
            manager: manager.to_owned(),
            operation: Operation::Apply,
            api_version: String::new(),
            subresource: subresource.unwrap_or_default().to_owned(),
        }
    }

    /// The owner of fields that `manager` wrote without apply.
    pub fn updater(manager: &str, api_version: &str, subresource: Option<&str>) -> Owner {
        Owner {
            operation: Operation::Update,
            api_version: api_version.to_owned(),
            ..Owner::applier(manager, subresource)
        }
    }
}

/// As conflicts name it: `"m" with subresource "status" using v1`.
impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.manager)?;
        if !self.subresource.is_empty() {
            write!(formatter, " with subresource {:?}", self.subresource)?;
        }
        if self.operation == Operation::Update {
            write!(formatter, " using {}", self.api_version)?;
        }
        Ok(())
    }
}

/// What one owner has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The fields.
    pub set: FieldSet,
    /// In which version they are named.
    pub api_version: String,
    /// When the owner last took or changed a field, RFC 3339.
    pub time: Option<String>,
}

/// All owners of an object's fields.
pub type Entries = BTreeMap<Owner, Entry>;

/// Reads `metadata.managedFields`; nothing is no entries.
///
/// # Errors
/// What is malformed: an operation other than Apply and Update, a fields type other than FieldsV1, fields that are no set.
pub fn decode(managed_fields: Option<&Value>) -> Result<Entries, String> {
    let list = match managed_fields {
        None | Some(Value::Null) => return Ok(Entries::new()),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(format!("managedFields is {other}, not a list")),
    };
    let mut entries = Entries::new();
    for item in list {
        let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            other => return Err(format!("operation {other:?} is neither Apply nor Update")),
        };
        if text("fieldsType") != "FieldsV1" {
            return Err(format!(
                "fieldsType {:?} is not FieldsV1",
                text("fieldsType")
            ));
        }
        let api_version = text("apiVersion").to_owned();
        let owner = Owner {
            manager: text("manager").to_owned(),
            operation,
            api_version: match operation {
                Operation::Apply => String::new(),
                Operation::Update => api_version.clone(),
            },
            subresource: text("subresource").to_owned(),
        };
        let mut set = match item.get("fieldsV1") {
            None | Some(Value::Null) => FieldSet::default(),
            Some(fields) => FieldSet::decode(fields)?,
        };
        set.member = false;
        let time = item.get("time").and_then(Value::as_str).map(str::to_owned);
        let entry = entries.entry(owner).or_insert_with(|| Entry {
            set: FieldSet::default(),
            api_version,
            time: None,
        });
        entry.set.extend(set);
        entry.time = entry.time.take().max(time);
    }
    Ok(entries)
}

/// Writes `metadata.managedFields`: appliers first, then by time and name. Owners of nothing are left out.
pub fn encode(entries: &Entries) -> Vec<Value> {
    let mut sorted: Vec<(&Owner, &Entry)> = entries
        .iter()
        .filter(|(_, entry)| !entry.set.is_empty())
        .collect();
    sorted.sort_by(|(left, left_entry), (right, right_entry)| {
        (
            left.operation,
            &left_entry.time,
            &left.manager,
            &left_entry.api_version,
            &left.subresource,
        )
            .cmp(&(
                right.operation,
                &right_entry.time,
                &right.manager,
                &right_entry.api_version,
                &right.subresource,
            ))
    });
    sorted
        .into_iter()
        .map(|(owner, entry)| encode_entry(owner, entry))
        .collect()
}

fn encode_entry(owner: &Owner, entry: &Entry) -> Value {
    let mut map = Map::new();
    let optional = [
        ("manager", owner.manager.as_str()),
        ("apiVersion", entry.api_version.as_str()),
        ("subresource", owner.subresource.as_str()),
        ("time", entry.time.as_deref().unwrap_or_default()),
    ];
    for (name, text) in optional.into_iter().filter(|(_, text)| !text.is_empty()) {
        map.insert(name.to_owned(), Value::from(text));
    }
    map.insert("operation".to_owned(), Value::from(owner.operation.name()));
    map.insert("fieldsType".to_owned(), json!("FieldsV1"));
    map.insert("fieldsV1".to_owned(), entry.set.encode());
    Value::Object(map)
}

/// How many Update entries an object has at most: objects that many controllers write would grow for ever.
pub const UPDATER_LIMIT: usize = 10;

/// Who owns what the oldest updaters wrote, once there are more than [`UPDATER_LIMIT`].
const OLD_UPDATERS: &str = "ancient-changes";

/// Merges the oldest Update entries, of each version apart, until no more than [`UPDATER_LIMIT`] are left.
pub fn cap_updaters(entries: &mut Entries) {
    let mut updaters: Vec<Owner> = entries
        .keys()
        .filter(|owner| owner.operation == Operation::Update)
        .cloned()
        .collect();
    let mut count = updaters.len();
    updaters.sort_by(|left, right| {
        let time = |owner: &Owner| entries.get(owner).and_then(|entry| entry.time.clone());
        time(left).cmp(&time(right)).then_with(|| left.cmp(right))
    });
    // The first old updater of a version stays as it is until a second one of that version has to go.
    let mut first_of_version: BTreeMap<String, Owner> = BTreeMap::new();
    for owner in updaters {
        if count <= UPDATER_LIMIT {
            return;
        }
        let Some(first) = first_of_version.get(&owner.api_version).cloned() else {
            first_of_version.insert(owner.api_version.clone(), owner);
            continue;
        };
        let bucket = Owner::updater(OLD_UPDATERS, &owner.api_version, None);
        if owner == bucket {
            continue;
        }
        if !entries.contains_key(&bucket)
            && let Some(entry) = entries.remove(&first)
        {
            entries.insert(bucket.clone(), entry);
        }
        if let Some(entry) = entries.remove(&owner)
            && let Some(old) = entries.get_mut(&bucket)
        {
            old.set.extend(entry.set);
            old.time = entry.time;
            count -= 1;
        }
    }
}

/// Fields that nobody owns: they name the object, or the server alone writes them.
const UNOWNED_METADATA: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
];

static UNOWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    let field = |name: &str| Element::Field(name.to_owned());
    let names = UNOWNED_METADATA
        .iter()
        .map(|name| (field(name), FieldSet::leaf()));
    let metadata = FieldSet {
        member: true,
        children: names.collect(),
    };
    let mut unowned = FieldSet::default();
    unowned.attach(field("apiVersion"), FieldSet::leaf());
    unowned.attach(field("kind"), FieldSet::leaf());
    unowned.attach(field("metadata"), metadata);
    unowned
});

/// The same set without the fields that nobody owns.
#[must_use]
pub fn stripped(set: &FieldSet) -> FieldSet {
    set.difference(&UNOWNED)
}
