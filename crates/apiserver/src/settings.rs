//! What the embedding program decides about the server.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::user::User;

/// A bearer token and whom it proves.
#[derive(Clone)]
pub struct Token {
    /// The secret itself; only its hash is kept by the server.
    pub secret: String,
    /// Whom it proves.
    pub user: User,
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A secret has no place in a log.
        formatter
            .debug_struct("Token")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Tells the time. Tests hand in their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Settings of an [`crate::ApiServer`].
#[derive(Clone)]
pub struct Settings {
    /// Groups whose members may do everything, beside `system:masters`.
    pub trusted_groups: Vec<String>,
    /// Groups whose members may read all objects but Secrets, and neither streams nor other sub-resources.
    pub viewer_groups: Vec<String>,
    /// Static bearer tokens.
    pub tokens: Vec<Token>,
    /// The certificate authority's certificate, for the ConfigMap `kube-root-ca.crt` of each
    /// namespace. Empty: no such ConfigMap is made.
    pub ca_pem: String,
    /// `gitVersion` of `/version`: a Kubernetes version with a suffix, e.g. `v1.35.0+anyvirt`.
    pub version: String,
    /// The time.
    pub clock: Clock,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("trusted_groups", &self.trusted_groups)
            .field("viewer_groups", &self.viewer_groups)
            .field("tokens", &self.tokens)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            trusted_groups: Vec::new(),
            viewer_groups: Vec::new(),
            tokens: Vec::new(),
            ca_pem: String::new(),
            // The API that is served is that of the k8s-openapi version of this workspace.
            version: "v1.35.0+anyvirt".to_owned(),
            clock: Arc::new(Timestamp::now),
        }
    }
}
