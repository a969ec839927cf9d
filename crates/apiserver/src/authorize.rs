//! Who may do what. There are three answers: members of trusted groups may do everything, members of
//! viewers' groups may read what is neither secret nor a guest's own, everybody else nothing but look
//! whether the server is well, and which one it is.

use http::HeaderMap;

use crate::extension::Extension;
use crate::route::RequestInfo;
use crate::status::Status;
use crate::user::{MASTERS, User};

/// How a GET of a resource without objects is called: its path is a list's, and who asks beforehand
/// whether he may says `get` as well.
pub(crate) const READING: [&str; 2] = ["get", "list"];

/// What viewers may do with objects.
pub(crate) const VIEWING: [&str; 3] = ["get", "list", "watch"];

/// To whom what is granted.
#[derive(Clone, Copy)]
pub(crate) struct Grants<'a> {
    /// Groups whose members may do everything.
    pub(crate) trusted_groups: &'a [String],
    /// Groups whose members may read: [`is_viewable`].
    pub(crate) viewer_groups: &'a [String],
    /// Groups served by code, with what everybody may read of them.
    pub(crate) extensions: &'a [Extension],
}

/// Whether the user may do everything.
pub(crate) fn is_trusted(user: &User, trusted_groups: &[String]) -> bool {
    user.is_in(MASTERS) || trusted_groups.iter().any(|group| user.is_in(group))
}

/// Whether the user may read what is [`is_viewable`].
pub(crate) fn is_viewer(user: &User, viewer_groups: &[String]) -> bool {
    viewer_groups.iter().any(|group| user.is_in(group))
}

/// What viewers may do: read objects. Not Secrets; and of sub-resources only those that are part of an
/// object, since the others are streams and logs of what runs there, which may show anything. Whoever asks
/// beforehand about all groups or all resources (`*`) asks about those too.
fn is_viewable(info: &RequestInfo) -> bool {
    let Some(resource) = &info.resource else {
        return false;
    };
    let is_secret = resource.group.is_empty() && resource.resource == "secrets";
    let is_of_some = resource.group != "*" && resource.resource != "*";
    let is_of_object = match resource.subresource.as_deref() {
        None => true,
        Some(subresource) => matches!(subresource, "status" | "scale"),
    };
    VIEWING.contains(&info.verb)
        && !is_secret
        && is_of_some
        && is_of_object
        && resource.rest.is_empty()
}

/// Whether anybody may see a path.
fn is_public(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    path == "/version"
        || ["/livez", "/readyz", "/healthz"].iter().any(|check| {
            path.strip_prefix(check)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

/// What everybody may read of groups that are served by code.
fn is_open(info: &RequestInfo, extensions: &[Extension]) -> bool {
    let Some(resource) = &info.resource else {
        return false;
    };
    let open = |extension: &Extension| {
        extension.group == resource.group && extension.public.contains(&resource.resource)
    };
    READING.contains(&info.verb)
        && resource.namespace.is_none()
        && resource.name.is_none()
        && resource.subresource.is_none()
        && extensions.iter().any(open)
}

/// Kinds that every authenticated user may ask about herself.
fn is_self_review(info: &RequestInfo) -> bool {
    let Some(resource) = &info.resource else {
        return false;
    };
    info.verb == "create"
        && matches!(
            (resource.group.as_str(), resource.resource.as_str()),
            ("authentication.k8s.io", "selfsubjectreviews")
                | (
                    "authorization.k8s.io",
                    "selfsubjectaccessreviews" | "selfsubjectrulesreviews"
                )
        )
}

/// Discovery, which every authenticated user may read.
fn is_discovery(info: &RequestInfo) -> bool {
    let under = |root: &str| {
        info.path
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    info.verb == "get"
        && info.resource.is_none()
        && ["/api", "/apis", "/openapi"].into_iter().any(under)
}

/// Decides about a request.
///
/// # Errors
/// 403 in upstream's words.
pub(crate) fn decide(user: &User, grants: Grants<'_>, info: &RequestInfo) -> Result<(), Status> {
    let authenticated = user.is_in(crate::user::AUTHENTICATED);
    if is_trusted(user, grants.trusted_groups)
        || (is_viewer(user, grants.viewer_groups) && is_viewable(info))
        || is_open(info, grants.extensions)
        || (info.verb == "get" && info.resource.is_none() && is_public(&info.path))
        || (authenticated && (is_self_review(info) || is_discovery(info)))
    {
        Ok(())
    } else {
        Err(refusal(user, info))
    }
}

/// Whom a request is really to be judged as: `Impersonate-User` and its kin, which only trusted
/// users may send.
///
/// # Errors
/// 403 when somebody else sends them; 400 when groups or extras come without a user.
pub(crate) fn impersonate(
    user: User,
    trusted_groups: &[String],
    headers: &HeaderMap,
) -> Result<User, Status> {
    let texts = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect()
    };
    let groups = texts("impersonate-group");
    let Some(name) = texts("impersonate-user")
        .into_iter()
        .next()
        .filter(|name| !name.is_empty())
    else {
        if groups.is_empty() {
            return Ok(user);
        }
        return Err(Status::bad_request(
            "requested impersonation of groups without a user",
        ));
    };
    if !is_trusted(&user, trusted_groups) {
        let why = format!(
            "User \"{}\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
            user.name
        );
        return Err(Status::forbidden("", "users", &name, &why));
    }
    let mut extra = std::collections::BTreeMap::new();
    for key in headers.keys() {
        if let Some(field) = key.as_str().strip_prefix("impersonate-extra-") {
            extra.insert(field.to_owned(), texts(key.as_str()));
        }
    }
    let uid = texts("impersonate-uid")
        .into_iter()
        .next()
        .unwrap_or_default();
    if name == crate::user::ANONYMOUS {
        return Ok(User::anonymous());
    }
    Ok(User {
        uid,
        extra,
        ..User::new(name, groups)
    })
}

fn refusal(user: &User, info: &RequestInfo) -> Status {
    let name = &user.name;
    let Some(resource) = &info.resource else {
        let why = format!(
            "forbidden: User \"{name}\" cannot {} path \"{}\"",
            info.verb, info.path
        );
        let mut status = Status::new(403, "Forbidden", why);
        status.details = Some(Box::default());
        return status;
    };
    let full_resource = match &resource.subresource {
        Some(subresource) => format!("{}/{subresource}", resource.resource),
        None => resource.resource.clone(),
    };
    let place = match &resource.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let why = format!(
        "User \"{name}\" cannot {} resource \"{full_resource}\" in API group \"{}\" {place}",
        info.verb, resource.group
    );
    let object = resource.name.as_deref().unwrap_or("");
    Status::forbidden(&resource.group, &resource.resource, object, &why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Query;
    use http::Method;

    fn ask(user: &User, method: Method, path: &str) -> Result<(), String> {
        let info = RequestInfo::parse(&method, path, &Query::default());
        let grants = Grants {
            trusted_groups: &["system:nodes".to_owned()],
            viewer_groups: &["viewers".to_owned()],
            extensions: &[],
        };
        decide(user, grants, &info).map_err(|status| status.message)
    }

    #[test]
    fn trusted_groups_may_do_everything() {
        for user in [User::admin("root"), User::new("n", ["system:nodes"])] {
            assert_eq!(ask(&user, Method::DELETE, "/api/v1/namespaces/n"), Ok(()));
        }
    }

    #[test]
    fn strangers_see_health_and_version_only() {
        let stranger = User::anonymous();
        for path in ["/version", "/livez", "/readyz/ping", "/healthz"] {
            assert_eq!(ask(&stranger, Method::GET, path), Ok(()), "{path}");
        }
        for (path, text) in [
            (
                "/api",
                "forbidden: User \"system:anonymous\" cannot get path \"/api\"",
            ),
            (
                "/api/v1/pods",
                "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in \
                 API group \"\" at the cluster scope",
            ),
            (
                "/apis/a.io/v1/namespaces/n/foos/f/status",
                "foos.a.io \"f\" is forbidden: User \"system:anonymous\" cannot get resource \
                 \"foos/status\" in API group \"a.io\" in the namespace \"n\"",
            ),
        ] {
            assert_eq!(ask(&stranger, Method::GET, path), Err(text.to_owned()));
        }
        assert!(ask(&stranger, Method::POST, "/version").is_err());
        assert!(ask(&stranger, Method::GET, "/livezz").is_err());
        assert!(ask(&stranger, Method::GET, "/metrics").is_err());
    }

    #[test]
    fn whoever_proved_an_identity_may_ask_about_himself() {
        let somebody = User::new("bob", ["team"]);
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        assert_eq!(ask(&somebody, Method::POST, path), Ok(()));
        assert_eq!(ask(&somebody, Method::GET, "/apis"), Ok(()));
        assert!(ask(&somebody, Method::GET, "/api/v1/secrets").is_err());
    }

    #[test]
    fn viewers_read_objects_and_neither_secrets_nor_streams() {
        let viewer = User::new("eve", ["viewers"]);
        let machine = "/apis/kubevirt.io/v1/namespaces/n/virtualmachines/vm";
        for path in [
            "/api/v1/configmaps",
            "/api/v1/namespaces/n/events",
            "/api/v1/nodes/node",
            machine,
            &format!("{machine}/status"),
            "/apis/other.io/v1/namespaces/n/secrets/s",
        ] {
            assert_eq!(ask(&viewer, Method::GET, path), Ok(()), "{path}");
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let asked = ask(&viewer, method.clone(), path);
                assert!(asked.is_err(), "{method} {path}");
            }
        }
        let served = "/apis/subresources.kubevirt.io/v1/namespaces/n/virtualmachineinstances/vm";
        for path in [
            "/api/v1/secrets",
            "/api/v1/namespaces/n/secrets/s",
            "/api/v1/*",
            "/apis/kubevirt.io/v1/namespaces/n/*",
            "/apis/*/v1/secrets",
            "/api/v1/namespaces/n/pods/p/log",
            "/api/v1/namespaces/n/pods/p/exec",
            "/api/v1/namespaces/n/pods/p/proxy/status",
            "/metrics",
            &format!("{served}/console"),
            &format!("{served}/log"),
            &format!("{served}/vnc"),
            &format!("{served}/vnc/screenshot"),
        ] {
            let refused = ask(&viewer, Method::GET, path).expect_err(path);
            assert!(refused.contains("User \"eve\" cannot "), "{refused}");
        }
    }
}
