//! Which definitions are kinds.

/// A definition that is a kind.
pub(in crate::builtin_schema) struct Kind {
    pub(in crate::builtin_schema) definition: &'static str,
    pub(in crate::builtin_schema) group: &'static str,
    pub(in crate::builtin_schema) version: &'static str,
    pub(in crate::builtin_schema) kind: &'static str,
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
pub(in crate::builtin_schema) const KINDS: &[Kind] = &[
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
    kind(
        crate::builtin_schema::DELETE_OPTIONS,
        "",
        "v1",
        "DeleteOptions",
    ),
    kind(crate::builtin_schema::STATUS, "", "v1", "Status"),
];
