//! Which requests are the console's, and what each asks for.

use http::{HeaderMap, Method, header};

use crate::assets;

/// Where the console lives.
const ROOT: &str = "/console/";

/// Query parameters in which people put secrets. URLs are kept in histories and logs, so there they never count.
const SECRETS: [&str; 6] = [
    "token",
    "access_token",
    "otk",
    "link",
    "key",
    "authorization",
];

/// By this fragment `web/src/session/link.ts` knows that the address before had a secret in it.
const TOLD_SECRET: &str = "secret-in-address";

/// What a request is to the console.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Route {
    /// A file: [`crate::serve`] answers.
    File(File),
    /// A call of the path under `/console/api/`: the caller answers.
    Call(String),
    /// A secret in the URL, in this parameter.
    SecretInUrl(&'static str),
    /// Another server's part.
    Other,
}

/// What is to be served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum File {
    /// The application, which reads the path itself.
    Page,
    /// The file of this name.
    Asset(String),
    /// Nothing is there.
    Missing,
    /// It is elsewhere.
    Moved(String),
    /// It can only be read.
    ReadOnly,
}

/// Reads method, path, query and the headers that count.
#[must_use]
pub fn route(method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap) -> Route {
    let reads = method == Method::GET || method == Method::HEAD;
    let with_query = |path: &str| match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    // kubectl asks for the same path, and gets the API's.
    if path == "/" && reads && wants_page(headers) {
        return Route::File(File::Moved(ROOT.to_owned()));
    }
    // The article's own addresses.
    if path.starts_with("/k8s/") && reads {
        return Route::File(File::Moved(with_query(&format!("/console{path}"))));
    }
    if path == "/console" {
        return Route::File(File::Moved(with_query(ROOT)));
    }
    let Some(rest) = path.strip_prefix(ROOT) else {
        return Route::Other;
    };
    let secret = secret_in(query);
    // A person who typed it is told so by the page, and the address is not kept in the history.
    if secret.is_some() && reads && wants_page(headers) && !rest.starts_with("api/") {
        return Route::File(File::Moved(format!("{ROOT}login#{TOLD_SECRET}")));
    }
    if let Some(name) = secret {
        return Route::SecretInUrl(name);
    }
    if let Some(call) = rest.strip_prefix("api/") {
        return Route::Call(call.to_owned());
    }
    Route::File(if !reads {
        File::ReadOnly
    } else if assets::is_there(rest) {
        File::Asset(rest.to_owned())
    } else if rest.starts_with("assets/") {
        File::Missing
    } else {
        File::Page
    })
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    accepted.is_some_and(|text| {
        text.split(',')
            .any(|part| part.trim().split(';').next() == Some("text/html"))
    })
}

fn secret_in(query: Option<&str>) -> Option<&'static str> {
    let names = query?.split('&').filter_map(|pair| pair.split('=').next());
    names
        .filter_map(|name| SECRETS.iter().find(|it| name.eq_ignore_ascii_case(it)))
        .copied()
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(method: &str, target: &str, accept: &str) -> Route {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        route(&method.parse().unwrap(), path, query, &headers)
    }

    #[test]
    fn kubectl_sees_the_api_where_a_browser_sees_the_console() {
        let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
        let moved = Route::File(File::Moved("/console/".to_owned()));
        assert_eq!(routed("GET", "/", browser), moved);
        for accept in ["application/json, */*", "*/*", "application/json;as=Table"] {
            assert_eq!(routed("GET", "/", accept), Route::Other);
        }
        assert_eq!(routed("GET", "/api/v1/pods?token=x", browser), Route::Other);
    }

    #[test]
    fn every_path_below_the_console_is_a_page_but_calls_and_assets() {
        let page = Route::File(File::Page);
        for path in [
            "/console/",
            "/console/k8s/ns/a/configmaps",
            "/console/login",
            "/console/a.b?x=y",
        ] {
            assert_eq!(routed("GET", path, "text/html"), page, "{path}");
        }
        assert_eq!(
            routed("GET", "/console/assets/no-12345678.js", "*/*"),
            Route::File(File::Missing)
        );
        assert_eq!(
            routed("POST", "/console/api/login", "*/*"),
            Route::Call("login".to_owned())
        );
        assert_eq!(
            routed("POST", "/console/", "*/*"),
            Route::File(File::ReadOnly)
        );
        assert_eq!(routed("GET", "/consoles", "text/html"), Route::Other);
    }

    #[test]
    fn the_articles_addresses_lead_into_the_console() {
        assert_eq!(
            routed(
                "GET",
                "/k8s/ns/openshift-cnv/configmaps?name=k",
                "text/html"
            ),
            Route::File(File::Moved(
                "/console/k8s/ns/openshift-cnv/configmaps?name=k".to_owned()
            ))
        );
    }

    #[test]
    fn a_secret_in_the_url_is_seen() {
        for (target, name) in [
            ("/console/api/session?token=x", "token"),
            ("/console/login?a=b&OTK=x", "otk"),
            ("/console/api/login?access_token", "access_token"),
        ] {
            assert_eq!(
                routed("GET", target, "*/*"),
                Route::SecretInUrl(name),
                "{target}"
            );
        }
        let moved = Route::File(File::Moved("/console/login#secret-in-address".to_owned()));
        for target in ["/console/overview?token=x", "/console/login?otk=x"] {
            assert_eq!(routed("GET", target, "text/html,*/*"), moved, "{target}");
        }
        let call = routed("GET", "/console/api/session?token=x", "text/html");
        assert_eq!(call, Route::SecretInUrl("token"));
    }
}
