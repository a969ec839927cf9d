//! Which protobuf field number is which JSON field, for every kind that a client may send as protobuf. Generated, not written:
//! numbers, JSON names, types and "zero is left out" were read from the struct descriptions inside kubectl 1.35.2 (a Go
//! program carries them); CustomResourceDefinition, which kubectl does not contain, from the attributes of the crate `k8s-pb` 0.9.
//! To add a kind, add its messages here in the same shape; numbers never change once released.

use super::message::Kind::{
    Bytes, Double, Flag, IntOrString, Integer, Message as Nested, MicroTime, Quantity, RawJson,
    SchemaOrArray, SchemaOrBool, SchemaOrStringArray, Text, TextList, Time,
};
use super::message::Many::{Inline, List, Map, One};
use super::message::Zero::{Keep, Omit};
use super::message::{Message, field};

/// Kinds by the apiVersion and kind that the frame names.
pub(super) static KINDS: &[(&str, &str, &Message)] = &[
    ("v1", "Namespace", &NAMESPACE),
    ("v1", "ConfigMap", &CONFIG_MAP),
    ("v1", "Secret", &SECRET),
    ("v1", "Node", &NODE),
    ("v1", "Pod", &POD),
    ("v1", "Event", &EVENT),
    ("v1", "ServiceAccount", &SERVICE_ACCOUNT),
    ("v1", "PersistentVolumeClaim", &PERSISTENT_VOLUME_CLAIM),
    ("v1", "Binding", &BINDING),
    ("events.k8s.io/v1", "Event", &EVENTS_EVENT),
    ("coordination.k8s.io/v1", "Lease", &COORDINATION_LEASE),
    (
        "scheduling.k8s.io/v1",
        "PriorityClass",
        &SCHEDULING_PRIORITY_CLASS,
    ),
    (
        "authorization.k8s.io/v1",
        "SelfSubjectAccessReview",
        &AUTHORIZATION_SELF_SUBJECT_ACCESS_REVIEW,
    ),
    (
        "authorization.k8s.io/v1",
        "SubjectAccessReview",
        &AUTHORIZATION_SUBJECT_ACCESS_REVIEW,
    ),
    (
        "authorization.k8s.io/v1",
        "LocalSubjectAccessReview",
        &AUTHORIZATION_LOCAL_SUBJECT_ACCESS_REVIEW,
    ),
    (
        "authorization.k8s.io/v1",
        "SelfSubjectRulesReview",
        &AUTHORIZATION_SELF_SUBJECT_RULES_REVIEW,
    ),
    (
        "authentication.k8s.io/v1",
        "SelfSubjectReview",
        &AUTHENTICATION_SELF_SUBJECT_REVIEW,
    ),
    (
        "authentication.k8s.io/v1",
        "TokenReview",
        &AUTHENTICATION_TOKEN_REVIEW,
    ),
    (
        "authentication.k8s.io/v1",
        "TokenRequest",
        &AUTHENTICATION_TOKEN_REQUEST,
    ),
    ("policy/v1", "Eviction", &POLICY_EVICTION),
    ("autoscaling/v1", "Scale", &AUTOSCALING_SCALE),
    (
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &CUSTOM_RESOURCE_DEFINITION,
    ),
];

/// Kinds that every group version has, looked for when `KINDS` has no match.
pub(super) static KINDS_OF_EVERY_VERSION: &[(&str, &Message)] =
    &[("DeleteOptions", &DELETE_OPTIONS), ("Status", &STATUS)];

pub(super) static AFFINITY: Message = Message {
    fields: &[
        field(1, "nodeAffinity", Nested(&NODE_AFFINITY), One, Keep),
        field(2, "podAffinity", Nested(&POD_AFFINITY), One, Keep),
        field(3, "podAntiAffinity", Nested(&POD_ANTI_AFFINITY), One, Keep),
    ],
};

pub(super) static APP_ARMOR_PROFILE: Message = Message {
    fields: &[
        field(1, "type", Text, One, Keep),
        field(2, "localhostProfile", Text, One, Keep),
    ],
};

pub(super) static ATTACHED_VOLUME: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "devicePath", Text, One, Keep),
    ],
};

pub(super) static AUTHENTICATION_BOUND_OBJECT_REFERENCE: Message = Message {
    fields: &[
        field(1, "kind", Text, One, Omit),
        field(2, "apiVersion", Text, One, Omit),
        field(3, "name", Text, One, Omit),
        field(4, "uid", Text, One, Omit),
    ],
};

pub(super) static AUTHENTICATION_SELF_SUBJECT_REVIEW: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(
            2,
            "status",
            Nested(&AUTHENTICATION_SELF_SUBJECT_REVIEW_STATUS),
            One,
            Keep,
        ),
    ],
};

pub(super) static AUTHENTICATION_SELF_SUBJECT_REVIEW_STATUS: Message = Message {
    fields: &[field(
        1,
        "userInfo",
        Nested(&AUTHENTICATION_USER_INFO),
        One,
        Keep,
    )],
};

pub(super) static AUTHENTICATION_TOKEN_REQUEST: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(
            2,
            "spec",
            Nested(&AUTHENTICATION_TOKEN_REQUEST_SPEC),
            One,
            Keep,
        ),
        field(
            3,
            "status",
            Nested(&AUTHENTICATION_TOKEN_REQUEST_STATUS),
            One,
            Keep,
        ),
    ],
};

pub(super) static AUTHENTICATION_TOKEN_REQUEST_SPEC: Message = Message {
    fields: &[
        field(1, "audiences", Text, List, Keep),
        field(
            3,
            "boundObjectRef",
            Nested(&AUTHENTICATION_BOUND_OBJECT_REFERENCE),
            One,
            Keep,
        ),
        field(4, "expirationSeconds", Integer, One, Keep),
    ],
};

pub(super) static AUTHENTICATION_TOKEN_REQUEST_STATUS: Message = Message {
    fields: &[
        field(1, "token", Text, One, Keep),
        field(2, "expirationTimestamp", Time, One, Keep),
    ],
};

pub(super) static AUTHENTICATION_TOKEN_REVIEW: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(
            2,
            "spec",
            Nested(&AUTHENTICATION_TOKEN_REVIEW_SPEC),
            One,
            Keep,
        ),
        field(
            3,
            "status",
            Nested(&AUTHENTICATION_TOKEN_REVIEW_STATUS),
            One,
            Keep,
        ),
    ],
};

pub(super) static AUTHENTICATION_TOKEN_REVIEW_SPEC: Message = Message {
    fields: &[
        field(1, "token", Text, One, Omit),
        field(2, "audiences", Text, List, Keep),
    ],
};

pub(super) static AUTHENTICATION_TOKEN_REVIEW_STATUS: Message = Message {
    fields: &[
        field(1, "authenticated", Flag, One, Omit),
        field(2, "user", Nested(&AUTHENTICATION_USER_INFO), One, Keep),
        field(3, "error", Text, One, Omit),
        field(4, "audiences", Text, List, Keep),
    ],
};

pub(super) static AUTHENTICATION_USER_INFO: Message = Message {
    fields: &[
        field(1, "username", Text, One, Omit),
        field(2, "uid", Text, One, Omit),
        field(3, "groups", Text, List, Keep),
        field(4, "extra", TextList, Map, Keep),
    ],
};

pub(super) static AUTHORIZATION_FIELD_SELECTOR_ATTRIBUTES: Message = Message {
    fields: &[
        field(1, "rawSelector", Text, One, Omit),
        field(
            2,
            "requirements",
            Nested(&FIELD_SELECTOR_REQUIREMENT),
            List,
            Keep,
        ),
    ],
};

pub(super) static AUTHORIZATION_LABEL_SELECTOR_ATTRIBUTES: Message = Message {
    fields: &[
        field(1, "rawSelector", Text, One, Omit),
        field(
            2,
            "requirements",
            Nested(&LABEL_SELECTOR_REQUIREMENT),
            List,
            Keep,
        ),
    ],
};

pub(super) static AUTHORIZATION_LOCAL_SUBJECT_ACCESS_REVIEW: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(
            2,
            "spec",
            Nested(&AUTHORIZATION_SUBJECT_ACCESS_REVIEW_SPEC),
            One,
            Keep,
        ),
        field(
            3,
            "status",
            Nested(&AUTHORIZATION_SUBJECT_ACCESS_REVIEW_STATUS),
            One,
            Keep,
        ),
    ],
};

pub(super) static AUTHORIZATION_NON_RESOURCE_ATTRIBUTES: Message = Message {
    fields: &[
        field(1, "path", Text, One, Omit),
        field(2, "verb", Text, One, Omit),
    ],
};

pub(super) static AUTHORIZATION_NON_RESOURCE_RULE: Message = Message {
    fields: &[
        field(1, "verbs", Text, List, Keep),
        field(2, "nonResourceURLs", Text, List, Keep),
    ],
};

pub(super) static AUTHORIZATION_RESOURCE_ATTRIBUTES: Message = Message {
    fields: &[
        field(1, "namespace", Text, One, Omit),
        field(2, "verb", Text, One, Omit),
        field(3, "group", Text, One, Omit),
        field(4, "version", Text, One, Omit),
        field(5, "resource", Text, One, Omit),
        field(6, "subresource", Text, One, Omit),
        field(7, "name", Text, One, Omit),
        field(
            8,
            "fieldSelector",
            Nested(&AUTHORIZATION_FIELD_SELECTOR_ATTRIBUTES),
            One,
            Keep,
        ),
        field(
            9,
            "labelSelector",
            Nested(&AUTHORIZATION_LABEL_SELECTOR_ATTRIBUTES),
            One,
            Keep,
        ),
    ],
};

pub(super) static AUTHORIZATION_RESOURCE_RULE: Message = Message {
    fields: &[
        field(1, "verbs", Text, List, Keep),
        field(2, "apiGroups", Text, List, Keep),
        field(3, "resources", Text, List, Keep),
        field(4, "resourceNames", Text, List, Keep),
    ],
};

pub(super) static AUTHORIZATION_SELF_SUBJECT_ACCESS_REVIEW: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(
            2,
            "spec",
            Nested(&AUTHORIZATION_SELF_SUBJECT_ACCESS_REVIEW_SPEC),
            One,
            Keep,
        ),
        field(
            3,
            "status",
            Nested(&AUTHORIZATION_SUBJECT_ACCESS_REVIEW_STATUS),
            One,
            Keep,
        ),
    ],
};

pub(super) static AUTHORIZATION_SELF_SUBJECT_ACCESS_REVIEW_SPEC: Message = Message {
    fields: &[
        field(
            1,
            "resourceAttributes",
            Nested(&AUTHORIZATION_RESOURCE_ATTRIBUTES),
            One,
            Keep,
        ),
        field(
            2,
            "nonResourceAttributes",
            Nested(&AUTHORIZATION_NON_RESOURCE_ATTRIBUTES),
            One,
            Keep,
        ),
    ],
};

pub(super) static AUTHORIZATION_SELF_SUBJECT_RULES_REVIEW: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(
            2,
            "spec",
            Nested(&AUTHORIZATION_SELF_SUBJECT_RULES_REVIEW_SPEC),
            One,
            Keep,
        ),
        field(
            3,
            "status",
            Nested(&AUTHORIZATION_SUBJECT_RULES_REVIEW_STATUS),
            One,
            Keep,
        ),
    ],
};

pub(super) static AUTHORIZATION_SELF_SUBJECT_RULES_REVIEW_SPEC: Message = Message {
    fields: &[field(1, "namespace", Text, One, Omit)],
};

pub(super) static AUTHORIZATION_SUBJECT_ACCESS_REVIEW: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(
            2,
            "spec",
            Nested(&AUTHORIZATION_SUBJECT_ACCESS_REVIEW_SPEC),
            One,
            Keep,
        ),
        field(
            3,
            "status",
            Nested(&AUTHORIZATION_SUBJECT_ACCESS_REVIEW_STATUS),
            One,
            Keep,
        ),
    ],
};

pub(super) static AUTHORIZATION_SUBJECT_ACCESS_REVIEW_SPEC: Message = Message {
    fields: &[
        field(
            1,
            "resourceAttributes",
            Nested(&AUTHORIZATION_RESOURCE_ATTRIBUTES),
            One,
            Keep,
        ),
        field(
            2,
            "nonResourceAttributes",
            Nested(&AUTHORIZATION_NON_RESOURCE_ATTRIBUTES),
            One,
            Keep,
        ),
        field(3, "user", Text, One, Omit),
        field(4, "groups", Text, List, Keep),
        field(5, "extra", TextList, Map, Keep),
        field(6, "uid", Text, One, Omit),
    ],
};

pub(super) static AUTHORIZATION_SUBJECT_ACCESS_REVIEW_STATUS: Message = Message {
    fields: &[
        field(1, "allowed", Flag, One, Keep),
        field(2, "reason", Text, One, Omit),
        field(3, "evaluationError", Text, One, Omit),
        field(4, "denied", Flag, One, Omit),
    ],
};

pub(super) static AUTHORIZATION_SUBJECT_RULES_REVIEW_STATUS: Message = Message {
    fields: &[
        field(
            1,
            "resourceRules",
            Nested(&AUTHORIZATION_RESOURCE_RULE),
            List,
            Keep,
        ),
        field(
            2,
            "nonResourceRules",
            Nested(&AUTHORIZATION_NON_RESOURCE_RULE),
            List,
            Keep,
        ),
        field(3, "incomplete", Flag, One, Keep),
        field(4, "evaluationError", Text, One, Omit),
    ],
};

pub(super) static AUTOSCALING_SCALE: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "spec", Nested(&AUTOSCALING_SCALE_SPEC), One, Keep),
        field(3, "status", Nested(&AUTOSCALING_SCALE_STATUS), One, Keep),
    ],
};

pub(super) static AUTOSCALING_SCALE_SPEC: Message = Message {
    fields: &[field(1, "replicas", Integer, One, Omit)],
};

pub(super) static AUTOSCALING_SCALE_STATUS: Message = Message {
    fields: &[
        field(1, "replicas", Integer, One, Keep),
        field(2, "selector", Text, One, Omit),
    ],
};

pub(super) static AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "volumeID", Text, One, Keep),
        field(2, "fsType", Text, One, Omit),
        field(3, "partition", Integer, One, Omit),
        field(4, "readOnly", Flag, One, Omit),
    ],
};

pub(super) static AZURE_DISK_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "diskName", Text, One, Keep),
        field(2, "diskURI", Text, One, Keep),
        field(3, "cachingMode", Text, One, Keep),
        field(4, "fsType", Text, One, Keep),
        field(5, "readOnly", Flag, One, Keep),
        field(6, "kind", Text, One, Keep),
    ],
};

pub(super) static AZURE_FILE_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "secretName", Text, One, Keep),
        field(2, "shareName", Text, One, Keep),
        field(3, "readOnly", Flag, One, Omit),
    ],
};

pub(super) static BINDING: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "target", Nested(&OBJECT_REFERENCE), One, Keep),
    ],
};

pub(super) static CAPABILITIES: Message = Message {
    fields: &[
        field(1, "add", Text, List, Keep),
        field(2, "drop", Text, List, Keep),
    ],
};

pub(super) static CEPH_FS_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "monitors", Text, List, Keep),
        field(2, "path", Text, One, Omit),
        field(3, "user", Text, One, Omit),
        field(4, "secretFile", Text, One, Omit),
        field(5, "secretRef", Nested(&LOCAL_OBJECT_REFERENCE), One, Keep),
        field(6, "readOnly", Flag, One, Omit),
    ],
};

pub(super) static CINDER_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "volumeID", Text, One, Keep),
        field(2, "fsType", Text, One, Omit),
        field(3, "readOnly", Flag, One, Omit),
        field(4, "secretRef", Nested(&LOCAL_OBJECT_REFERENCE), One, Keep),
    ],
};

pub(super) static CLUSTER_TRUST_BUNDLE_PROJECTION: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "signerName", Text, One, Keep),
        field(3, "labelSelector", Nested(&LABEL_SELECTOR), One, Keep),
        field(4, "path", Text, One, Keep),
        field(5, "optional", Flag, One, Keep),
    ],
};

pub(super) static CONFIG_MAP: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "data", Text, Map, Keep),
        field(3, "binaryData", Bytes, Map, Keep),
        field(4, "immutable", Flag, One, Keep),
    ],
};

pub(super) static CONFIG_MAP_ENV_SOURCE: Message = Message {
    fields: &[
        field(
            1,
            "LocalObjectReference",
            Nested(&LOCAL_OBJECT_REFERENCE),
            Inline,
            Keep,
        ),
        field(2, "optional", Flag, One, Keep),
    ],
};

pub(super) static CONFIG_MAP_KEY_SELECTOR: Message = Message {
    fields: &[
        field(
            1,
            "LocalObjectReference",
            Nested(&LOCAL_OBJECT_REFERENCE),
            Inline,
            Keep,
        ),
        field(2, "key", Text, One, Keep),
        field(3, "optional", Flag, One, Keep),
    ],
};

pub(super) static CONFIG_MAP_NODE_CONFIG_SOURCE: Message = Message {
    fields: &[
        field(1, "namespace", Text, One, Keep),
        field(2, "name", Text, One, Keep),
        field(3, "uid", Text, One, Omit),
        field(4, "resourceVersion", Text, One, Omit),
        field(5, "kubeletConfigKey", Text, One, Keep),
    ],
};

pub(super) static CONFIG_MAP_PROJECTION: Message = Message {
    fields: &[
        field(
            1,
            "LocalObjectReference",
            Nested(&LOCAL_OBJECT_REFERENCE),
            Inline,
            Keep,
        ),
        field(2, "items", Nested(&KEY_TO_PATH), List, Keep),
        field(4, "optional", Flag, One, Keep),
    ],
};

pub(super) static CONFIG_MAP_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(
            1,
            "LocalObjectReference",
            Nested(&LOCAL_OBJECT_REFERENCE),
            Inline,
            Keep,
        ),
        field(2, "items", Nested(&KEY_TO_PATH), List, Keep),
        field(3, "defaultMode", Integer, One, Keep),
        field(4, "optional", Flag, One, Keep),
    ],
};

pub(super) static CONTAINER: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "image", Text, One, Omit),
        field(3, "command", Text, List, Keep),
        field(4, "args", Text, List, Keep),
        field(5, "workingDir", Text, One, Omit),
        field(6, "ports", Nested(&CONTAINER_PORT), List, Keep),
        field(7, "env", Nested(&ENV_VAR), List, Keep),
        field(8, "resources", Nested(&RESOURCE_REQUIREMENTS), One, Keep),
        field(9, "volumeMounts", Nested(&VOLUME_MOUNT), List, Keep),
        field(10, "livenessProbe", Nested(&PROBE), One, Keep),
        field(11, "readinessProbe", Nested(&PROBE), One, Keep),
        field(12, "lifecycle", Nested(&LIFECYCLE), One, Keep),
        field(13, "terminationMessagePath", Text, One, Omit),
        field(14, "imagePullPolicy", Text, One, Omit),
        field(15, "securityContext", Nested(&SECURITY_CONTEXT), One, Keep),
        field(16, "stdin", Flag, One, Omit),
        field(17, "stdinOnce", Flag, One, Omit),
        field(18, "tty", Flag, One, Omit),
        field(19, "envFrom", Nested(&ENV_FROM_SOURCE), List, Keep),
        field(20, "terminationMessagePolicy", Text, One, Omit),
        field(21, "volumeDevices", Nested(&VOLUME_DEVICE), List, Keep),
        field(22, "startupProbe", Nested(&PROBE), One, Keep),
        field(
            23,
            "resizePolicy",
            Nested(&CONTAINER_RESIZE_POLICY),
            List,
            Keep,
        ),
        field(24, "restartPolicy", Text, One, Keep),
        field(
            25,
            "restartPolicyRules",
            Nested(&CONTAINER_RESTART_RULE),
            List,
            Keep,
        ),
    ],
};

pub(super) static CONTAINER_EXTENDED_RESOURCE_REQUEST: Message = Message {
    fields: &[
        field(1, "containerName", Text, One, Keep),
        field(2, "resourceName", Text, One, Keep),
        field(3, "requestName", Text, One, Keep),
    ],
};

pub(super) static CONTAINER_IMAGE: Message = Message {
    fields: &[
        field(1, "names", Text, List, Keep),
        field(2, "sizeBytes", Integer, One, Omit),
    ],
};

pub(super) static CONTAINER_PORT: Message = Message {
    fields: &[
        field(1, "name", Text, One, Omit),
        field(2, "hostPort", Integer, One, Omit),
        field(3, "containerPort", Integer, One, Keep),
        field(4, "protocol", Text, One, Omit),
        field(5, "hostIP", Text, One, Omit),
    ],
};

pub(super) static CONTAINER_RESIZE_POLICY: Message = Message {
    fields: &[
        field(1, "resourceName", Text, One, Keep),
        field(2, "restartPolicy", Text, One, Keep),
    ],
};

pub(super) static CONTAINER_RESTART_RULE: Message = Message {
    fields: &[
        field(1, "action", Text, One, Omit),
        field(
            2,
            "exitCodes",
            Nested(&CONTAINER_RESTART_RULE_ON_EXIT_CODES),
            One,
            Keep,
        ),
    ],
};

pub(super) static CONTAINER_RESTART_RULE_ON_EXIT_CODES: Message = Message {
    fields: &[
        field(1, "operator", Text, One, Omit),
        field(2, "values", Integer, List, Keep),
    ],
};

pub(super) static CONTAINER_STATE: Message = Message {
    fields: &[
        field(1, "waiting", Nested(&CONTAINER_STATE_WAITING), One, Keep),
        field(2, "running", Nested(&CONTAINER_STATE_RUNNING), One, Keep),
        field(
            3,
            "terminated",
            Nested(&CONTAINER_STATE_TERMINATED),
            One,
            Keep,
        ),
    ],
};

pub(super) static CONTAINER_STATE_RUNNING: Message = Message {
    fields: &[field(1, "startedAt", Time, One, Keep)],
};

pub(super) static CONTAINER_STATE_TERMINATED: Message = Message {
    fields: &[
        field(1, "exitCode", Integer, One, Keep),
        field(2, "signal", Integer, One, Omit),
        field(3, "reason", Text, One, Omit),
        field(4, "message", Text, One, Omit),
        field(5, "startedAt", Time, One, Keep),
        field(6, "finishedAt", Time, One, Keep),
        field(7, "containerID", Text, One, Omit),
    ],
};

pub(super) static CONTAINER_STATE_WAITING: Message = Message {
    fields: &[
        field(1, "reason", Text, One, Omit),
        field(2, "message", Text, One, Omit),
    ],
};

pub(super) static CONTAINER_STATUS: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "state", Nested(&CONTAINER_STATE), One, Keep),
        field(3, "lastState", Nested(&CONTAINER_STATE), One, Keep),
        field(4, "ready", Flag, One, Keep),
        field(5, "restartCount", Integer, One, Keep),
        field(6, "image", Text, One, Keep),
        field(7, "imageID", Text, One, Keep),
        field(8, "containerID", Text, One, Omit),
        field(9, "started", Flag, One, Keep),
        field(10, "allocatedResources", Quantity, Map, Keep),
        field(11, "resources", Nested(&RESOURCE_REQUIREMENTS), One, Keep),
        field(12, "volumeMounts", Nested(&VOLUME_MOUNT_STATUS), List, Keep),
        field(13, "user", Nested(&CONTAINER_USER), One, Keep),
        field(
            14,
            "allocatedResourcesStatus",
            Nested(&RESOURCE_STATUS),
            List,
            Keep,
        ),
        field(15, "stopSignal", Text, One, Keep),
    ],
};

pub(super) static CONTAINER_USER: Message = Message {
    fields: &[field(1, "linux", Nested(&LINUX_CONTAINER_USER), One, Keep)],
};

pub(super) static COORDINATION_LEASE: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "spec", Nested(&COORDINATION_LEASE_SPEC), One, Keep),
    ],
};

pub(super) static COORDINATION_LEASE_SPEC: Message = Message {
    fields: &[
        field(1, "holderIdentity", Text, One, Keep),
        field(2, "leaseDurationSeconds", Integer, One, Keep),
        field(3, "acquireTime", MicroTime, One, Keep),
        field(4, "renewTime", MicroTime, One, Keep),
        field(5, "leaseTransitions", Integer, One, Keep),
        field(6, "strategy", Text, One, Keep),
        field(7, "preferredHolder", Text, One, Keep),
    ],
};

pub(super) static CSI_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "driver", Text, One, Keep),
        field(2, "readOnly", Flag, One, Keep),
        field(3, "fsType", Text, One, Keep),
        field(4, "volumeAttributes", Text, Map, Keep),
        field(
            5,
            "nodePublishSecretRef",
            Nested(&LOCAL_OBJECT_REFERENCE),
            One,
            Keep,
        ),
    ],
};

pub(super) static CUSTOM_RESOURCE_COLUMN_DEFINITION: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "type", Text, One, Keep),
        field(3, "format", Text, One, Omit),
        field(4, "description", Text, One, Omit),
        field(5, "priority", Integer, One, Omit),
        field(6, "jsonPath", Text, One, Keep),
    ],
};

pub(super) static CUSTOM_RESOURCE_CONVERSION: Message = Message {
    fields: &[
        field(1, "strategy", Text, One, Keep),
        field(2, "webhook", Nested(&WEBHOOK_CONVERSION), One, Keep),
    ],
};

pub(super) static CUSTOM_RESOURCE_DEFINITION: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(
            2,
            "spec",
            Nested(&CUSTOM_RESOURCE_DEFINITION_SPEC),
            One,
            Keep,
        ),
        field(
            3,
            "status",
            Nested(&CUSTOM_RESOURCE_DEFINITION_STATUS),
            One,
            Keep,
        ),
    ],
};

pub(super) static CUSTOM_RESOURCE_DEFINITION_CONDITION: Message = Message {
    fields: &[
        field(1, "type", Text, One, Keep),
        field(2, "status", Text, One, Keep),
        field(3, "lastTransitionTime", Time, One, Keep),
        field(4, "reason", Text, One, Omit),
        field(5, "message", Text, One, Omit),
        field(6, "observedGeneration", Integer, One, Omit),
    ],
};

pub(super) static CUSTOM_RESOURCE_DEFINITION_NAMES: Message = Message {
    fields: &[
        field(1, "plural", Text, One, Keep),
        field(2, "singular", Text, One, Omit),
        field(3, "shortNames", Text, List, Keep),
        field(4, "kind", Text, One, Keep),
        field(5, "listKind", Text, One, Omit),
        field(6, "categories", Text, List, Keep),
    ],
};

pub(super) static CUSTOM_RESOURCE_DEFINITION_SPEC: Message = Message {
    fields: &[
        field(1, "group", Text, One, Keep),
        field(
            3,
            "names",
            Nested(&CUSTOM_RESOURCE_DEFINITION_NAMES),
            One,
            Keep,
        ),
        field(4, "scope", Text, One, Keep),
        field(
            7,
            "versions",
            Nested(&CUSTOM_RESOURCE_DEFINITION_VERSION),
            List,
            Keep,
        ),
        field(
            9,
            "conversion",
            Nested(&CUSTOM_RESOURCE_CONVERSION),
            One,
            Keep,
        ),
        field(10, "preserveUnknownFields", Flag, One, Omit),
    ],
};

pub(super) static CUSTOM_RESOURCE_DEFINITION_STATUS: Message = Message {
    fields: &[
        field(
            1,
            "conditions",
            Nested(&CUSTOM_RESOURCE_DEFINITION_CONDITION),
            List,
            Keep,
        ),
        field(
            2,
            "acceptedNames",
            Nested(&CUSTOM_RESOURCE_DEFINITION_NAMES),
            One,
            Keep,
        ),
        field(3, "storedVersions", Text, List, Keep),
        field(4, "observedGeneration", Integer, One, Omit),
    ],
};

pub(super) static CUSTOM_RESOURCE_DEFINITION_VERSION: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "served", Flag, One, Keep),
        field(3, "storage", Flag, One, Keep),
        field(4, "schema", Nested(&CUSTOM_RESOURCE_VALIDATION), One, Keep),
        field(
            5,
            "subresources",
            Nested(&CUSTOM_RESOURCE_SUBRESOURCES),
            One,
            Keep,
        ),
        field(
            6,
            "additionalPrinterColumns",
            Nested(&CUSTOM_RESOURCE_COLUMN_DEFINITION),
            List,
            Keep,
        ),
        field(7, "deprecated", Flag, One, Omit),
        field(8, "deprecationWarning", Text, One, Keep),
        field(9, "selectableFields", Nested(&SELECTABLE_FIELD), List, Keep),
    ],
};

pub(super) static CUSTOM_RESOURCE_SUBRESOURCES: Message = Message {
    fields: &[
        field(
            1,
            "status",
            Nested(&CUSTOM_RESOURCE_SUBRESOURCE_STATUS),
            One,
            Keep,
        ),
        field(
            2,
            "scale",
            Nested(&CUSTOM_RESOURCE_SUBRESOURCE_SCALE),
            One,
            Keep,
        ),
    ],
};

pub(super) static CUSTOM_RESOURCE_SUBRESOURCE_SCALE: Message = Message {
    fields: &[
        field(1, "specReplicasPath", Text, One, Keep),
        field(2, "statusReplicasPath", Text, One, Keep),
        field(3, "labelSelectorPath", Text, One, Keep),
    ],
};

pub(super) static CUSTOM_RESOURCE_SUBRESOURCE_STATUS: Message = Message { fields: &[] };

pub(super) static CUSTOM_RESOURCE_VALIDATION: Message = Message {
    fields: &[field(
        1,
        "openAPIV3Schema",
        Nested(&JSON_SCHEMA_PROPS),
        One,
        Keep,
    )],
};

pub(super) static DAEMON_ENDPOINT: Message = Message {
    fields: &[field(1, "Port", Integer, One, Keep)],
};

pub(super) static DELETE_OPTIONS: Message = Message {
    fields: &[
        field(1, "gracePeriodSeconds", Integer, One, Keep),
        field(2, "preconditions", Nested(&PRECONDITIONS), One, Keep),
        field(3, "orphanDependents", Flag, One, Keep),
        field(4, "propagationPolicy", Text, One, Keep),
        field(5, "dryRun", Text, List, Keep),
        field(
            6,
            "ignoreStoreReadErrorWithClusterBreakingPotential",
            Flag,
            One,
            Keep,
        ),
    ],
};

pub(super) static DOWNWARD_API_PROJECTION: Message = Message {
    fields: &[field(
        1,
        "items",
        Nested(&DOWNWARD_API_VOLUME_FILE),
        List,
        Keep,
    )],
};

pub(super) static DOWNWARD_API_VOLUME_FILE: Message = Message {
    fields: &[
        field(1, "path", Text, One, Keep),
        field(2, "fieldRef", Nested(&OBJECT_FIELD_SELECTOR), One, Keep),
        field(
            3,
            "resourceFieldRef",
            Nested(&RESOURCE_FIELD_SELECTOR),
            One,
            Keep,
        ),
        field(4, "mode", Integer, One, Keep),
    ],
};

pub(super) static DOWNWARD_API_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "items", Nested(&DOWNWARD_API_VOLUME_FILE), List, Keep),
        field(2, "defaultMode", Integer, One, Keep),
    ],
};

pub(super) static EMPTY_DIR_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "medium", Text, One, Omit),
        field(2, "sizeLimit", Quantity, One, Keep),
    ],
};

pub(super) static ENV_FROM_SOURCE: Message = Message {
    fields: &[
        field(1, "prefix", Text, One, Omit),
        field(2, "configMapRef", Nested(&CONFIG_MAP_ENV_SOURCE), One, Keep),
        field(3, "secretRef", Nested(&SECRET_ENV_SOURCE), One, Keep),
    ],
};

pub(super) static ENV_VAR: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "value", Text, One, Omit),
        field(3, "valueFrom", Nested(&ENV_VAR_SOURCE), One, Keep),
    ],
};

pub(super) static ENV_VAR_SOURCE: Message = Message {
    fields: &[
        field(1, "fieldRef", Nested(&OBJECT_FIELD_SELECTOR), One, Keep),
        field(
            2,
            "resourceFieldRef",
            Nested(&RESOURCE_FIELD_SELECTOR),
            One,
            Keep,
        ),
        field(
            3,
            "configMapKeyRef",
            Nested(&CONFIG_MAP_KEY_SELECTOR),
            One,
            Keep,
        ),
        field(4, "secretKeyRef", Nested(&SECRET_KEY_SELECTOR), One, Keep),
        field(5, "fileKeyRef", Nested(&FILE_KEY_SELECTOR), One, Keep),
    ],
};

pub(super) static EPHEMERAL_CONTAINER: Message = Message {
    fields: &[
        field(
            1,
            "EphemeralContainerCommon",
            Nested(&EPHEMERAL_CONTAINER_COMMON),
            Inline,
            Keep,
        ),
        field(2, "targetContainerName", Text, One, Omit),
    ],
};

pub(super) static EPHEMERAL_CONTAINER_COMMON: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "image", Text, One, Omit),
        field(3, "command", Text, List, Keep),
        field(4, "args", Text, List, Keep),
        field(5, "workingDir", Text, One, Omit),
        field(6, "ports", Nested(&CONTAINER_PORT), List, Keep),
        field(7, "env", Nested(&ENV_VAR), List, Keep),
        field(8, "resources", Nested(&RESOURCE_REQUIREMENTS), One, Keep),
        field(9, "volumeMounts", Nested(&VOLUME_MOUNT), List, Keep),
        field(10, "livenessProbe", Nested(&PROBE), One, Keep),
        field(11, "readinessProbe", Nested(&PROBE), One, Keep),
        field(12, "lifecycle", Nested(&LIFECYCLE), One, Keep),
        field(13, "terminationMessagePath", Text, One, Omit),
        field(14, "imagePullPolicy", Text, One, Omit),
        field(15, "securityContext", Nested(&SECURITY_CONTEXT), One, Keep),
        field(16, "stdin", Flag, One, Omit),
        field(17, "stdinOnce", Flag, One, Omit),
        field(18, "tty", Flag, One, Omit),
        field(19, "envFrom", Nested(&ENV_FROM_SOURCE), List, Keep),
        field(20, "terminationMessagePolicy", Text, One, Omit),
        field(21, "volumeDevices", Nested(&VOLUME_DEVICE), List, Keep),
        field(22, "startupProbe", Nested(&PROBE), One, Keep),
        field(
            23,
            "resizePolicy",
            Nested(&CONTAINER_RESIZE_POLICY),
            List,
            Keep,
        ),
        field(24, "restartPolicy", Text, One, Keep),
        field(
            25,
            "restartPolicyRules",
            Nested(&CONTAINER_RESTART_RULE),
            List,
            Keep,
        ),
    ],
};

pub(super) static EPHEMERAL_VOLUME_SOURCE: Message = Message {
    fields: &[field(
        1,
        "volumeClaimTemplate",
        Nested(&PERSISTENT_VOLUME_CLAIM_TEMPLATE),
        One,
        Keep,
    )],
};

pub(super) static EVENT: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "involvedObject", Nested(&OBJECT_REFERENCE), One, Keep),
        field(3, "reason", Text, One, Omit),
        field(4, "message", Text, One, Omit),
        field(5, "source", Nested(&EVENT_SOURCE), One, Keep),
        field(6, "firstTimestamp", Time, One, Keep),
        field(7, "lastTimestamp", Time, One, Keep),
        field(8, "count", Integer, One, Omit),
        field(9, "type", Text, One, Omit),
        field(10, "eventTime", MicroTime, One, Keep),
        field(11, "series", Nested(&EVENT_SERIES), One, Keep),
        field(12, "action", Text, One, Omit),
        field(13, "related", Nested(&OBJECT_REFERENCE), One, Keep),
        field(14, "reportingComponent", Text, One, Keep),
        field(15, "reportingInstance", Text, One, Keep),
    ],
};

pub(super) static EVENTS_EVENT: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "eventTime", MicroTime, One, Keep),
        field(3, "series", Nested(&EVENTS_EVENT_SERIES), One, Keep),
        field(4, "reportingController", Text, One, Omit),
        field(5, "reportingInstance", Text, One, Omit),
        field(6, "action", Text, One, Omit),
        field(7, "reason", Text, One, Omit),
        field(8, "regarding", Nested(&OBJECT_REFERENCE), One, Keep),
        field(9, "related", Nested(&OBJECT_REFERENCE), One, Keep),
        field(10, "note", Text, One, Omit),
        field(11, "type", Text, One, Omit),
        field(12, "deprecatedSource", Nested(&EVENT_SOURCE), One, Keep),
        field(13, "deprecatedFirstTimestamp", Time, One, Keep),
        field(14, "deprecatedLastTimestamp", Time, One, Keep),
        field(15, "deprecatedCount", Integer, One, Omit),
    ],
};

pub(super) static EVENTS_EVENT_SERIES: Message = Message {
    fields: &[
        field(1, "count", Integer, One, Keep),
        field(2, "lastObservedTime", MicroTime, One, Keep),
    ],
};

pub(super) static EVENT_SERIES: Message = Message {
    fields: &[
        field(1, "count", Integer, One, Omit),
        field(2, "lastObservedTime", MicroTime, One, Keep),
    ],
};

pub(super) static EVENT_SOURCE: Message = Message {
    fields: &[
        field(1, "component", Text, One, Omit),
        field(2, "host", Text, One, Omit),
    ],
};

pub(super) static EXEC_ACTION: Message = Message {
    fields: &[field(1, "command", Text, List, Keep)],
};

pub(super) static EXTERNAL_DOCUMENTATION: Message = Message {
    fields: &[
        field(1, "description", Text, One, Omit),
        field(2, "url", Text, One, Omit),
    ],
};

pub(super) static FC_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "targetWWNs", Text, List, Keep),
        field(2, "lun", Integer, One, Keep),
        field(3, "fsType", Text, One, Omit),
        field(4, "readOnly", Flag, One, Omit),
        field(5, "wwids", Text, List, Keep),
    ],
};

pub(super) static FIELD_SELECTOR_REQUIREMENT: Message = Message {
    fields: &[
        field(1, "key", Text, One, Keep),
        field(2, "operator", Text, One, Keep),
        field(3, "values", Text, List, Keep),
    ],
};

pub(super) static FILE_KEY_SELECTOR: Message = Message {
    fields: &[
        field(1, "volumeName", Text, One, Keep),
        field(2, "path", Text, One, Keep),
        field(3, "key", Text, One, Keep),
        field(4, "optional", Flag, One, Keep),
    ],
};

pub(super) static FLEX_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "driver", Text, One, Keep),
        field(2, "fsType", Text, One, Omit),
        field(3, "secretRef", Nested(&LOCAL_OBJECT_REFERENCE), One, Keep),
        field(4, "readOnly", Flag, One, Omit),
        field(5, "options", Text, Map, Keep),
    ],
};

pub(super) static FLOCKER_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "datasetName", Text, One, Omit),
        field(2, "datasetUUID", Text, One, Omit),
    ],
};

pub(super) static GCE_PERSISTENT_DISK_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "pdName", Text, One, Keep),
        field(2, "fsType", Text, One, Omit),
        field(3, "partition", Integer, One, Omit),
        field(4, "readOnly", Flag, One, Omit),
    ],
};

pub(super) static GIT_REPO_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "repository", Text, One, Keep),
        field(2, "revision", Text, One, Omit),
        field(3, "directory", Text, One, Omit),
    ],
};

pub(super) static GLUSTERFS_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "endpoints", Text, One, Keep),
        field(2, "path", Text, One, Keep),
        field(3, "readOnly", Flag, One, Omit),
    ],
};

pub(super) static GRPC_ACTION: Message = Message {
    fields: &[
        field(1, "port", Integer, One, Keep),
        field(2, "service", Text, One, Keep),
    ],
};

pub(super) static HOST_ALIAS: Message = Message {
    fields: &[
        field(1, "ip", Text, One, Keep),
        field(2, "hostnames", Text, List, Keep),
    ],
};

pub(super) static HOST_IP: Message = Message {
    fields: &[field(1, "ip", Text, One, Keep)],
};

pub(super) static HOST_PATH_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "path", Text, One, Keep),
        field(2, "type", Text, One, Keep),
    ],
};

pub(super) static HTTP_GET_ACTION: Message = Message {
    fields: &[
        field(1, "path", Text, One, Omit),
        field(2, "port", IntOrString, One, Keep),
        field(3, "host", Text, One, Omit),
        field(4, "scheme", Text, One, Omit),
        field(5, "httpHeaders", Nested(&HTTP_HEADER), List, Keep),
    ],
};

pub(super) static HTTP_HEADER: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "value", Text, One, Keep),
    ],
};

pub(super) static IMAGE_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "reference", Text, One, Omit),
        field(2, "pullPolicy", Text, One, Omit),
    ],
};

pub(super) static ISCSI_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "targetPortal", Text, One, Keep),
        field(2, "iqn", Text, One, Keep),
        field(3, "lun", Integer, One, Keep),
        field(4, "iscsiInterface", Text, One, Omit),
        field(5, "fsType", Text, One, Omit),
        field(6, "readOnly", Flag, One, Omit),
        field(7, "portals", Text, List, Keep),
        field(8, "chapAuthDiscovery", Flag, One, Omit),
        field(10, "secretRef", Nested(&LOCAL_OBJECT_REFERENCE), One, Keep),
        field(11, "chapAuthSession", Flag, One, Omit),
        field(12, "initiatorName", Text, One, Keep),
    ],
};

pub(super) static JSON_SCHEMA_PROPS: Message = Message {
    fields: &[
        field(1, "id", Text, One, Omit),
        field(2, "$schema", Text, One, Omit),
        field(3, "$ref", Text, One, Keep),
        field(4, "description", Text, One, Omit),
        field(5, "type", Text, One, Omit),
        field(6, "format", Text, One, Omit),
        field(7, "title", Text, One, Omit),
        field(8, "default", RawJson, One, Keep),
        field(9, "maximum", Double, One, Keep),
        field(10, "exclusiveMaximum", Flag, One, Omit),
        field(11, "minimum", Double, One, Keep),
        field(12, "exclusiveMinimum", Flag, One, Omit),
        field(13, "maxLength", Integer, One, Keep),
        field(14, "minLength", Integer, One, Keep),
        field(15, "pattern", Text, One, Omit),
        field(16, "maxItems", Integer, One, Keep),
        field(17, "minItems", Integer, One, Keep),
        field(18, "uniqueItems", Flag, One, Omit),
        field(19, "multipleOf", Double, One, Keep),
        field(20, "enum", RawJson, List, Keep),
        field(21, "maxProperties", Integer, One, Keep),
        field(22, "minProperties", Integer, One, Keep),
        field(23, "required", Text, List, Keep),
        field(24, "items", SchemaOrArray, One, Keep),
        field(25, "allOf", Nested(&JSON_SCHEMA_PROPS), List, Keep),
        field(26, "oneOf", Nested(&JSON_SCHEMA_PROPS), List, Keep),
        field(27, "anyOf", Nested(&JSON_SCHEMA_PROPS), List, Keep),
        field(28, "not", Nested(&JSON_SCHEMA_PROPS), One, Keep),
        field(29, "properties", Nested(&JSON_SCHEMA_PROPS), Map, Keep),
        field(30, "additionalProperties", SchemaOrBool, One, Keep),
        field(
            31,
            "patternProperties",
            Nested(&JSON_SCHEMA_PROPS),
            Map,
            Keep,
        ),
        field(32, "dependencies", SchemaOrStringArray, Map, Keep),
        field(33, "additionalItems", SchemaOrBool, One, Keep),
        field(34, "definitions", Nested(&JSON_SCHEMA_PROPS), Map, Keep),
        field(
            35,
            "externalDocs",
            Nested(&EXTERNAL_DOCUMENTATION),
            One,
            Keep,
        ),
        field(36, "example", RawJson, One, Keep),
        field(37, "nullable", Flag, One, Omit),
        field(38, "x-kubernetes-preserve-unknown-fields", Flag, One, Keep),
        field(39, "x-kubernetes-embedded-resource", Flag, One, Omit),
        field(40, "x-kubernetes-int-or-string", Flag, One, Omit),
        field(41, "x-kubernetes-list-map-keys", Text, List, Keep),
        field(42, "x-kubernetes-list-type", Text, One, Keep),
        field(43, "x-kubernetes-map-type", Text, One, Keep),
        field(
            44,
            "x-kubernetes-validations",
            Nested(&VALIDATION_RULE),
            List,
            Keep,
        ),
    ],
};

pub(super) static KEY_TO_PATH: Message = Message {
    fields: &[
        field(1, "key", Text, One, Keep),
        field(2, "path", Text, One, Keep),
        field(3, "mode", Integer, One, Keep),
    ],
};

pub(super) static LABEL_SELECTOR: Message = Message {
    fields: &[
        field(1, "matchLabels", Text, Map, Keep),
        field(
            2,
            "matchExpressions",
            Nested(&LABEL_SELECTOR_REQUIREMENT),
            List,
            Keep,
        ),
    ],
};

pub(super) static LABEL_SELECTOR_REQUIREMENT: Message = Message {
    fields: &[
        field(1, "key", Text, One, Keep),
        field(2, "operator", Text, One, Keep),
        field(3, "values", Text, List, Keep),
    ],
};

pub(super) static LIFECYCLE: Message = Message {
    fields: &[
        field(1, "postStart", Nested(&LIFECYCLE_HANDLER), One, Keep),
        field(2, "preStop", Nested(&LIFECYCLE_HANDLER), One, Keep),
        field(3, "stopSignal", Text, One, Keep),
    ],
};

pub(super) static LIFECYCLE_HANDLER: Message = Message {
    fields: &[
        field(1, "exec", Nested(&EXEC_ACTION), One, Keep),
        field(2, "httpGet", Nested(&HTTP_GET_ACTION), One, Keep),
        field(3, "tcpSocket", Nested(&TCP_SOCKET_ACTION), One, Keep),
        field(4, "sleep", Nested(&SLEEP_ACTION), One, Keep),
    ],
};

pub(super) static LINUX_CONTAINER_USER: Message = Message {
    fields: &[
        field(1, "uid", Integer, One, Keep),
        field(2, "gid", Integer, One, Keep),
        field(3, "supplementalGroups", Integer, List, Keep),
    ],
};

pub(super) static LIST_META: Message = Message {
    fields: &[
        field(1, "selfLink", Text, One, Omit),
        field(2, "resourceVersion", Text, One, Omit),
        field(3, "continue", Text, One, Omit),
        field(4, "remainingItemCount", Integer, One, Keep),
    ],
};

pub(super) static LOCAL_OBJECT_REFERENCE: Message = Message {
    fields: &[field(1, "name", Text, One, Omit)],
};

pub(super) static MANAGED_FIELDS_ENTRY: Message = Message {
    fields: &[
        field(1, "manager", Text, One, Omit),
        field(2, "operation", Text, One, Omit),
        field(3, "apiVersion", Text, One, Omit),
        field(4, "time", Time, One, Keep),
        field(6, "fieldsType", Text, One, Omit),
        field(7, "fieldsV1", RawJson, One, Keep),
        field(8, "subresource", Text, One, Omit),
    ],
};

pub(super) static MODIFY_VOLUME_STATUS: Message = Message {
    fields: &[
        field(1, "targetVolumeAttributesClassName", Text, One, Omit),
        field(2, "status", Text, One, Keep),
    ],
};

pub(super) static NAMESPACE: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "spec", Nested(&NAMESPACE_SPEC), One, Keep),
        field(3, "status", Nested(&NAMESPACE_STATUS), One, Keep),
    ],
};

pub(super) static NAMESPACE_CONDITION: Message = Message {
    fields: &[
        field(1, "type", Text, One, Keep),
        field(2, "status", Text, One, Keep),
        field(4, "lastTransitionTime", Time, One, Keep),
        field(5, "reason", Text, One, Omit),
        field(6, "message", Text, One, Omit),
    ],
};

pub(super) static NAMESPACE_SPEC: Message = Message {
    fields: &[field(1, "finalizers", Text, List, Keep)],
};

pub(super) static NAMESPACE_STATUS: Message = Message {
    fields: &[
        field(1, "phase", Text, One, Omit),
        field(2, "conditions", Nested(&NAMESPACE_CONDITION), List, Keep),
    ],
};

pub(super) static NFS_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "server", Text, One, Keep),
        field(2, "path", Text, One, Keep),
        field(3, "readOnly", Flag, One, Omit),
    ],
};

pub(super) static NODE: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "spec", Nested(&NODE_SPEC), One, Keep),
        field(3, "status", Nested(&NODE_STATUS), One, Keep),
    ],
};

pub(super) static NODE_ADDRESS: Message = Message {
    fields: &[
        field(1, "type", Text, One, Keep),
        field(2, "address", Text, One, Keep),
    ],
};

pub(super) static NODE_AFFINITY: Message = Message {
    fields: &[
        field(
            1,
            "requiredDuringSchedulingIgnoredDuringExecution",
            Nested(&NODE_SELECTOR),
            One,
            Keep,
        ),
        field(
            2,
            "preferredDuringSchedulingIgnoredDuringExecution",
            Nested(&PREFERRED_SCHEDULING_TERM),
            List,
            Keep,
        ),
    ],
};

pub(super) static NODE_CONDITION: Message = Message {
    fields: &[
        field(1, "type", Text, One, Keep),
        field(2, "status", Text, One, Keep),
        field(3, "lastHeartbeatTime", Time, One, Keep),
        field(4, "lastTransitionTime", Time, One, Keep),
        field(5, "reason", Text, One, Omit),
        field(6, "message", Text, One, Omit),
    ],
};

pub(super) static NODE_CONFIG_SOURCE: Message = Message {
    fields: &[field(
        2,
        "configMap",
        Nested(&CONFIG_MAP_NODE_CONFIG_SOURCE),
        One,
        Keep,
    )],
};

pub(super) static NODE_CONFIG_STATUS: Message = Message {
    fields: &[
        field(1, "assigned", Nested(&NODE_CONFIG_SOURCE), One, Keep),
        field(2, "active", Nested(&NODE_CONFIG_SOURCE), One, Keep),
        field(3, "lastKnownGood", Nested(&NODE_CONFIG_SOURCE), One, Keep),
        field(4, "error", Text, One, Omit),
    ],
};

pub(super) static NODE_DAEMON_ENDPOINTS: Message = Message {
    fields: &[field(
        1,
        "kubeletEndpoint",
        Nested(&DAEMON_ENDPOINT),
        One,
        Keep,
    )],
};

pub(super) static NODE_FEATURES: Message = Message {
    fields: &[field(1, "supplementalGroupsPolicy", Flag, One, Keep)],
};

pub(super) static NODE_RUNTIME_HANDLER: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(
            2,
            "features",
            Nested(&NODE_RUNTIME_HANDLER_FEATURES),
            One,
            Keep,
        ),
    ],
};

pub(super) static NODE_RUNTIME_HANDLER_FEATURES: Message = Message {
    fields: &[
        field(1, "recursiveReadOnlyMounts", Flag, One, Keep),
        field(2, "userNamespaces", Flag, One, Keep),
    ],
};

pub(super) static NODE_SELECTOR: Message = Message {
    fields: &[field(
        1,
        "nodeSelectorTerms",
        Nested(&NODE_SELECTOR_TERM),
        List,
        Keep,
    )],
};

pub(super) static NODE_SELECTOR_REQUIREMENT: Message = Message {
    fields: &[
        field(1, "key", Text, One, Keep),
        field(2, "operator", Text, One, Keep),
        field(3, "values", Text, List, Keep),
    ],
};

pub(super) static NODE_SELECTOR_TERM: Message = Message {
    fields: &[
        field(
            1,
            "matchExpressions",
            Nested(&NODE_SELECTOR_REQUIREMENT),
            List,
            Keep,
        ),
        field(
            2,
            "matchFields",
            Nested(&NODE_SELECTOR_REQUIREMENT),
            List,
            Keep,
        ),
    ],
};

pub(super) static NODE_SPEC: Message = Message {
    fields: &[
        field(1, "podCIDR", Text, One, Omit),
        field(2, "externalID", Text, One, Omit),
        field(3, "providerID", Text, One, Omit),
        field(4, "unschedulable", Flag, One, Omit),
        field(5, "taints", Nested(&TAINT), List, Keep),
        field(6, "configSource", Nested(&NODE_CONFIG_SOURCE), One, Keep),
        field(7, "podCIDRs", Text, List, Keep),
    ],
};

pub(super) static NODE_STATUS: Message = Message {
    fields: &[
        field(1, "capacity", Quantity, Map, Keep),
        field(2, "allocatable", Quantity, Map, Keep),
        field(3, "phase", Text, One, Omit),
        field(4, "conditions", Nested(&NODE_CONDITION), List, Keep),
        field(5, "addresses", Nested(&NODE_ADDRESS), List, Keep),
        field(
            6,
            "daemonEndpoints",
            Nested(&NODE_DAEMON_ENDPOINTS),
            One,
            Keep,
        ),
        field(7, "nodeInfo", Nested(&NODE_SYSTEM_INFO), One, Keep),
        field(8, "images", Nested(&CONTAINER_IMAGE), List, Keep),
        field(9, "volumesInUse", Text, List, Keep),
        field(10, "volumesAttached", Nested(&ATTACHED_VOLUME), List, Keep),
        field(11, "config", Nested(&NODE_CONFIG_STATUS), One, Keep),
        field(
            12,
            "runtimeHandlers",
            Nested(&NODE_RUNTIME_HANDLER),
            List,
            Keep,
        ),
        field(13, "features", Nested(&NODE_FEATURES), One, Keep),
        field(14, "declaredFeatures", Text, List, Keep),
    ],
};

pub(super) static NODE_SWAP_STATUS: Message = Message {
    fields: &[field(1, "capacity", Integer, One, Keep)],
};

pub(super) static NODE_SYSTEM_INFO: Message = Message {
    fields: &[
        field(1, "machineID", Text, One, Keep),
        field(2, "systemUUID", Text, One, Keep),
        field(3, "bootID", Text, One, Keep),
        field(4, "kernelVersion", Text, One, Keep),
        field(5, "osImage", Text, One, Keep),
        field(6, "containerRuntimeVersion", Text, One, Keep),
        field(7, "kubeletVersion", Text, One, Keep),
        field(8, "kubeProxyVersion", Text, One, Keep),
        field(9, "operatingSystem", Text, One, Keep),
        field(10, "architecture", Text, One, Keep),
        field(11, "swap", Nested(&NODE_SWAP_STATUS), One, Keep),
    ],
};

pub(super) static OBJECT_FIELD_SELECTOR: Message = Message {
    fields: &[
        field(1, "apiVersion", Text, One, Omit),
        field(2, "fieldPath", Text, One, Keep),
    ],
};

pub(super) static OBJECT_META: Message = Message {
    fields: &[
        field(1, "name", Text, One, Omit),
        field(2, "generateName", Text, One, Omit),
        field(3, "namespace", Text, One, Omit),
        field(4, "selfLink", Text, One, Omit),
        field(5, "uid", Text, One, Omit),
        field(6, "resourceVersion", Text, One, Omit),
        field(7, "generation", Integer, One, Omit),
        field(8, "creationTimestamp", Time, One, Keep),
        field(9, "deletionTimestamp", Time, One, Keep),
        field(10, "deletionGracePeriodSeconds", Integer, One, Keep),
        field(11, "labels", Text, Map, Keep),
        field(12, "annotations", Text, Map, Keep),
        field(13, "ownerReferences", Nested(&OWNER_REFERENCE), List, Keep),
        field(14, "finalizers", Text, List, Keep),
        field(
            17,
            "managedFields",
            Nested(&MANAGED_FIELDS_ENTRY),
            List,
            Keep,
        ),
    ],
};

pub(super) static OBJECT_REFERENCE: Message = Message {
    fields: &[
        field(1, "kind", Text, One, Omit),
        field(2, "namespace", Text, One, Omit),
        field(3, "name", Text, One, Omit),
        field(4, "uid", Text, One, Omit),
        field(5, "apiVersion", Text, One, Omit),
        field(6, "resourceVersion", Text, One, Omit),
        field(7, "fieldPath", Text, One, Omit),
    ],
};

pub(super) static OWNER_REFERENCE: Message = Message {
    fields: &[
        field(1, "kind", Text, One, Keep),
        field(3, "name", Text, One, Keep),
        field(4, "uid", Text, One, Keep),
        field(5, "apiVersion", Text, One, Keep),
        field(6, "controller", Flag, One, Keep),
        field(7, "blockOwnerDeletion", Flag, One, Keep),
    ],
};

pub(super) static PERSISTENT_VOLUME_CLAIM: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "spec", Nested(&PERSISTENT_VOLUME_CLAIM_SPEC), One, Keep),
        field(
            3,
            "status",
            Nested(&PERSISTENT_VOLUME_CLAIM_STATUS),
            One,
            Keep,
        ),
    ],
};

pub(super) static PERSISTENT_VOLUME_CLAIM_CONDITION: Message = Message {
    fields: &[
        field(1, "type", Text, One, Keep),
        field(2, "status", Text, One, Keep),
        field(3, "lastProbeTime", Time, One, Keep),
        field(4, "lastTransitionTime", Time, One, Keep),
        field(5, "reason", Text, One, Omit),
        field(6, "message", Text, One, Omit),
    ],
};

pub(super) static PERSISTENT_VOLUME_CLAIM_SPEC: Message = Message {
    fields: &[
        field(1, "accessModes", Text, List, Keep),
        field(
            2,
            "resources",
            Nested(&VOLUME_RESOURCE_REQUIREMENTS),
            One,
            Keep,
        ),
        field(3, "volumeName", Text, One, Omit),
        field(4, "selector", Nested(&LABEL_SELECTOR), One, Keep),
        field(5, "storageClassName", Text, One, Keep),
        field(6, "volumeMode", Text, One, Keep),
        field(
            7,
            "dataSource",
            Nested(&TYPED_LOCAL_OBJECT_REFERENCE),
            One,
            Keep,
        ),
        field(
            8,
            "dataSourceRef",
            Nested(&TYPED_OBJECT_REFERENCE),
            One,
            Keep,
        ),
        field(9, "volumeAttributesClassName", Text, One, Keep),
    ],
};

pub(super) static PERSISTENT_VOLUME_CLAIM_STATUS: Message = Message {
    fields: &[
        field(1, "phase", Text, One, Omit),
        field(2, "accessModes", Text, List, Keep),
        field(3, "capacity", Quantity, Map, Keep),
        field(
            4,
            "conditions",
            Nested(&PERSISTENT_VOLUME_CLAIM_CONDITION),
            List,
            Keep,
        ),
        field(5, "allocatedResources", Quantity, Map, Keep),
        field(7, "allocatedResourceStatuses", Text, Map, Keep),
        field(8, "currentVolumeAttributesClassName", Text, One, Keep),
        field(
            9,
            "modifyVolumeStatus",
            Nested(&MODIFY_VOLUME_STATUS),
            One,
            Keep,
        ),
    ],
};

pub(super) static PERSISTENT_VOLUME_CLAIM_TEMPLATE: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "spec", Nested(&PERSISTENT_VOLUME_CLAIM_SPEC), One, Keep),
    ],
};

pub(super) static PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "claimName", Text, One, Keep),
        field(2, "readOnly", Flag, One, Omit),
    ],
};

pub(super) static PHOTON_PERSISTENT_DISK_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "pdID", Text, One, Keep),
        field(2, "fsType", Text, One, Omit),
    ],
};

pub(super) static POD: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "spec", Nested(&POD_SPEC), One, Keep),
        field(3, "status", Nested(&POD_STATUS), One, Keep),
    ],
};

pub(super) static POD_AFFINITY: Message = Message {
    fields: &[
        field(
            1,
            "requiredDuringSchedulingIgnoredDuringExecution",
            Nested(&POD_AFFINITY_TERM),
            List,
            Keep,
        ),
        field(
            2,
            "preferredDuringSchedulingIgnoredDuringExecution",
            Nested(&WEIGHTED_POD_AFFINITY_TERM),
            List,
            Keep,
        ),
    ],
};

pub(super) static POD_AFFINITY_TERM: Message = Message {
    fields: &[
        field(1, "labelSelector", Nested(&LABEL_SELECTOR), One, Keep),
        field(2, "namespaces", Text, List, Keep),
        field(3, "topologyKey", Text, One, Keep),
        field(4, "namespaceSelector", Nested(&LABEL_SELECTOR), One, Keep),
        field(5, "matchLabelKeys", Text, List, Keep),
        field(6, "mismatchLabelKeys", Text, List, Keep),
    ],
};

pub(super) static POD_ANTI_AFFINITY: Message = Message {
    fields: &[
        field(
            1,
            "requiredDuringSchedulingIgnoredDuringExecution",
            Nested(&POD_AFFINITY_TERM),
            List,
            Keep,
        ),
        field(
            2,
            "preferredDuringSchedulingIgnoredDuringExecution",
            Nested(&WEIGHTED_POD_AFFINITY_TERM),
            List,
            Keep,
        ),
    ],
};

pub(super) static POD_CERTIFICATE_PROJECTION: Message = Message {
    fields: &[
        field(1, "signerName", Text, One, Omit),
        field(2, "keyType", Text, One, Omit),
        field(3, "maxExpirationSeconds", Integer, One, Keep),
        field(4, "credentialBundlePath", Text, One, Omit),
        field(5, "keyPath", Text, One, Omit),
        field(6, "certificateChainPath", Text, One, Omit),
        field(7, "userAnnotations", Text, Map, Keep),
    ],
};

pub(super) static POD_CONDITION: Message = Message {
    fields: &[
        field(1, "type", Text, One, Keep),
        field(2, "status", Text, One, Keep),
        field(3, "lastProbeTime", Time, One, Keep),
        field(4, "lastTransitionTime", Time, One, Keep),
        field(5, "reason", Text, One, Omit),
        field(6, "message", Text, One, Omit),
        field(7, "observedGeneration", Integer, One, Omit),
    ],
};

pub(super) static POD_DNS_CONFIG: Message = Message {
    fields: &[
        field(1, "nameservers", Text, List, Keep),
        field(2, "searches", Text, List, Keep),
        field(3, "options", Nested(&POD_DNS_CONFIG_OPTION), List, Keep),
    ],
};

pub(super) static POD_DNS_CONFIG_OPTION: Message = Message {
    fields: &[
        field(1, "name", Text, One, Omit),
        field(2, "value", Text, One, Keep),
    ],
};

pub(super) static POD_EXTENDED_RESOURCE_CLAIM_STATUS: Message = Message {
    fields: &[
        field(
            1,
            "requestMappings",
            Nested(&CONTAINER_EXTENDED_RESOURCE_REQUEST),
            List,
            Keep,
        ),
        field(2, "resourceClaimName", Text, One, Keep),
    ],
};

pub(super) static POD_IP: Message = Message {
    fields: &[field(1, "ip", Text, One, Keep)],
};

pub(super) static POD_OS: Message = Message {
    fields: &[field(1, "name", Text, One, Keep)],
};

pub(super) static POD_READINESS_GATE: Message = Message {
    fields: &[field(1, "conditionType", Text, One, Keep)],
};

pub(super) static POD_RESOURCE_CLAIM: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(3, "resourceClaimName", Text, One, Keep),
        field(4, "resourceClaimTemplateName", Text, One, Keep),
    ],
};

pub(super) static POD_RESOURCE_CLAIM_STATUS: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "resourceClaimName", Text, One, Keep),
    ],
};

pub(super) static POD_SCHEDULING_GATE: Message = Message {
    fields: &[field(1, "name", Text, One, Keep)],
};

pub(super) static POD_SECURITY_CONTEXT: Message = Message {
    fields: &[
        field(1, "seLinuxOptions", Nested(&SE_LINUX_OPTIONS), One, Keep),
        field(2, "runAsUser", Integer, One, Keep),
        field(3, "runAsNonRoot", Flag, One, Keep),
        field(4, "supplementalGroups", Integer, List, Keep),
        field(5, "fsGroup", Integer, One, Keep),
        field(6, "runAsGroup", Integer, One, Keep),
        field(7, "sysctls", Nested(&SYSCTL), List, Keep),
        field(
            8,
            "windowsOptions",
            Nested(&WINDOWS_SECURITY_CONTEXT_OPTIONS),
            One,
            Keep,
        ),
        field(9, "fsGroupChangePolicy", Text, One, Keep),
        field(10, "seccompProfile", Nested(&SECCOMP_PROFILE), One, Keep),
        field(11, "appArmorProfile", Nested(&APP_ARMOR_PROFILE), One, Keep),
        field(12, "supplementalGroupsPolicy", Text, One, Keep),
        field(13, "seLinuxChangePolicy", Text, One, Keep),
    ],
};

pub(super) static POD_SPEC: Message = Message {
    fields: &[
        field(1, "volumes", Nested(&VOLUME), List, Keep),
        field(2, "containers", Nested(&CONTAINER), List, Keep),
        field(3, "restartPolicy", Text, One, Omit),
        field(4, "terminationGracePeriodSeconds", Integer, One, Keep),
        field(5, "activeDeadlineSeconds", Integer, One, Keep),
        field(6, "dnsPolicy", Text, One, Omit),
        field(7, "nodeSelector", Text, Map, Keep),
        field(8, "serviceAccountName", Text, One, Omit),
        field(9, "serviceAccount", Text, One, Omit),
        field(10, "nodeName", Text, One, Omit),
        field(11, "hostNetwork", Flag, One, Omit),
        field(12, "hostPID", Flag, One, Omit),
        field(13, "hostIPC", Flag, One, Omit),
        field(
            14,
            "securityContext",
            Nested(&POD_SECURITY_CONTEXT),
            One,
            Keep,
        ),
        field(
            15,
            "imagePullSecrets",
            Nested(&LOCAL_OBJECT_REFERENCE),
            List,
            Keep,
        ),
        field(16, "hostname", Text, One, Omit),
        field(17, "subdomain", Text, One, Omit),
        field(18, "affinity", Nested(&AFFINITY), One, Keep),
        field(19, "schedulerName", Text, One, Omit),
        field(20, "initContainers", Nested(&CONTAINER), List, Keep),
        field(21, "automountServiceAccountToken", Flag, One, Keep),
        field(22, "tolerations", Nested(&TOLERATION), List, Keep),
        field(23, "hostAliases", Nested(&HOST_ALIAS), List, Keep),
        field(24, "priorityClassName", Text, One, Omit),
        field(25, "priority", Integer, One, Keep),
        field(26, "dnsConfig", Nested(&POD_DNS_CONFIG), One, Keep),
        field(27, "shareProcessNamespace", Flag, One, Keep),
        field(
            28,
            "readinessGates",
            Nested(&POD_READINESS_GATE),
            List,
            Keep,
        ),
        field(29, "runtimeClassName", Text, One, Keep),
        field(30, "enableServiceLinks", Flag, One, Keep),
        field(31, "preemptionPolicy", Text, One, Keep),
        field(32, "overhead", Quantity, Map, Keep),
        field(
            33,
            "topologySpreadConstraints",
            Nested(&TOPOLOGY_SPREAD_CONSTRAINT),
            List,
            Keep,
        ),
        field(
            34,
            "ephemeralContainers",
            Nested(&EPHEMERAL_CONTAINER),
            List,
            Keep,
        ),
        field(35, "setHostnameAsFQDN", Flag, One, Keep),
        field(36, "os", Nested(&POD_OS), One, Keep),
        field(37, "hostUsers", Flag, One, Keep),
        field(
            38,
            "schedulingGates",
            Nested(&POD_SCHEDULING_GATE),
            List,
            Keep,
        ),
        field(
            39,
            "resourceClaims",
            Nested(&POD_RESOURCE_CLAIM),
            List,
            Keep,
        ),
        field(40, "resources", Nested(&RESOURCE_REQUIREMENTS), One, Keep),
        field(41, "hostnameOverride", Text, One, Keep),
        field(42, "workloadRef", Nested(&WORKLOAD_REFERENCE), One, Keep),
    ],
};

pub(super) static POD_STATUS: Message = Message {
    fields: &[
        field(1, "phase", Text, One, Omit),
        field(2, "conditions", Nested(&POD_CONDITION), List, Keep),
        field(3, "message", Text, One, Omit),
        field(4, "reason", Text, One, Omit),
        field(5, "hostIP", Text, One, Omit),
        field(6, "podIP", Text, One, Omit),
        field(7, "startTime", Time, One, Keep),
        field(
            8,
            "containerStatuses",
            Nested(&CONTAINER_STATUS),
            List,
            Keep,
        ),
        field(9, "qosClass", Text, One, Omit),
        field(
            10,
            "initContainerStatuses",
            Nested(&CONTAINER_STATUS),
            List,
            Keep,
        ),
        field(11, "nominatedNodeName", Text, One, Omit),
        field(12, "podIPs", Nested(&POD_IP), List, Keep),
        field(
            13,
            "ephemeralContainerStatuses",
            Nested(&CONTAINER_STATUS),
            List,
            Keep,
        ),
        field(14, "resize", Text, One, Omit),
        field(
            15,
            "resourceClaimStatuses",
            Nested(&POD_RESOURCE_CLAIM_STATUS),
            List,
            Keep,
        ),
        field(16, "hostIPs", Nested(&HOST_IP), List, Keep),
        field(17, "observedGeneration", Integer, One, Omit),
        field(
            18,
            "extendedResourceClaimStatus",
            Nested(&POD_EXTENDED_RESOURCE_CLAIM_STATUS),
            One,
            Keep,
        ),
        field(19, "allocatedResources", Quantity, Map, Keep),
        field(20, "resources", Nested(&RESOURCE_REQUIREMENTS), One, Keep),
    ],
};

pub(super) static POLICY_EVICTION: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "deleteOptions", Nested(&DELETE_OPTIONS), One, Keep),
    ],
};

pub(super) static PORTWORX_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "volumeID", Text, One, Keep),
        field(2, "fsType", Text, One, Omit),
        field(3, "readOnly", Flag, One, Omit),
    ],
};

pub(super) static PRECONDITIONS: Message = Message {
    fields: &[
        field(1, "uid", Text, One, Keep),
        field(2, "resourceVersion", Text, One, Keep),
    ],
};

pub(super) static PREFERRED_SCHEDULING_TERM: Message = Message {
    fields: &[
        field(1, "weight", Integer, One, Keep),
        field(2, "preference", Nested(&NODE_SELECTOR_TERM), One, Keep),
    ],
};

pub(super) static PROBE: Message = Message {
    fields: &[
        field(1, "ProbeHandler", Nested(&PROBE_HANDLER), Inline, Keep),
        field(2, "initialDelaySeconds", Integer, One, Omit),
        field(3, "timeoutSeconds", Integer, One, Omit),
        field(4, "periodSeconds", Integer, One, Omit),
        field(5, "successThreshold", Integer, One, Omit),
        field(6, "failureThreshold", Integer, One, Omit),
        field(7, "terminationGracePeriodSeconds", Integer, One, Keep),
    ],
};

pub(super) static PROBE_HANDLER: Message = Message {
    fields: &[
        field(1, "exec", Nested(&EXEC_ACTION), One, Keep),
        field(2, "httpGet", Nested(&HTTP_GET_ACTION), One, Keep),
        field(3, "tcpSocket", Nested(&TCP_SOCKET_ACTION), One, Keep),
        field(4, "grpc", Nested(&GRPC_ACTION), One, Keep),
    ],
};

pub(super) static PROJECTED_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "sources", Nested(&VOLUME_PROJECTION), List, Keep),
        field(2, "defaultMode", Integer, One, Keep),
    ],
};

pub(super) static QUOBYTE_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "registry", Text, One, Keep),
        field(2, "volume", Text, One, Keep),
        field(3, "readOnly", Flag, One, Omit),
        field(4, "user", Text, One, Omit),
        field(5, "group", Text, One, Omit),
        field(6, "tenant", Text, One, Omit),
    ],
};

pub(super) static RBD_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "monitors", Text, List, Keep),
        field(2, "image", Text, One, Keep),
        field(3, "fsType", Text, One, Omit),
        field(4, "pool", Text, One, Omit),
        field(5, "user", Text, One, Omit),
        field(6, "keyring", Text, One, Omit),
        field(7, "secretRef", Nested(&LOCAL_OBJECT_REFERENCE), One, Keep),
        field(8, "readOnly", Flag, One, Omit),
    ],
};

pub(super) static RESOURCE_CLAIM: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "request", Text, One, Omit),
    ],
};

pub(super) static RESOURCE_FIELD_SELECTOR: Message = Message {
    fields: &[
        field(1, "containerName", Text, One, Omit),
        field(2, "resource", Text, One, Keep),
        field(3, "divisor", Quantity, One, Omit),
    ],
};

pub(super) static RESOURCE_HEALTH: Message = Message {
    fields: &[
        field(1, "resourceID", Text, One, Keep),
        field(2, "health", Text, One, Omit),
    ],
};

pub(super) static RESOURCE_REQUIREMENTS: Message = Message {
    fields: &[
        field(1, "limits", Quantity, Map, Keep),
        field(2, "requests", Quantity, Map, Keep),
        field(3, "claims", Nested(&RESOURCE_CLAIM), List, Keep),
    ],
};

pub(super) static RESOURCE_STATUS: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "resources", Nested(&RESOURCE_HEALTH), List, Keep),
    ],
};

pub(super) static SCALE_IO_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "gateway", Text, One, Keep),
        field(2, "system", Text, One, Keep),
        field(3, "secretRef", Nested(&LOCAL_OBJECT_REFERENCE), One, Keep),
        field(4, "sslEnabled", Flag, One, Omit),
        field(5, "protectionDomain", Text, One, Omit),
        field(6, "storagePool", Text, One, Omit),
        field(7, "storageMode", Text, One, Omit),
        field(8, "volumeName", Text, One, Omit),
        field(9, "fsType", Text, One, Omit),
        field(10, "readOnly", Flag, One, Omit),
    ],
};

pub(super) static SCHEDULING_PRIORITY_CLASS: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "value", Integer, One, Keep),
        field(3, "globalDefault", Flag, One, Omit),
        field(4, "description", Text, One, Omit),
        field(5, "preemptionPolicy", Text, One, Keep),
    ],
};

pub(super) static SECCOMP_PROFILE: Message = Message {
    fields: &[
        field(1, "type", Text, One, Keep),
        field(2, "localhostProfile", Text, One, Keep),
    ],
};

pub(super) static SECRET: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "data", Bytes, Map, Keep),
        field(3, "type", Text, One, Omit),
        field(4, "stringData", Text, Map, Keep),
        field(5, "immutable", Flag, One, Keep),
    ],
};

pub(super) static SECRET_ENV_SOURCE: Message = Message {
    fields: &[
        field(
            1,
            "LocalObjectReference",
            Nested(&LOCAL_OBJECT_REFERENCE),
            Inline,
            Keep,
        ),
        field(2, "optional", Flag, One, Keep),
    ],
};

pub(super) static SECRET_KEY_SELECTOR: Message = Message {
    fields: &[
        field(
            1,
            "LocalObjectReference",
            Nested(&LOCAL_OBJECT_REFERENCE),
            Inline,
            Keep,
        ),
        field(2, "key", Text, One, Keep),
        field(3, "optional", Flag, One, Keep),
    ],
};

pub(super) static SECRET_PROJECTION: Message = Message {
    fields: &[
        field(
            1,
            "LocalObjectReference",
            Nested(&LOCAL_OBJECT_REFERENCE),
            Inline,
            Keep,
        ),
        field(2, "items", Nested(&KEY_TO_PATH), List, Keep),
        field(4, "optional", Flag, One, Keep),
    ],
};

pub(super) static SECRET_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "secretName", Text, One, Omit),
        field(2, "items", Nested(&KEY_TO_PATH), List, Keep),
        field(3, "defaultMode", Integer, One, Keep),
        field(4, "optional", Flag, One, Keep),
    ],
};

pub(super) static SECURITY_CONTEXT: Message = Message {
    fields: &[
        field(1, "capabilities", Nested(&CAPABILITIES), One, Keep),
        field(2, "privileged", Flag, One, Keep),
        field(3, "seLinuxOptions", Nested(&SE_LINUX_OPTIONS), One, Keep),
        field(4, "runAsUser", Integer, One, Keep),
        field(5, "runAsNonRoot", Flag, One, Keep),
        field(6, "readOnlyRootFilesystem", Flag, One, Keep),
        field(7, "allowPrivilegeEscalation", Flag, One, Keep),
        field(8, "runAsGroup", Integer, One, Keep),
        field(9, "procMount", Text, One, Keep),
        field(
            10,
            "windowsOptions",
            Nested(&WINDOWS_SECURITY_CONTEXT_OPTIONS),
            One,
            Keep,
        ),
        field(11, "seccompProfile", Nested(&SECCOMP_PROFILE), One, Keep),
        field(12, "appArmorProfile", Nested(&APP_ARMOR_PROFILE), One, Keep),
    ],
};

pub(super) static SELECTABLE_FIELD: Message = Message {
    fields: &[field(1, "jsonPath", Text, One, Keep)],
};

pub(super) static SERVICE_ACCOUNT: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&OBJECT_META), One, Keep),
        field(2, "secrets", Nested(&OBJECT_REFERENCE), List, Keep),
        field(
            3,
            "imagePullSecrets",
            Nested(&LOCAL_OBJECT_REFERENCE),
            List,
            Keep,
        ),
        field(4, "automountServiceAccountToken", Flag, One, Keep),
    ],
};

pub(super) static SERVICE_ACCOUNT_TOKEN_PROJECTION: Message = Message {
    fields: &[
        field(1, "audience", Text, One, Omit),
        field(2, "expirationSeconds", Integer, One, Keep),
        field(3, "path", Text, One, Keep),
    ],
};

pub(super) static SERVICE_REFERENCE: Message = Message {
    fields: &[
        field(1, "namespace", Text, One, Keep),
        field(2, "name", Text, One, Keep),
        field(3, "path", Text, One, Keep),
        field(4, "port", Integer, One, Keep),
    ],
};

pub(super) static SE_LINUX_OPTIONS: Message = Message {
    fields: &[
        field(1, "user", Text, One, Omit),
        field(2, "role", Text, One, Omit),
        field(3, "type", Text, One, Omit),
        field(4, "level", Text, One, Omit),
    ],
};

pub(super) static SLEEP_ACTION: Message = Message {
    fields: &[field(1, "seconds", Integer, One, Keep)],
};

pub(super) static STATUS: Message = Message {
    fields: &[
        field(1, "metadata", Nested(&LIST_META), One, Keep),
        field(2, "status", Text, One, Omit),
        field(3, "message", Text, One, Omit),
        field(4, "reason", Text, One, Omit),
        field(5, "details", Nested(&STATUS_DETAILS), One, Keep),
        field(6, "code", Integer, One, Omit),
    ],
};

pub(super) static STATUS_CAUSE: Message = Message {
    fields: &[
        field(1, "reason", Text, One, Omit),
        field(2, "message", Text, One, Omit),
        field(3, "field", Text, One, Omit),
    ],
};

pub(super) static STATUS_DETAILS: Message = Message {
    fields: &[
        field(1, "name", Text, One, Omit),
        field(2, "group", Text, One, Omit),
        field(3, "kind", Text, One, Omit),
        field(4, "causes", Nested(&STATUS_CAUSE), List, Keep),
        field(5, "retryAfterSeconds", Integer, One, Omit),
        field(6, "uid", Text, One, Omit),
    ],
};

pub(super) static STORAGE_OS_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "volumeName", Text, One, Omit),
        field(2, "volumeNamespace", Text, One, Omit),
        field(3, "fsType", Text, One, Omit),
        field(4, "readOnly", Flag, One, Omit),
        field(5, "secretRef", Nested(&LOCAL_OBJECT_REFERENCE), One, Keep),
    ],
};

pub(super) static SYSCTL: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "value", Text, One, Keep),
    ],
};

pub(super) static TAINT: Message = Message {
    fields: &[
        field(1, "key", Text, One, Keep),
        field(2, "value", Text, One, Omit),
        field(3, "effect", Text, One, Keep),
        field(4, "timeAdded", Time, One, Keep),
    ],
};

pub(super) static TCP_SOCKET_ACTION: Message = Message {
    fields: &[
        field(1, "port", IntOrString, One, Keep),
        field(2, "host", Text, One, Omit),
    ],
};

pub(super) static TOLERATION: Message = Message {
    fields: &[
        field(1, "key", Text, One, Omit),
        field(2, "operator", Text, One, Omit),
        field(3, "value", Text, One, Omit),
        field(4, "effect", Text, One, Omit),
        field(5, "tolerationSeconds", Integer, One, Keep),
    ],
};

pub(super) static TOPOLOGY_SPREAD_CONSTRAINT: Message = Message {
    fields: &[
        field(1, "maxSkew", Integer, One, Keep),
        field(2, "topologyKey", Text, One, Keep),
        field(3, "whenUnsatisfiable", Text, One, Keep),
        field(4, "labelSelector", Nested(&LABEL_SELECTOR), One, Keep),
        field(5, "minDomains", Integer, One, Keep),
        field(6, "nodeAffinityPolicy", Text, One, Keep),
        field(7, "nodeTaintsPolicy", Text, One, Keep),
        field(8, "matchLabelKeys", Text, List, Keep),
    ],
};

pub(super) static TYPED_LOCAL_OBJECT_REFERENCE: Message = Message {
    fields: &[
        field(1, "apiGroup", Text, One, Keep),
        field(2, "kind", Text, One, Keep),
        field(3, "name", Text, One, Keep),
    ],
};

pub(super) static TYPED_OBJECT_REFERENCE: Message = Message {
    fields: &[
        field(1, "apiGroup", Text, One, Keep),
        field(2, "kind", Text, One, Keep),
        field(3, "name", Text, One, Keep),
        field(4, "namespace", Text, One, Keep),
    ],
};

pub(super) static VALIDATION_RULE: Message = Message {
    fields: &[
        field(1, "rule", Text, One, Keep),
        field(2, "message", Text, One, Omit),
        field(3, "messageExpression", Text, One, Omit),
        field(4, "reason", Text, One, Keep),
        field(5, "fieldPath", Text, One, Omit),
        field(6, "optionalOldSelf", Flag, One, Keep),
    ],
};

pub(super) static VOLUME: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "VolumeSource", Nested(&VOLUME_SOURCE), Inline, Keep),
    ],
};

pub(super) static VOLUME_DEVICE: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "devicePath", Text, One, Keep),
    ],
};

pub(super) static VOLUME_MOUNT: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "readOnly", Flag, One, Omit),
        field(3, "mountPath", Text, One, Keep),
        field(4, "subPath", Text, One, Omit),
        field(5, "mountPropagation", Text, One, Keep),
        field(6, "subPathExpr", Text, One, Omit),
        field(7, "recursiveReadOnly", Text, One, Keep),
    ],
};

pub(super) static VOLUME_MOUNT_STATUS: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "mountPath", Text, One, Keep),
        field(3, "readOnly", Flag, One, Omit),
        field(4, "recursiveReadOnly", Text, One, Keep),
    ],
};

pub(super) static VOLUME_PROJECTION: Message = Message {
    fields: &[
        field(1, "secret", Nested(&SECRET_PROJECTION), One, Keep),
        field(
            2,
            "downwardAPI",
            Nested(&DOWNWARD_API_PROJECTION),
            One,
            Keep,
        ),
        field(3, "configMap", Nested(&CONFIG_MAP_PROJECTION), One, Keep),
        field(
            4,
            "serviceAccountToken",
            Nested(&SERVICE_ACCOUNT_TOKEN_PROJECTION),
            One,
            Keep,
        ),
        field(
            5,
            "clusterTrustBundle",
            Nested(&CLUSTER_TRUST_BUNDLE_PROJECTION),
            One,
            Keep,
        ),
        field(
            6,
            "podCertificate",
            Nested(&POD_CERTIFICATE_PROJECTION),
            One,
            Keep,
        ),
    ],
};

pub(super) static VOLUME_RESOURCE_REQUIREMENTS: Message = Message {
    fields: &[
        field(1, "limits", Quantity, Map, Keep),
        field(2, "requests", Quantity, Map, Keep),
    ],
};

pub(super) static VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "hostPath", Nested(&HOST_PATH_VOLUME_SOURCE), One, Keep),
        field(2, "emptyDir", Nested(&EMPTY_DIR_VOLUME_SOURCE), One, Keep),
        field(
            3,
            "gcePersistentDisk",
            Nested(&GCE_PERSISTENT_DISK_VOLUME_SOURCE),
            One,
            Keep,
        ),
        field(
            4,
            "awsElasticBlockStore",
            Nested(&AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE),
            One,
            Keep,
        ),
        field(5, "gitRepo", Nested(&GIT_REPO_VOLUME_SOURCE), One, Keep),
        field(6, "secret", Nested(&SECRET_VOLUME_SOURCE), One, Keep),
        field(7, "nfs", Nested(&NFS_VOLUME_SOURCE), One, Keep),
        field(8, "iscsi", Nested(&ISCSI_VOLUME_SOURCE), One, Keep),
        field(9, "glusterfs", Nested(&GLUSTERFS_VOLUME_SOURCE), One, Keep),
        field(
            10,
            "persistentVolumeClaim",
            Nested(&PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE),
            One,
            Keep,
        ),
        field(11, "rbd", Nested(&RBD_VOLUME_SOURCE), One, Keep),
        field(12, "flexVolume", Nested(&FLEX_VOLUME_SOURCE), One, Keep),
        field(13, "cinder", Nested(&CINDER_VOLUME_SOURCE), One, Keep),
        field(14, "cephfs", Nested(&CEPH_FS_VOLUME_SOURCE), One, Keep),
        field(15, "flocker", Nested(&FLOCKER_VOLUME_SOURCE), One, Keep),
        field(
            16,
            "downwardAPI",
            Nested(&DOWNWARD_API_VOLUME_SOURCE),
            One,
            Keep,
        ),
        field(17, "fc", Nested(&FC_VOLUME_SOURCE), One, Keep),
        field(
            18,
            "azureFile",
            Nested(&AZURE_FILE_VOLUME_SOURCE),
            One,
            Keep,
        ),
        field(
            19,
            "configMap",
            Nested(&CONFIG_MAP_VOLUME_SOURCE),
            One,
            Keep,
        ),
        field(
            20,
            "vsphereVolume",
            Nested(&VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE),
            One,
            Keep,
        ),
        field(21, "quobyte", Nested(&QUOBYTE_VOLUME_SOURCE), One, Keep),
        field(
            22,
            "azureDisk",
            Nested(&AZURE_DISK_VOLUME_SOURCE),
            One,
            Keep,
        ),
        field(
            23,
            "photonPersistentDisk",
            Nested(&PHOTON_PERSISTENT_DISK_VOLUME_SOURCE),
            One,
            Keep,
        ),
        field(
            24,
            "portworxVolume",
            Nested(&PORTWORX_VOLUME_SOURCE),
            One,
            Keep,
        ),
        field(25, "scaleIO", Nested(&SCALE_IO_VOLUME_SOURCE), One, Keep),
        field(26, "projected", Nested(&PROJECTED_VOLUME_SOURCE), One, Keep),
        field(
            27,
            "storageos",
            Nested(&STORAGE_OS_VOLUME_SOURCE),
            One,
            Keep,
        ),
        field(28, "csi", Nested(&CSI_VOLUME_SOURCE), One, Keep),
        field(29, "ephemeral", Nested(&EPHEMERAL_VOLUME_SOURCE), One, Keep),
        field(30, "image", Nested(&IMAGE_VOLUME_SOURCE), One, Keep),
    ],
};

pub(super) static VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE: Message = Message {
    fields: &[
        field(1, "volumePath", Text, One, Keep),
        field(2, "fsType", Text, One, Omit),
        field(3, "storagePolicyName", Text, One, Omit),
        field(4, "storagePolicyID", Text, One, Omit),
    ],
};

pub(super) static WEBHOOK_CLIENT_CONFIG: Message = Message {
    fields: &[
        field(1, "service", Nested(&SERVICE_REFERENCE), One, Keep),
        field(2, "caBundle", Bytes, One, Omit),
        field(3, "url", Text, One, Keep),
    ],
};

pub(super) static WEBHOOK_CONVERSION: Message = Message {
    fields: &[
        field(2, "clientConfig", Nested(&WEBHOOK_CLIENT_CONFIG), One, Keep),
        field(3, "conversionReviewVersions", Text, List, Keep),
    ],
};

pub(super) static WEIGHTED_POD_AFFINITY_TERM: Message = Message {
    fields: &[
        field(1, "weight", Integer, One, Keep),
        field(2, "podAffinityTerm", Nested(&POD_AFFINITY_TERM), One, Keep),
    ],
};

pub(super) static WINDOWS_SECURITY_CONTEXT_OPTIONS: Message = Message {
    fields: &[
        field(1, "gmsaCredentialSpecName", Text, One, Keep),
        field(2, "gmsaCredentialSpec", Text, One, Keep),
        field(3, "runAsUserName", Text, One, Keep),
        field(4, "hostProcess", Flag, One, Keep),
    ],
};

pub(super) static WORKLOAD_REFERENCE: Message = Message {
    fields: &[
        field(1, "name", Text, One, Keep),
        field(2, "podGroup", Text, One, Keep),
        field(3, "podGroupReplicaKey", Text, One, Omit),
    ],
};
