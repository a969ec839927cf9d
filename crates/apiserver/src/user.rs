//! Who sends a request.

use std::collections::BTreeMap;

/// An authenticated (or anonymous) sender of requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// The user's name, e.g. `system:admin`; the common name of a client certificate.
    pub name: String,
    /// An identifier that stays with the user through renames; may be empty.
    pub uid: String,
    /// Groups, e.g. `system:masters`; the organisations of a client certificate.
    pub groups: Vec<String>,
    /// Whatever else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The group whose members may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of every user who proved an identity.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of the user who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of the user who proved no identity.
pub const ANONYMOUS: &str = "system:anonymous";

impl User {
    /// A user with this name and these groups; `system:authenticated` is added.
    pub fn new<G: Into<String>>(
        name: impl Into<String>,
        groups: impl IntoIterator<Item = G>,
    ) -> User {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        User {
            name: name.into(),
            groups,
            ..User::default()
        }
    }

    /// A member of `system:masters`, who may do everything.
    pub fn admin(name: impl Into<String>) -> User {
        User::new(name, [MASTERS])
    }

    /// The service account `name` of `namespace`, with the groups that upstream gives it.
    pub fn service_account(namespace: &str, name: &str) -> User {
        User::new(
            format!("system:serviceaccount:{namespace}:{name}"),
            [
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ],
        )
    }

    /// The sender who proved no identity.
    pub fn anonymous() -> User {
        User {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..User::default()
        }
    }

    /// Whether the user belongs to `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}
