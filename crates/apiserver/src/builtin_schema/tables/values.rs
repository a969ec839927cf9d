//! Constant defaults, words and zeroes, field by field.

use super::{AUTHENTICATION_TYPES, AUTHORIZATION_TYPES, CORE, EXTENSIONS};

/// Fields and the default of each, as JSON text.
pub(super) type Defaults = &'static [(&'static str, &'static str)];

/// Constant defaults. Defaults that depend on other fields are not here: they need code.
pub(super) const DEFAULTS: &[(&str, &str, Defaults)] = &[
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
pub(super) const ENUMS: &[(&str, &str, &str, &[&str])] = &[
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
pub(super) const ZEROES: &[(&str, &str, Defaults)] = &[
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
