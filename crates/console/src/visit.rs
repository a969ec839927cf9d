//! What a request tells of where it comes from, and whether a browser's user meant it.
//!
//! A cookie goes along with every request to its host, whoever's page made the request. So a request with one must
//! show that a page of ours made it: by the host it names (a name that resolves to us by a trick is not ours), by its
//! `Origin` and `Sec-Fetch-Site`, which pages cannot set, and, if it changes something, by the session's own token.
//! A client certificate goes along just so; programs that have one send neither of these headers.

use std::collections::BTreeSet;

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, header};

use crate::headers::{COOKIE, CSRF_HEADER};
use crate::refusal::Refusal;

/// Of what a browser calls itself, so much is kept; the usual ones have 120 letters.
const BROWSER_LETTERS: usize = 200;

/// The names by which a browser may call this server.
#[derive(Clone, Debug)]
pub struct Hosts(BTreeSet<String>);

impl Hosts {
    /// These names and addresses, without ports.
    pub fn new<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Self {
        let plain = |name: T| name.as_ref().to_ascii_lowercase();
        Self(names.into_iter().map(plain).collect())
    }

    /// May a request with a cookie name this host?
    fn allow(&self, host: &Authority) -> bool {
        let name = host.host().to_ascii_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        self.0.contains(bare)
    }
}

/// A request as the door sees it.
#[derive(Clone, Debug)]
pub struct Visit {
    /// The hosts it names; all ways of naming one agree in an honest request.
    hosts: Vec<String>,
    origins: Vec<String>,
    site: Option<String>,
    csrf: Option<String>,
    browser: String,
    cookie: Option<String>,
    changes: bool,
    web_socket: bool,
}

impl Visit {
    /// Reads it off a request.
    #[must_use]
    pub fn of(parts: &Parts) -> Self {
        let headers = &parts.headers;
        // HTTP/2 names the host in the URI, HTTP/1.1 in a header.
        let uri = parts.uri.authority().map(|host| host.as_str().to_owned());
        let words = |name| texts(headers, name).flat_map(|text| text.split(','));
        let web_socket = words(header::UPGRADE.as_str())
            .any(|word| word.trim().eq_ignore_ascii_case("websocket"));
        Self {
            hosts: uri.into_iter().chain(owned(headers, "host")).collect(),
            origins: owned(headers, "origin").collect(),
            site: owned(headers, "sec-fetch-site").next(),
            csrf: owned(headers, CSRF_HEADER).next(),
            browser: browser(headers),
            cookie: cookie(headers),
            changes: parts.method != Method::GET && parts.method != Method::HEAD,
            web_socket,
        }
    }

    /// The session's id that it carries.
    #[must_use]
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }

    /// Does it carry what only browsers send of themselves, or what only browsers were given?
    #[must_use]
    pub fn is_of_browser(&self) -> bool {
        !self.origins.is_empty() || self.site.is_some() || self.cookie.is_some()
    }

    /// What it carries in the header that belongs to the session.
    pub(crate) fn csrf(&self) -> Option<&str> {
        self.csrf.as_deref()
    }

    /// What the browser calls itself.
    pub(crate) fn browser(&self) -> &str {
        &self.browser
    }

    /// Would it change something?
    pub(crate) fn changes(&self) -> bool {
        self.changes
    }

    /// Was it made by a page of ours?
    ///
    /// # Errors
    /// 403 with what shows that it was not.
    pub(crate) fn check(&self, hosts: &Hosts) -> Result<(), Refusal> {
        let host = self.host(hosts)?;
        let own = format!("https://{host}");
        // Reading by following a link needs no Origin, and no other site's page sees the answer.
        let must_say = self.changes || self.web_socket;
        if must_say && self.origins.is_empty() {
            return Err(Refusal::new(
                403,
                "OriginMissing",
                "Origin",
                format!("this request of a browser needs the header Origin: {own}"),
            ));
        }
        if let Some(other) = self
            .origins
            .iter()
            .find(|origin| !origin.eq_ignore_ascii_case(&own))
        {
            return Err(Refusal::new(
                403,
                "OriginNotAllowed",
                "Origin",
                format!(
                    "a page of {other:?} made this request; only pages of {own} may use a browser's session or certificate"
                ),
            ));
        }
        match self.site.as_deref() {
            None | Some("same-origin") => Ok(()),
            // Typed into the address bar.
            Some("none") if !must_say => Ok(()),
            Some(site) => Err(Refusal::new(
                403,
                "SiteNotAllowed",
                "Sec-Fetch-Site",
                format!(
                    "the browser says {site:?} of this request; only pages of {own} may use a browser's session or certificate"
                ),
            )),
        }
    }

    /// The host it names, in lower case.
    fn host(&self, hosts: &Hosts) -> Result<String, Refusal> {
        let refused = |message: String| Refusal::new(403, "HostNotAllowed", "Host", message);
        let [first, rest @ ..] = self.hosts.as_slice() else {
            return Err(refused("the request names no host".to_owned()));
        };
        if rest.iter().any(|other| !other.eq_ignore_ascii_case(first)) {
            return Err(refused(format!(
                "the request names several hosts: {}",
                self.hosts.join(", ")
            )));
        }
        let allowed = first
            .parse::<Authority>()
            .is_ok_and(|host| hosts.allow(&host));
        if !allowed {
            return Err(refused(format!(
                "{first:?} is no name of this server, so no session or certificate of a browser is used under it; open the console under \
                 an address that `anyvirt web` prints"
            )));
        }
        Ok(first.to_ascii_lowercase())
    }
}

fn texts<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    // Bytes that are no text match nothing that is compared with them.
    headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap_or("\u{fffd}"))
}

fn owned<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = String> {
    texts(headers, name).map(str::to_owned)
}

/// What a browser says of itself, cut off: it is shown to people, and may be anything.
fn browser(headers: &HeaderMap) -> String {
    let words = texts(headers, "user-agent").next().unwrap_or_default();
    let shown = words
        .chars()
        .filter(|letter| letter.is_ascii_graphic() || *letter == ' ');
    shown.take(BROWSER_LETTERS).collect()
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    texts(headers, "cookie")
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "https://127.0.0.1:6443";

    fn check(method: &str, headers: &[(&str, &str)]) -> Result<(), &'static str> {
        let mut request = http::Request::builder().method(method).uri("/api/v1/pods");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let hosts = Hosts::new(["localhost", "127.0.0.1", "::1"]);
        Visit::of(&parts)
            .check(&hosts)
            .map_err(|refusal| refusal.reason)
    }

    #[test]
    fn only_a_page_of_ours_may_use_a_session() {
        let host = ("host", "127.0.0.1:6443");
        let own = ("origin", OWN);
        let socket = ("upgrade", "websocket");
        let site = |value| ("sec-fetch-site", value);
        for (method, headers, expected) in [
            ("GET", vec![host], Ok(())),
            ("GET", vec![host, site("same-origin")], Ok(())),
            ("GET", vec![host, site("none")], Ok(())),
            ("GET", vec![("host", "[::1]:6443")], Ok(())),
            ("GET", vec![("host", "LOCALHOST:6443")], Ok(())),
            ("POST", vec![host, own, site("same-origin")], Ok(())),
            ("GET", vec![host, own, socket], Ok(())),
            ("POST", vec![host], Err("OriginMissing")),
            ("GET", vec![host, socket], Err("OriginMissing")),
            (
                "POST",
                vec![host, ("origin", "https://evil.example")],
                Err("OriginNotAllowed"),
            ),
            (
                "GET",
                vec![host, ("origin", "https://evil.example"), socket],
                Err("OriginNotAllowed"),
            ),
            // Another server of the same machine.
            (
                "GET",
                vec![host, ("origin", "https://127.0.0.1:8443")],
                Err("OriginNotAllowed"),
            ),
            (
                "GET",
                vec![host, ("origin", "http://127.0.0.1:6443")],
                Err("OriginNotAllowed"),
            ),
            (
                "GET",
                vec![host, ("origin", "null")],
                Err("OriginNotAllowed"),
            ),
            (
                "GET",
                vec![host, own, ("origin", "https://evil.example")],
                Err("OriginNotAllowed"),
            ),
            ("GET", vec![host, site("cross-site")], Err("SiteNotAllowed")),
            ("GET", vec![host, site("same-site")], Err("SiteNotAllowed")),
            ("POST", vec![host, own, site("none")], Err("SiteNotAllowed")),
            // A name that an attacker lets resolve to 127.0.0.1.
            (
                "GET",
                vec![("host", "rebound.example:6443")],
                Err("HostNotAllowed"),
            ),
            (
                "POST",
                vec![
                    ("host", "rebound.example"),
                    ("origin", "https://rebound.example"),
                ],
                Err("HostNotAllowed"),
            ),
            (
                "GET",
                vec![("host", "127.0.0.1.rebound.example")],
                Err("HostNotAllowed"),
            ),
            (
                "GET",
                vec![("host", "user@rebound.example")],
                Err("HostNotAllowed"),
            ),
            (
                "GET",
                vec![host, ("host", "rebound.example")],
                Err("HostNotAllowed"),
            ),
            ("GET", vec![], Err("HostNotAllowed")),
        ] {
            assert_eq!(check(method, &headers), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn http_2_names_the_host_in_the_uri() {
        let visit = |uri: &str| {
            let (parts, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
            Visit::of(&parts).check(&Hosts::new(["localhost"])).is_ok()
        };
        assert!(visit("https://localhost:6443/api"));
        assert!(!visit("https://rebound.example:6443/api"));
    }

    #[test]
    fn the_cookie_is_found_among_others_and_in_several_headers() {
        let request = http::Request::get("/")
            .header("cookie", "a=b; x__Host-anyvirt=no")
            .header("cookie", "c=d;__Host-anyvirt=yes=; e")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        assert_eq!(Visit::of(&parts).cookie(), Some("yes="));
    }
}
