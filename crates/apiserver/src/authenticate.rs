//! Who sends a request: a client certificate, a bearer token, or nobody in particular.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::front::{Proof, Proven};
use crate::settings::Token;
use crate::status::Status;
use crate::user::User;

/// Static tokens by the hash of their secret. The hash makes the time of a look-up independent of
/// how much of a guessed secret is right.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Vec<([u8; 32], User)>);

impl Tokens {
    /// A table of these tokens.
    pub(crate) fn new(tokens: &[Token]) -> Tokens {
        Tokens(
            tokens
                .iter()
                .map(|token| (hash(&token.secret), authenticated(token.user.clone())))
                .collect(),
        )
    }

    /// Whom a secret proves.
    pub(crate) fn find(&self, secret: &str) -> Option<&User> {
        let wanted = hash(secret);
        self.0
            .iter()
            .find(|(known, _)| *known == wanted)
            .map(|(_, user)| user)
    }
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn authenticated(user: User) -> User {
    User {
        groups: User::new("", user.groups).groups,
        ..user
    }
}

/// Whom the credentials of a request prove; `None`: it has none.
///
/// # Errors
/// 401 when a credential was given and is not good.
pub(crate) fn user(
    certificate: Option<&User>,
    headers: &HeaderMap,
    tokens: &Tokens,
) -> Result<Option<Proven>, Status> {
    let proven = |user: &User, by| {
        let user = user.clone();
        Ok(Some(Proven { user, by }))
    };
    if let Some(user) = certificate {
        return proven(user, Proof::Certificate);
    }
    match bearer(headers)? {
        Some(secret) => match tokens.find(&secret) {
            Some(user) => proven(user, Proof::Token),
            None => Err(Status::unauthorized()),
        },
        None => Ok(None),
    }
}

/// The token of a request: in `Authorization`, or, since browsers cannot set headers of WebSockets,
/// among the offered sub-protocols as `base64url.bearer.authorization.k8s.io.<token>`.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, Status> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let text = value.to_str().map_err(|_| Status::unauthorized())?;
        let (scheme, secret) = text.split_once(' ').unwrap_or((text, ""));
        return if scheme.eq_ignore_ascii_case("bearer") {
            Ok(Some(secret.trim().to_owned()))
        } else {
            Err(Status::unauthorized())
        };
    }
    let prefix = "base64url.bearer.authorization.k8s.io.";
    let offered = headers
        .get_all("sec-websocket-protocol")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .find_map(|part| part.trim().strip_prefix(prefix).map(str::to_owned));
    match offered {
        None => Ok(None),
        Some(encoded) => {
            use base64::Engine as _;
            base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(encoded)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .map(Some)
                .ok_or_else(Status::unauthorized)
        }
    }
}

/// The user of a client certificate, which TLS has verified already: the common name is the user,
/// the organisations are the groups.
pub(crate) fn certificate_user(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups: Vec<String> = subject
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok())
        .map(str::to_owned)
        .collect();
    Some(User::new(name, groups))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn tokens() -> Tokens {
        let user = User {
            name: "bob".into(),
            groups: vec!["team".into()],
            ..User::default()
        };
        Tokens::new(&[Token {
            secret: "s3cret".into(),
            user,
        }])
    }

    fn with(header: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn a_right_token_is_its_user_and_a_wrong_one_is_refused() {
        let found = user(None, &with("authorization", "Bearer s3cret"), &tokens());
        let found = found.expect("a right one").expect("bob").user;
        assert_eq!(found.name, "bob");
        assert!(found.is_in("team") && found.is_in(crate::user::AUTHENTICATED));
        for bad in ["Bearer guess", "Bearer ", "Basic Ym9iOnM="] {
            let status = user(None, &with("authorization", bad), &tokens()).expect_err(bad);
            assert_eq!(status.code, 401);
        }
        let nobody = user(None, &HeaderMap::new(), &tokens()).expect("no credential");
        assert!(nobody.is_none());
    }

    #[test]
    fn browsers_send_the_token_as_a_sub_protocol() {
        let value = "base64url.bearer.authorization.k8s.io.czNjcmV0, plain.kubevirt.io";
        let found = user(None, &with("sec-websocket-protocol", value), &tokens());
        let found = found.expect("a right one").expect("bob");
        assert_eq!((found.user.name.as_str(), found.by), ("bob", Proof::Token));
    }

    #[test]
    fn a_certificate_counts_before_a_token() {
        let alice = User::new("alice", ["team"]);
        let headers = with("authorization", "Bearer s3cret");
        let found = user(Some(&alice), &headers, &tokens()).expect("a certificate");
        let found = found.expect("alice");
        assert_eq!((found.user, found.by), (alice, Proof::Certificate));
    }
}
