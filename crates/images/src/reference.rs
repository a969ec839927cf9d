//! What an image reference names.

use std::path::PathBuf;

use oci_client::Reference;

use crate::Problem;

/// Where an image comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A registry: `[host[:port]/]name[:tag][@digest]`, with the usual defaults (`docker.io`, `latest`).
    Registry(Reference),
    /// An OCI image layout in a directory of this machine: `oci-layout:/path[:tag]` or, as skopeo writes it,
    /// `oci:/path[:tag]`. Without a tag the layout must hold exactly one image.
    Layout {
        directory: PathBuf,
        tag: Option<String>,
    },
}

impl Origin {
    pub(crate) fn parse(reference: &str) -> Result<Self, Problem> {
        let layout = reference
            .strip_prefix("oci-layout:")
            .or_else(|| reference.strip_prefix("oci:"));
        if let Some(place) = layout.filter(|place| place.starts_with('/') || !place.contains('/')) {
            return Self::parse_layout(place);
        }
        reference.parse().map(Self::Registry).map_err(|error| {
            Problem::InvalidReference(format!("couldn't parse image name {reference:?}: {error}"))
        })
    }

    fn parse_layout(place: &str) -> Result<Self, Problem> {
        let (path, tag) = match place.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (place, None),
        };
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            let wanted = "an image layout is written oci-layout:/absolute/path[:tag]";
            return Err(Problem::InvalidReference(format!(
                "{path:?} is no absolute path: {wanted}"
            )));
        }
        if tag == Some("") {
            return Err(Problem::InvalidReference(
                "the tag after ':' is empty".to_owned(),
            ));
        }
        Ok(Self::Layout {
            directory: PathBuf::from(path),
            tag: tag.map(str::to_owned),
        })
    }
}

/// Whether a registry's host (with or without a port) is this machine: only there is plain HTTP allowed.
pub fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(reference: &str) -> String {
        match Origin::parse(reference) {
            Ok(Origin::Registry(reference)) => reference.whole(),
            Ok(Origin::Layout { directory, tag }) => format!("{} {tag:?}", directory.display()),
            Err(problem) => format!("refused: {problem}"),
        }
    }

    #[test]
    fn a_reference_names_a_registry_or_a_layout() {
        let table = [
            ("fedora", "docker.io/library/fedora:latest"),
            (
                "quay.io/containerdisks/fedora:40",
                "quay.io/containerdisks/fedora:40",
            ),
            ("127.0.0.1:5000/disk", "127.0.0.1:5000/disk:latest"),
            ("oci-layout:/images/fedora", "/images/fedora None"),
            (
                "oci-layout:/images/fedora:40",
                "/images/fedora Some(\"40\")",
            ),
            ("oci:/images/a:b/fedora", "/images/a:b/fedora None"),
            ("oci:/images/fedora:40", "/images/fedora Some(\"40\")"),
        ];
        for (reference, expected) in table {
            assert_eq!(said(reference), expected);
        }
        for wrong in [
            "",
            "UPPER",
            "oci-layout:relative",
            "oci-layout:/a/../b",
            "oci:/a:",
            "a b",
        ] {
            assert!(
                said(wrong).starts_with("refused: "),
                "{wrong}: {}",
                said(wrong)
            );
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let table = [
            ("127.0.0.1:5000", true),
            ("127.3.2.1", true),
            ("localhost:80", true),
            ("[::1]:5000", true),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("192.168.0.1:5000", false),
            ("quay.io", false),
        ];
        for (registry, expected) in table {
            assert_eq!(is_loopback(registry), expected, "{registry}");
        }
    }
}
