//! The files that were embedded when this was built, and how browsers get them.

use std::io::Read as _;

use bytes::Bytes as Shared;
use flate2::read::GzDecoder;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use crate::headers::{content_security_policy, secure};
use crate::route::File;

/// The word in index.html that each response replaces by its own nonce.
const NONCE: &str = "__CSP_NONCE__";

/// What the build left.
struct Built {
    /// Why there is no console, if there is none.
    absent: Option<&'static str>,
    /// The page.
    index: &'static str,
    /// All other files, by name.
    assets: &'static [Asset],
}

/// One file.
struct Asset {
    /// Its path below `/console/`.
    name: &'static str,
    /// Differs when its bytes do.
    tag: &'static str,
    bytes: Bytes,
}

/// A file's bytes, as small as it can be had.
#[allow(
    dead_code,
    reason = "whether there are files of each kind is the build's affair"
)]
enum Bytes {
    /// As it is.
    Plain(&'static [u8]),
    /// Packed in both ways that browsers take.
    Packed {
        brotli: &'static [u8],
        gzip: &'static [u8],
    },
}

static BUILT: Built = include!(concat!(env!("OUT_DIR"), "/built.rs"));

/// Is there a file of this name?
pub(crate) fn is_there(name: &str) -> bool {
    find(BUILT.assets, name).is_some()
}

fn find<'a>(assets: &'a [Asset], name: &str) -> Option<&'a Asset> {
    assets.iter().find(|asset| asset.name == name)
}

/// The answer for a file. `nonce` is fresh: random, base64, never used before.
#[must_use]
pub fn serve(file: &File, headers: &HeaderMap, nonce: &str) -> Response<Shared> {
    answer(&BUILT, file, headers, nonce)
}

fn answer(built: &Built, file: &File, headers: &HeaderMap, nonce: &str) -> Response<Shared> {
    let mut response = match file {
        File::Page => page(built, nonce),
        File::Asset(name) => match find(built.assets, name) {
            Some(asset) => asset_response(asset, headers),
            None => plain(StatusCode::NOT_FOUND, "no such file\n"),
        },
        File::Missing => plain(StatusCode::NOT_FOUND, "no such file\n"),
        File::ReadOnly => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "this can only be read\n");
            put(&mut response, header::ALLOW, "GET, HEAD");
            response
        }
        File::Moved(to) => moved(to),
    };
    secure(response.headers_mut());
    response
}

fn page(built: &Built, nonce: &str) -> Response<Shared> {
    let (code, text) = match built.absent {
        None => (StatusCode::OK, built.index.replace(NONCE, nonce)),
        Some(why) => (StatusCode::NOT_IMPLEMENTED, absent_page(why)),
    };
    let mut response = Response::new(text.into());
    *response.status_mut() = code;
    put(
        &mut response,
        header::CONTENT_TYPE,
        "text/html; charset=utf-8",
    );
    // The next one has another nonce, and names the files of another build.
    put(&mut response, header::CACHE_CONTROL, "no-store");
    put(
        &mut response,
        header::CONTENT_SECURITY_POLICY,
        &content_security_policy(nonce),
    );
    response
}

fn absent_page(why: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>anyvirt</title></head>\n<body>\n\
         <h1>This anyvirt was built without its web console</h1>\n\
         <p>The reason: {why}.</p>\n\
         <p>To get it, build anyvirt where Node 20.19 or newer and npm are installed: <code>cargo build --release</code>, \
         without <code>ANYVIRT_CONSOLE=none</code> in the environment.</p>\n\
         <p>Everything else works: <code>kubectl</code>, <code>virtctl</code> and <code>anyvirt</code> talk to this \
         address.</p>\n</body>\n</html>\n"
    )
}

fn asset_response(asset: &Asset, headers: &HeaderMap) -> Response<Shared> {
    let caching = if is_hashed(asset.name) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == asset.tag));
    let mut response = if known {
        let mut response = Response::new(Shared::new());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        bytes_response(&asset.bytes, headers)
    };
    put(&mut response, header::CACHE_CONTROL, caching);
    put(&mut response, header::ETAG, asset.tag);
    put(&mut response, header::CONTENT_TYPE, media_type(asset.name));
    response
}

/// Does the name carry a hash of the contents, as Vite writes it: `assets/NAME-12345678.KIND`? What it names never
/// changes then.
fn is_hashed(name: &str) -> bool {
    let stem = name
        .strip_prefix("assets/")
        .and_then(|name| name.rsplit_once('.'))
        .map_or("", |(stem, _)| stem);
    let Some((named, hash)) = stem.split_at_checked(stem.len().saturating_sub(8)) else {
        return false;
    };
    named.len() > 1
        && named.ends_with('-')
        && hash
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn bytes_response(bytes: &Bytes, headers: &HeaderMap) -> Response<Shared> {
    let (body, coding) = match bytes {
        Bytes::Plain(bytes) => return Response::new(Shared::from_static(bytes)),
        Bytes::Packed { brotli, .. } if takes(headers, "br") => {
            (Shared::from_static(brotli), Some("br"))
        }
        Bytes::Packed { gzip, .. } if takes(headers, "gzip") => {
            (Shared::from_static(gzip), Some("gzip"))
        }
        Bytes::Packed { gzip, .. } => {
            let mut unpacked = Vec::new();
            if GzDecoder::new(*gzip).read_to_end(&mut unpacked).is_err() {
                // It was packed by the build, so this is a broken binary.
                return plain(StatusCode::INTERNAL_SERVER_ERROR, "this file is damaged\n");
            }
            (unpacked.into(), None)
        }
    };
    let mut response = Response::new(body);
    put(&mut response, header::VARY, "accept-encoding");
    if let Some(coding) = coding {
        put(&mut response, header::CONTENT_ENCODING, coding);
    }
    response
}

/// Does the browser take this coding? `q=0` says no.
fn takes(headers: &HeaderMap, coding: &str) -> bool {
    let texts = headers.get_all(header::ACCEPT_ENCODING);
    let texts = texts.iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|part| {
        let mut words = part.split(';').map(str::trim);
        let named = words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case(coding));
        let refused = words.any(|word| {
            word.strip_prefix("q=")
                .is_some_and(|weight| weight.parse() == Ok(0.0_f32))
        });
        named && !refused
    })
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, kind)| kind) {
        Some("css") => "text/css; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        Some("webmanifest") => "application/manifest+json",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

fn moved(to: &str) -> Response<Shared> {
    let mut response = plain(StatusCode::FOUND, "the console is at /console/\n");
    put(&mut response, header::LOCATION, to);
    put(&mut response, header::VARY, "accept");
    response
}

fn plain(code: StatusCode, text: &'static str) -> Response<Shared> {
    let mut response = Response::new(Shared::from_static(text.as_bytes()));
    *response.status_mut() = code;
    put(
        &mut response,
        header::CONTENT_TYPE,
        "text/plain; charset=utf-8",
    );
    put(&mut response, header::CACHE_CONTROL, "no-store");
    response
}

fn put(response: &mut Response<Shared>, name: HeaderName, value: &str) {
    // Values are ours, or parts of a URI, which every header takes.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// "script" by gzip.
    const GZIP: &[u8] = &[
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 43, 78, 46, 202, 44, 40, 1, 0, 58, 135, 129, 28, 6, 0, 0,
        0,
    ];

    const BUILT: Built = Built {
        absent: None,
        index: "<meta name=\"csp-nonce\" content=\"__CSP_NONCE__\">",
        assets: &[
            Asset {
                name: "assets/index-12345678.js",
                tag: "\"1\"",
                bytes: Bytes::Packed {
                    brotli: b"brotli",
                    gzip: GZIP,
                },
            },
            Asset {
                name: "icon.png",
                tag: "\"2\"",
                bytes: Bytes::Plain(b"png"),
            },
        ],
    };

    fn ask(file: File, headers: &[(&str, &str)]) -> Response<Shared> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        answer(&BUILT, &file, &map, "bm9uY2U=")
    }

    fn told(response: &Response<Shared>) -> String {
        let mut lines: Vec<String> = response
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        format!("{}\n{}\n", response.status(), lines.join("\n"))
    }

    #[test]
    fn a_page_has_its_nonce_and_every_header() {
        let response = ask(File::Page, &[]);
        assert_eq!(
            response.body().as_ref(),
            b"<meta name=\"csp-nonce\" content=\"bm9uY2U=\">"
        );
        expect![[r#"
            200 OK
            cache-control: no-store
            content-security-policy: default-src 'none'; script-src 'self'; style-src 'self' 'nonce-bm9uY2U='; img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'
            content-type: text/html; charset=utf-8
            cross-origin-opener-policy: same-origin
            cross-origin-resource-policy: same-origin
            permissions-policy: accelerometer=(), camera=(), clipboard-read=(self), clipboard-write=(self), display-capture=(), fullscreen=(self), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), screen-wake-lock=(), serial=(), usb=()
            referrer-policy: no-referrer
            x-content-type-options: nosniff
        "#]].assert_eq(&told(&response));
    }

    #[test]
    fn an_asset_is_packed_as_the_browser_likes_and_kept_for_ever() {
        let script = || File::Asset("assets/index-12345678.js".to_owned());
        for (accepted, coding, body) in [
            ("gzip, deflate, br, zstd", Some("br"), b"brotli".as_slice()),
            ("gzip, br;q=0", Some("gzip"), GZIP),
            ("identity", None, b"script"),
        ] {
            let response = ask(script(), &[("accept-encoding", accepted)]);
            let coded = response.headers().get("content-encoding");
            assert_eq!(coded.map(|it| it.to_str().unwrap()), coding, "{accepted}");
            assert_eq!(response.body().as_ref(), body, "{accepted}");
        }
        expect![[r#"
            200 OK
            cache-control: public, max-age=31536000, immutable
            content-encoding: br
            content-type: text/javascript; charset=utf-8
            cross-origin-opener-policy: same-origin
            cross-origin-resource-policy: same-origin
            etag: "1"
            permissions-policy: accelerometer=(), camera=(), clipboard-read=(self), clipboard-write=(self), display-capture=(), fullscreen=(self), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), screen-wake-lock=(), serial=(), usb=()
            referrer-policy: no-referrer
            vary: accept-encoding
            x-content-type-options: nosniff
        "#]].assert_eq(&told(&ask(script(), &[("accept-encoding", "br")])));
        let again = ask(script(), &[("if-none-match", "\"0\", \"1\"")]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(again.body().is_empty());
    }

    #[test]
    fn only_a_hash_in_its_name_keeps_a_file_for_ever() {
        for (name, hashed) in [
            ("assets/index-vmdZDj9-.js", true),
            ("assets/a-b-C47rH4Qs.svg", true),
            ("assets/mark.svg", false),
            ("assets/-12345678.js", false),
            ("index-12345678.js", false),
        ] {
            assert_eq!(is_hashed(name), hashed, "{name}");
        }
    }

    #[test]
    fn a_file_without_a_hash_is_asked_for_again() {
        let response = ask(
            File::Asset("icon.png".to_owned()),
            &[("accept-encoding", "br")],
        );
        assert_eq!(response.headers()["cache-control"], "no-cache");
        assert_eq!(response.headers()["content-type"], "image/png");
        assert_eq!(response.body().as_ref(), b"png");
    }

    #[test]
    fn a_binary_without_the_console_says_so_and_why() {
        let built = Built {
            absent: Some("there was no npm"),
            index: "",
            assets: &[],
        };
        let response = answer(&built, &File::Page, &HeaderMap::new(), "n");
        assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
        let text = String::from_utf8_lossy(response.body());
        assert!(text.contains("The reason: there was no npm.") && text.contains("cargo build"));
    }

    #[test]
    fn what_is_not_there_is_no_page() {
        assert_eq!(ask(File::Missing, &[]).status(), StatusCode::NOT_FOUND);
        assert_eq!(
            ask(File::ReadOnly, &[]).status(),
            StatusCode::METHOD_NOT_ALLOWED
        );
        let moved = ask(File::Moved("/console/".to_owned()), &[]);
        assert_eq!(moved.headers()["location"], "/console/");
    }
}
