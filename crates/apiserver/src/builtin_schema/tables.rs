//! What upstream's documents say and `k8s-openapi` does not: group, version and kind of definitions, how lists and
//! maps are merged, and constant defaults.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A definition that is a kind.
pub(super) struct Kind {
    pub(super) definition: &'static str,
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
}

const fn kind(
    definition: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
) -> Kind {
    Kind {
        definition,
        group,
        version,
        kind,
    }
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// Definitions that are kinds.
pub(super) const KINDS: &[Kind] = &[
    kind(
        "io.k8s.api.authentication.v1.SelfSubjectReview",
        AUTHENTICATION,
        "v1",
        "SelfSubjectReview",
    ),
    kind(
        "io.k8s.api.authentication.v1.TokenRequest",
        AUTHENTICATION,
        "v1",
        "TokenRequest",
    ),
    kind(
        "io.k8s.api.authentication.v1.TokenReview",
        AUTHENTICATION,
        "v1",
        "TokenReview",
    ),
    kind(
        "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
        AUTHORIZATION,
        "v1",
        "LocalSubjectAccessReview",
    ),
    kind(
        "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        AUTHORIZATION,
        "v1",
        "SelfSubjectAccessReview",
    ),
    kind(
        "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        AUTHORIZATION,
        "v1",
        "SelfSubjectRulesReview",
    ),
    kind(
        "io.k8s.api.authorization.v1.SubjectAccessReview",
        AUTHORIZATION,
        "v1",
        "SubjectAccessReview",
    ),
    kind(
        "io.k8s.api.autoscaling.v1.Scale",
        "autoscaling",
        "v1",
        "Scale",
    ),
    kind(
        "io.k8s.api.coordination.v1.Lease",
        "coordination.k8s.io",
        "v1",
        "Lease",
    ),
    kind("io.k8s.api.core.v1.Binding", "", "v1", "Binding"),
    kind("io.k8s.api.core.v1.ConfigMap", "", "v1", "ConfigMap"),
    kind("io.k8s.api.core.v1.Event", "", "v1", "Event"),
    kind("io.k8s.api.core.v1.Namespace", "", "v1", "Namespace"),
    kind("io.k8s.api.core.v1.Node", "", "v1", "Node"),
    kind(
        "io.k8s.api.core.v1.PersistentVolumeClaim",
        "",
        "v1",
        "PersistentVolumeClaim",
    ),
    kind("io.k8s.api.core.v1.Pod", "", "v1", "Pod"),
    kind("io.k8s.api.core.v1.Secret", "", "v1", "Secret"),
    kind(
        "io.k8s.api.core.v1.ServiceAccount",
        "",
        "v1",
        "ServiceAccount",
    ),
    kind("io.k8s.api.events.v1.Event", "events.k8s.io", "v1", "Event"),
    kind(
        "io.k8s.api.scheduling.v1.PriorityClass",
        "scheduling.k8s.io",
        "v1",
        "PriorityClass",
    ),
    kind(
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
    ),
    kind(super::DELETE_OPTIONS, "", "v1", "DeleteOptions"),
    kind(super::STATUS, "", "v1", "Status"),
];

/// How a list is merged.
enum List {
    /// Replaced whole.
    Atomic,
    /// A set that a strategic merge adds to.
    Set,
    /// Objects told apart by keys; a strategic merge uses the first one.
    Map(&'static [&'static str]),
    /// The same, and a strategic merge may say which fields of an item stay.
    RetainKeys(&'static [&'static str]),
    /// Objects told apart by keys; a strategic merge replaces the list.
    MapOnly(&'static [&'static str]),
    /// Owned whole, yet merged by this key in a strategic merge.
    AtomicMerged(&'static str),
}

use List::{Atomic, AtomicMerged, MapOnly, RetainKeys, Set};

const CORE: &str = "io.k8s.api.core.v1.";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";
const AUTHORIZATION_TYPES: &str = "io.k8s.api.authorization.v1.";
const AUTHENTICATION_TYPES: &str = "io.k8s.api.authentication.v1.";

/// Fields and how each is merged.
type Lists = &'static [(&'static str, List)];
/// Fields and the default of each, as JSON text.
type Defaults = &'static [(&'static str, &'static str)];

/// Prefix and name of a definition, and its lists.
const LISTS: &[(&str, &str, Lists)] = &[
    (
        META,
        "ObjectMeta",
        &[
            ("finalizers", Set),
            ("managedFields", Atomic),
            ("ownerReferences", List::Map(&["uid"])),
        ],
    ),
    (META, "LabelSelector", &[("matchExpressions", Atomic)]),
    (META, "LabelSelectorRequirement", &[("values", Atomic)]),
    (META, "DeleteOptions", &[("dryRun", Atomic)]),
    (META, "StatusDetails", &[("causes", Atomic)]),
    (CORE, "NamespaceSpec", &[("finalizers", Atomic)]),
    (
        CORE,
        "NamespaceStatus",
        &[("conditions", List::Map(&["type"]))],
    ),
    (CORE, "NodeSpec", &[("podCIDRs", Set), ("taints", Atomic)]),
    (
        CORE,
        "NodeStatus",
        &[
            ("addresses", List::Map(&["type"])),
            ("conditions", List::Map(&["type"])),
            ("declaredFeatures", Atomic),
            ("images", Atomic),
            ("runtimeHandlers", Atomic),
            ("volumesAttached", Atomic),
            ("volumesInUse", Atomic),
        ],
    ),
    (CORE, "ContainerImage", &[("names", Atomic)]),
    (
        CORE,
        "PodSpec",
        &[
            ("containers", List::Map(&["name"])),
            ("ephemeralContainers", List::Map(&["name"])),
            ("hostAliases", List::Map(&["ip"])),
            ("imagePullSecrets", List::Map(&["name"])),
            ("initContainers", List::Map(&["name"])),
            ("readinessGates", Atomic),
            ("resourceClaims", RetainKeys(&["name"])),
            ("schedulingGates", List::Map(&["name"])),
            ("tolerations", Atomic),
            (
                "topologySpreadConstraints",
                List::Map(&["topologyKey", "whenUnsatisfiable"]),
            ),
            ("volumes", RetainKeys(&["name"])),
        ],
    ),
    (
        CORE,
        "PodStatus",
        &[
            ("conditions", List::Map(&["type"])),
            ("containerStatuses", Atomic),
            ("ephemeralContainerStatuses", Atomic),
            ("hostIPs", AtomicMerged("ip")),
            ("initContainerStatuses", Atomic),
            ("podIPs", List::Map(&["ip"])),
            ("resourceClaimStatuses", RetainKeys(&["name"])),
        ],
    ),
    (CORE, "Container", CONTAINER_LISTS),
    (CORE, "EphemeralContainer", CONTAINER_LISTS),
    (
        CORE,
        "ContainerStatus",
        &[
            ("allocatedResourcesStatus", List::Map(&["name"])),
            ("volumeMounts", List::Map(&["mountPath"])),
        ],
    ),
    (
        CORE,
        "ResourceStatus",
        &[("resources", MapOnly(&["resourceID"]))],
    ),
    (
        CORE,
        "ResourceRequirements",
        &[("claims", MapOnly(&["name"]))],
    ),
    (
        CORE,
        "LinuxContainerUser",
        &[("supplementalGroups", Atomic)],
    ),
    (CORE, "Capabilities", &[("add", Atomic), ("drop", Atomic)]),
    (
        CORE,
        "PodSecurityContext",
        &[("supplementalGroups", Atomic), ("sysctls", Atomic)],
    ),
    (CORE, "ExecAction", &[("command", Atomic)]),
    (CORE, "HTTPGetAction", &[("httpHeaders", Atomic)]),
    (CORE, "HostAlias", &[("hostnames", Atomic)]),
    (
        CORE,
        "PodDNSConfig",
        &[
            ("nameservers", Atomic),
            ("options", Atomic),
            ("searches", Atomic),
        ],
    ),
    (
        CORE,
        "TopologySpreadConstraint",
        &[("matchLabelKeys", Atomic)],
    ),
    (CORE, "NodeSelector", &[("nodeSelectorTerms", Atomic)]),
    (
        CORE,
        "NodeSelectorTerm",
        &[("matchExpressions", Atomic), ("matchFields", Atomic)],
    ),
    (CORE, "NodeSelectorRequirement", &[("values", Atomic)]),
    (
        CORE,
        "NodeAffinity",
        &[("preferredDuringSchedulingIgnoredDuringExecution", Atomic)],
    ),
    (CORE, "PodAffinity", AFFINITY_LISTS),
    (CORE, "PodAntiAffinity", AFFINITY_LISTS),
    (
        CORE,
        "PodAffinityTerm",
        &[
            ("matchLabelKeys", Atomic),
            ("mismatchLabelKeys", Atomic),
            ("namespaces", Atomic),
        ],
    ),
    (CORE, "ConfigMapVolumeSource", &[("items", Atomic)]),
    (CORE, "ConfigMapProjection", &[("items", Atomic)]),
    (CORE, "SecretVolumeSource", &[("items", Atomic)]),
    (CORE, "SecretProjection", &[("items", Atomic)]),
    (CORE, "DownwardAPIVolumeSource", &[("items", Atomic)]),
    (CORE, "DownwardAPIProjection", &[("items", Atomic)]),
    (CORE, "ProjectedVolumeSource", &[("sources", Atomic)]),
    (CORE, "CephFSVolumeSource", &[("monitors", Atomic)]),
    (CORE, "RBDVolumeSource", &[("monitors", Atomic)]),
    (
        CORE,
        "FCVolumeSource",
        &[("targetWWNs", Atomic), ("wwids", Atomic)],
    ),
    (CORE, "ISCSIVolumeSource", &[("portals", Atomic)]),
    (
        CORE,
        "PersistentVolumeClaimSpec",
        &[("accessModes", Atomic)],
    ),
    (
        CORE,
        "PersistentVolumeClaimStatus",
        &[
            ("accessModes", Atomic),
            ("conditions", List::Map(&["type"])),
        ],
    ),
    (
        CORE,
        "ServiceAccount",
        &[
            ("imagePullSecrets", Atomic),
            ("secrets", List::Map(&["name"])),
        ],
    ),
    (
        EXTENSIONS,
        "CustomResourceDefinitionSpec",
        &[("versions", Atomic)],
    ),
    (
        EXTENSIONS,
        "CustomResourceDefinitionVersion",
        &[
            ("additionalPrinterColumns", Atomic),
            ("selectableFields", Atomic),
        ],
    ),
    (
        EXTENSIONS,
        "CustomResourceDefinitionStatus",
        &[
            ("conditions", MapOnly(&["type"])),
            ("storedVersions", Atomic),
        ],
    ),
    (
        EXTENSIONS,
        "CustomResourceDefinitionNames",
        &[("categories", Atomic), ("shortNames", Atomic)],
    ),
    (
        EXTENSIONS,
        "WebhookConversion",
        &[("conversionReviewVersions", Atomic)],
    ),
    (
        EXTENSIONS,
        "JSONSchemaProps",
        &[
            ("allOf", Atomic),
            ("anyOf", Atomic),
            ("enum", Atomic),
            ("oneOf", Atomic),
            ("required", Atomic),
            ("x-kubernetes-list-map-keys", Atomic),
            ("x-kubernetes-validations", List::Map(&["rule"])),
        ],
    ),
    (
        AUTHORIZATION_TYPES,
        "SubjectRulesReviewStatus",
        &[("nonResourceRules", Atomic), ("resourceRules", Atomic)],
    ),
    (
        AUTHORIZATION_TYPES,
        "NonResourceRule",
        &[("nonResourceURLs", Atomic), ("verbs", Atomic)],
    ),
    (
        AUTHORIZATION_TYPES,
        "ResourceRule",
        &[
            ("apiGroups", Atomic),
            ("resourceNames", Atomic),
            ("resources", Atomic),
            ("verbs", Atomic),
        ],
    ),
    (
        AUTHORIZATION_TYPES,
        "SubjectAccessReviewSpec",
        &[("groups", Atomic)],
    ),
    (
        AUTHORIZATION_TYPES,
        "FieldSelectorAttributes",
        &[("requirements", Atomic)],
    ),
    (
        AUTHORIZATION_TYPES,
        "LabelSelectorAttributes",
        &[("requirements", Atomic)],
    ),
    (
        AUTHENTICATION_TYPES,
        "TokenRequestSpec",
        &[("audiences", Atomic)],
    ),
    (
        AUTHENTICATION_TYPES,
        "TokenReviewSpec",
        &[("audiences", Atomic)],
    ),
    (
        AUTHENTICATION_TYPES,
        "TokenReviewStatus",
        &[("audiences", Atomic)],
    ),
    (AUTHENTICATION_TYPES, "UserInfo", &[("groups", Atomic)]),
];

const CONTAINER_LISTS: Lists = &[
    ("args", Atomic),
    ("command", Atomic),
    ("env", List::Map(&["name"])),
    ("envFrom", Atomic),
    ("ports", List::Map(&["containerPort", "protocol"])),
    ("resizePolicy", Atomic),
    ("restartPolicyRules", Atomic),
    ("volumeDevices", List::Map(&["devicePath"])),
    ("volumeMounts", List::Map(&["mountPath"])),
];

const AFFINITY_LISTS: Lists = &[
    ("preferredDuringSchedulingIgnoredDuringExecution", Atomic),
    ("requiredDuringSchedulingIgnoredDuringExecution", Atomic),
];

/// Objects that are replaced whole (`x-kubernetes-map-type: atomic`).
const ATOMIC_MAPS: &[(&str, &str)] = &[
    (META, "LabelSelector"),
    (META, "OwnerReference"),
    (CORE, "ConfigMapKeySelector"),
    (CORE, "FileKeySelector"),
    (CORE, "LocalObjectReference"),
    (CORE, "NodeSelector"),
    (CORE, "NodeSelectorTerm"),
    (CORE, "ObjectFieldSelector"),
    (CORE, "ObjectReference"),
    (CORE, "ResourceFieldSelector"),
    (CORE, "SecretKeySelector"),
    (CORE, "TypedLocalObjectReference"),
];

/// Constant defaults, as JSON text. Defaults that depend on other fields are not here: they need code.
const DEFAULTS: &[(&str, &str, Defaults)] = &[
    (CORE, "ConfigMapVolumeSource", &[("defaultMode", "420")]),
    (CORE, "Container", CONTAINER_DEFAULTS),
    (CORE, "ContainerPort", &[("protocol", "\"TCP\"")]),
    (CORE, "DownwardAPIVolumeSource", &[("defaultMode", "420")]),
    (CORE, "EphemeralContainer", CONTAINER_DEFAULTS),
    (
        CORE,
        "HTTPGetAction",
        &[("path", "\"/\""), ("scheme", "\"HTTP\"")],
    ),
    (CORE, "HostPathVolumeSource", &[("type", "\"\"")]),
    (
        CORE,
        "ISCSIVolumeSource",
        &[("iscsiInterface", "\"default\"")],
    ),
    (CORE, "ObjectFieldSelector", &[("apiVersion", "\"v1\"")]),
    (
        CORE,
        "PersistentVolumeClaimSpec",
        &[("volumeMode", "\"Filesystem\"")],
    ),
    (
        CORE,
        "PodSpec",
        &[
            ("dnsPolicy", "\"ClusterFirst\""),
            ("enableServiceLinks", "true"),
            ("restartPolicy", "\"Always\""),
            ("schedulerName", "\"default-scheduler\""),
            ("securityContext", "{}"),
            ("terminationGracePeriodSeconds", "30"),
        ],
    ),
    (
        CORE,
        "Probe",
        &[
            ("failureThreshold", "3"),
            ("periodSeconds", "10"),
            ("successThreshold", "1"),
            ("timeoutSeconds", "1"),
        ],
    ),
    (CORE, "ProjectedVolumeSource", &[("defaultMode", "420")]),
    (CORE, "Secret", &[("type", "\"Opaque\"")]),
    (CORE, "SecretVolumeSource", &[("defaultMode", "420")]),
    (
        CORE,
        "ServiceAccountTokenProjection",
        &[("expirationSeconds", "3600")],
    ),
    (
        EXTENSIONS,
        "CustomResourceDefinitionSpec",
        &[("conversion", "{\"strategy\":\"None\"}")],
    ),
    (
        AUTHENTICATION_TYPES,
        "TokenRequestSpec",
        &[("expirationSeconds", "3600")],
    ),
    (
        "io.k8s.api.scheduling.v1.",
        "PriorityClass",
        &[("preemptionPolicy", "\"PreemptLowerPriority\"")],
    ),
];

const CONTAINER_DEFAULTS: Defaults = &[
    ("resources", "{}"),
    ("terminationMessagePath", "\"/dev/termination-log\""),
    ("terminationMessagePolicy", "\"File\""),
];

/// Words that a field may have.
const ENUMS: &[(&str, &str, &str, &[&str])] = &[
    (
        CORE,
        "Container",
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
    ),
    (
        CORE,
        "Container",
        "terminationMessagePolicy",
        &["FallbackToLogsOnError", "File"],
    ),
    (CORE, "ContainerPort", "protocol", &["SCTP", "TCP", "UDP"]),
    (CORE, "HTTPGetAction", "scheme", &["HTTP", "HTTPS"]),
    (
        CORE,
        "PersistentVolumeClaimSpec",
        "volumeMode",
        &["Block", "Filesystem"],
    ),
    (
        CORE,
        "PodSpec",
        "dnsPolicy",
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
    ),
    (
        CORE,
        "PodSpec",
        "preemptionPolicy",
        &["Never", "PreemptLowerPriority"],
    ),
    (
        CORE,
        "PodSpec",
        "restartPolicy",
        &["Always", "Never", "OnFailure"],
    ),
    (
        CORE,
        "Taint",
        "effect",
        &["NoExecute", "NoSchedule", "PreferNoSchedule"],
    ),
    (
        EXTENSIONS,
        "CustomResourceConversion",
        "strategy",
        &["None", "Webhook"],
    ),
    (
        EXTENSIONS,
        "CustomResourceDefinitionSpec",
        "scope",
        &["Cluster", "Namespaced"],
    ),
    (
        "io.k8s.api.scheduling.v1.",
        "PriorityClass",
        "preemptionPolicy",
        &["Never", "PreemptLowerPriority"],
    ),
];

/// Fields that `k8s-openapi` calls required, but that upstream fills with their zero when they are not given.
const ZEROES: &[(&str, &str, Defaults)] = &[
    (
        AUTHENTICATION_TYPES,
        "TokenRequestSpec",
        &[("audiences", "[]")],
    ),
    (
        AUTHORIZATION_TYPES,
        "SubjectAccessReviewStatus",
        &[("allowed", "false")],
    ),
    (
        AUTHORIZATION_TYPES,
        "SubjectRulesReviewStatus",
        &[
            ("incomplete", "false"),
            ("nonResourceRules", "[]"),
            ("resourceRules", "[]"),
        ],
    ),
    (
        "io.k8s.api.autoscaling.v1.",
        "ScaleStatus",
        &[("replicas", "0")],
    ),
    (CORE, "ConfigMapEnvSource", &[("name", "\"\"")]),
    (CORE, "ContainerStateTerminated", &[("exitCode", "0")]),
    (
        CORE,
        "ContainerStatus",
        &[
            ("image", "\"\""),
            ("imageID", "\"\""),
            ("ready", "false"),
            ("restartCount", "0"),
        ],
    ),
    (CORE, "DaemonEndpoint", &[("Port", "0")]),
    (CORE, "HTTPHeader", &[("value", "\"\"")]),
    (CORE, "LocalObjectReference", &[("name", "\"\"")]),
    (
        CORE,
        "NodeSystemInfo",
        &[
            ("architecture", "\"\""),
            ("bootID", "\"\""),
            ("containerRuntimeVersion", "\"\""),
            ("kernelVersion", "\"\""),
            ("kubeProxyVersion", "\"\""),
            ("kubeletVersion", "\"\""),
            ("machineID", "\"\""),
            ("operatingSystem", "\"\""),
            ("osImage", "\"\""),
            ("systemUUID", "\"\""),
        ],
    ),
    (CORE, "SecretEnvSource", &[("name", "\"\"")]),
    (
        "io.k8s.api.scheduling.v1.",
        "PriorityClass",
        &[("value", "0")],
    ),
];

/// Writes the tables into the definitions.
pub(super) fn complete(definitions: &mut BTreeMap<String, Value>) {
    for (prefix, name, lists) in LISTS {
        for (field, list) in *lists {
            if let Some(keywords) = property(definitions, prefix, name, field) {
                complete_list(keywords, list);
            }
        }
    }
    for (prefix, name) in ATOMIC_MAPS {
        if let Some(Value::Object(keywords)) = definitions.get_mut(&format!("{prefix}{name}")) {
            keywords.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
        }
    }
    for (prefix, name, zeroes) in ZEROES {
        let required = definitions
            .get_mut(&format!("{prefix}{name}"))
            .and_then(|schema| schema.get_mut("required"));
        if let Some(Value::Array(required)) = required {
            required.retain(|given| !zeroes.iter().any(|(field, _)| given == field));
        }
    }
    for (prefix, name, defaults) in DEFAULTS.iter().chain(ZEROES) {
        for (field, text) in *defaults {
            let default = serde_json::from_str::<Value>(text);
            if let (Some(keywords), Ok(default)) =
                (property(definitions, prefix, name, field), default)
            {
                keywords.insert("default".to_owned(), default);
            }
        }
    }
    for (prefix, name, field, words) in ENUMS {
        if let Some(keywords) = property(definitions, prefix, name, field) {
            keywords.insert("enum".to_owned(), json!(words));
        }
    }
    for entry in KINDS {
        if let Some(Value::Object(keywords)) = definitions.get_mut(entry.definition) {
            let identity =
                json!([{"group": entry.group, "kind": entry.kind, "version": entry.version}]);
            keywords.insert("x-kubernetes-group-version-kind".to_owned(), identity);
        }
    }
}

fn property<'a>(
    definitions: &'a mut BTreeMap<String, Value>,
    prefix: &str,
    name: &str,
    field: &str,
) -> Option<&'a mut Map<String, Value>> {
    definitions
        .get_mut(&format!("{prefix}{name}"))?
        .get_mut("properties")?
        .get_mut(field)?
        .as_object_mut()
}

fn complete_list(keywords: &mut Map<String, Value>, list: &List) {
    let mut set = |name: &str, value: Value| {
        keywords.insert(format!("x-kubernetes-{name}"), value);
    };
    match list {
        Atomic => set("list-type", json!("atomic")),
        Set => {
            set("list-type", json!("set"));
            set("patch-strategy", json!("merge"));
        }
        List::Map(keys) | RetainKeys(keys) => {
            let strategy = if matches!(list, RetainKeys(_)) {
                "merge,retainKeys"
            } else {
                "merge"
            };
            set("list-type", json!("map"));
            set("list-map-keys", json!(keys));
            set("patch-merge-key", json!(keys.first()));
            set("patch-strategy", json!(strategy));
        }
        MapOnly(keys) => {
            set("list-type", json!("map"));
            set("list-map-keys", json!(keys));
        }
        AtomicMerged(key) => {
            set("list-type", json!("atomic"));
            set("patch-merge-key", json!(key));
            set("patch-strategy", json!("merge"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_tables_names_something_that_exists() {
        let definitions = crate::builtin_schema::definitions();
        let field_exists = |prefix: &str, name: &str, field: &str| {
            definitions
                .get(&format!("{prefix}{name}"))
                .and_then(|schema| schema.get("properties")?.get(field))
                .is_some()
        };
        let mut missing = Vec::new();
        for (prefix, name, lists) in LISTS {
            for (field, _) in *lists {
                if !field_exists(prefix, name, field) {
                    missing.push(format!("{prefix}{name}.{field}"));
                }
            }
        }
        for (prefix, name, defaults) in DEFAULTS.iter().chain(ZEROES) {
            for (field, text) in *defaults {
                assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
                if !field_exists(prefix, name, field) {
                    missing.push(format!("{prefix}{name}.{field}"));
                }
            }
        }
        for (prefix, name, field, _) in ENUMS {
            if !field_exists(prefix, name, field) {
                missing.push(format!("{prefix}{name}.{field}"));
            }
        }
        for (prefix, name) in ATOMIC_MAPS {
            if !definitions.contains_key(&format!("{prefix}{name}")) {
                missing.push(format!("{prefix}{name}"));
            }
        }
        for entry in KINDS {
            if !definitions.contains_key(entry.definition) {
                missing.push(entry.definition.to_owned());
            }
        }
        assert_eq!(missing, Vec::<String>::new());
    }
}
