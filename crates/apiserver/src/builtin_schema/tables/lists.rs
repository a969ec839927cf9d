//! How lists and maps are merged, field by field.

use serde_json::{Map, Value, json};

use super::{AUTHENTICATION_TYPES, AUTHORIZATION_TYPES, CORE, EXTENSIONS, META};

/// How a list is merged.
pub(super) enum List {
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

/// Fields and how each is merged.
pub(super) type Lists = &'static [(&'static str, List)];
/// Prefix and name of a definition, and its lists.
pub(super) const LISTS: &[(&str, &str, Lists)] = &[
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
pub(super) const ATOMIC_MAPS: &[(&str, &str)] = &[
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

/// Writes how a list is merged into its schema.
pub(super) fn complete_list(keywords: &mut Map<String, Value>, list: &List) {
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
