//! Manifests and indexes, of OCI and of Docker: which layers make up the image for this machine.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::Problem;

/// The largest manifest or index read; registries refuse larger ones too.
pub(crate) const MANIFEST_BYTES: u64 = 4 << 20;
/// Indexes inside indexes.
pub(crate) const INDEX_DEPTH: usize = 3;

const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// The media types to ask a registry for.
pub(crate) fn accepted() -> Vec<&'static str> {
    MANIFESTS.into_iter().chain(INDEXES).collect()
}

/// How something is named by its content.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
}

/// A manifest or an index, understood.
#[derive(Debug)]
pub(crate) enum Manifest {
    /// An image: its layers, lowest first.
    Image(Vec<Descriptor>),
    /// A choice of images.
    Index(Vec<Descriptor>),
}

impl Manifest {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| Problem::Damaged(format!("its manifest can't be read: {error}")))?;
        if document.schema_version != 2 {
            let version = document.schema_version;
            let cure = "push the image again with a current tool";
            return Err(Problem::Unsupported(format!(
                "its manifest has schema version {version}; {cure}"
            )));
        }
        let media_type = document.media_type.as_deref().unwrap_or_default();
        match (document.manifests, document.layers) {
            (Some(manifests), None) => Ok(Self::Index(manifests)),
            (None, Some(layers)) => Ok(Self::Image(layers)),
            _ => Err(Problem::Unsupported(format!(
                "its manifest has the unknown type {media_type:?}"
            ))),
        }
    }
}

/// This machine's architecture, as images name it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The entry of an index for linux on `architecture`. An entry that names no platform is taken if it is the only one.
pub(crate) fn choose<'a>(
    manifests: &'a [Descriptor],
    architecture: &'static str,
) -> Result<&'a Descriptor, Problem> {
    let fits = |entry: &&Descriptor| {
        entry
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture)
    };
    if let Some(entry) = manifests.iter().find(fits) {
        return Ok(entry);
    }
    if let [only] = manifests
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let mut offered: Vec<String> = manifests
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .map(|platform| format!("{}/{}", platform.os, platform.architecture))
        .collect();
    offered.dedup();
    offered.truncate(16);
    let offered = if offered.is_empty() {
        "none named".to_owned()
    } else {
        offered.join(", ")
    };
    Err(Problem::NoPlatform {
        wanted: architecture,
        offered,
    })
}

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Tar,
    Gzip,
    Zstd,
}

/// How a layer of this media type is packed.
pub(crate) fn packing(media_type: &str) -> Result<Packing, Problem> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Packing::Tar),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Packing::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Packing::Zstd),
        other => {
            let known = "layers must be tar, tar+gzip or tar+zstd";
            Err(Problem::Unsupported(format!(
                "a layer has the media type {other:?}; {known}"
            )))
        }
    }
}

/// The hexadecimal part of a `sha256:` digest; anything else is refused.
pub(crate) fn sha256_hex(digest: &str) -> Result<&str, Problem> {
    let hex = digest.strip_prefix("sha256:").filter(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    });
    hex.ok_or_else(|| Problem::Unsupported(format!("{digest:?} is no sha256 digest")))
}

/// `sha256:…` of some bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    digest_text(&Sha256::digest(bytes))
}

/// `sha256:…` of a finished hash.
pub(crate) fn digest_text(hash: &[u8]) -> String {
    use std::fmt::Write;
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[Option<(&str, &str)>]) -> Vec<Descriptor> {
        let descriptor = |(number, platform): (usize, &Option<(&str, &str)>)| Descriptor {
            media_type: MANIFESTS[0].to_owned(),
            digest: format!("{number}"),
            size: 1,
            platform: platform.map(|(os, architecture)| Platform {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
            }),
            annotations: std::collections::BTreeMap::new(),
        };
        platforms.iter().enumerate().map(descriptor).collect()
    }

    #[test]
    fn an_index_gives_the_image_for_this_machine() {
        let amd64 = Some(("linux", "amd64"));
        let arm64 = Some(("linux", "arm64"));
        let windows = Some(("windows", "amd64"));
        type Platforms<'a> = &'a [Option<(&'a str, &'a str)>];
        let table: [(Platforms<'_>, Option<&str>); 6] = [
            (&[arm64, amd64], Some("1")),
            (&[windows, amd64], Some("1")),
            (&[None], Some("0")),
            (&[None, None], None),
            (&[arm64, windows], None),
            (&[], None),
        ];
        for (platforms, expected) in table {
            let entries = index(platforms);
            let chosen = choose(&entries, "amd64").ok().map(|entry| &*entry.digest);
            assert_eq!(chosen, expected, "{platforms:?}");
        }
        let refusal = choose(&index(&[arm64, windows]), "amd64").unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "no image for linux/amd64, only for linux/arm64, windows/amd64"
        );
    }

    #[test]
    fn only_whole_sha256_digests_name_files() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(sha256_hex(&good).ok(), Some(&*"0a".repeat(32)));
        for wrong in [
            "sha256:",
            "sha256:../../etc/passwd",
            &good[..70],
            &good.to_uppercase(),
            "md5:00",
        ] {
            assert!(sha256_hex(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for wrong in [
            "",
            "{}",
            "[]",
            r#"{"schemaVersion":1,"layers":[]}"#,
            r#"{"schemaVersion":2}"#,
        ] {
            assert!(Manifest::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let image = br#"{"schemaVersion":2,"config":{},"layers":[{"mediaType":"x","digest":"d","size":3}]}"#;
        assert!(
            matches!(Manifest::parse(image), Ok(Manifest::Image(layers)) if layers[0].size == 3)
        );
    }
}
