//! `meta.k8s.io/v1` Table: columns and rows for `kubectl get`.
