//! The headers that go with the console's answers, and the session's cookie.

use http::header::{HeaderName, HeaderValue, SET_COOKIE};
use http::{HeaderMap, header};

use crate::secret::Secret;

/// The session's cookie. Browsers take a name that begins so only with `Secure`, `Path=/` and no `Domain`.
pub const COOKIE: &str = "__Host-anyvirt";

/// Requests that change something carry the session's own token in it.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// No page but ours may use these; none of ours needs them but for the clipboard.
const PERMISSIONS: &str = "accelerometer=(), camera=(), clipboard-read=(self), clipboard-write=(self), \
                           display-capture=(), fullscreen=(self), geolocation=(), gyroscope=(), magnetometer=(), \
                           microphone=(), midi=(), payment=(), screen-wake-lock=(), serial=(), usb=()";

/// What every answer of the console carries, but pages' policy for their contents.
const ALWAYS: [(&str, &str); 5] = [
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", PERMISSIONS),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

/// Adds what every answer of the console carries.
pub fn secure(headers: &mut HeaderMap) {
    for (name, value) in ALWAYS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
}

/// A page's policy: scripts and styles of ours only, and inline styles only with this nonce (the terminal and the
/// editor put theirs into the page).
pub(crate) fn content_security_policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data: blob:; \
         font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; \
         require-trusted-types-for 'script'"
    )
}

/// Hands the session's id to the browser, until it is closed.
pub fn set_cookie(headers: &mut HeaderMap, id: &Secret) {
    put(
        headers,
        &format!(
            "{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict",
            id.text()
        ),
    );
}

/// Takes it back.
pub fn clear_cookie(headers: &mut HeaderMap) {
    put(
        headers,
        &format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"),
    );
}

fn put(headers: &mut HeaderMap, cookie: &str) {
    // Ids are base64url, which every header takes.
    if let Ok(value) = HeaderValue::from_str(cookie) {
        headers.insert(SET_COOKIE, value);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
