//! A containerDisk as an OCI image layout on this machine.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Writes a layout with one image, whose `/disk/disk.img` is `disk`. Returns its reference.
pub(crate) fn layout(directory: &Path, disk: &[u8]) -> String {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("made");
    let blob = |bytes: &[u8], kind: &str| -> Value {
        let hash: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        std::fs::write(blobs.join(&hash), bytes).expect("written");
        json!({ "mediaType": kind, "digest": format!("sha256:{hash}"), "size": bytes.len() })
    };
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(disk.len() as u64);
    header.set_mode(0o644);
    archive
        .append_data(&mut header, "disk/disk.img", disk)
        .expect("added");
    let layer = archive.into_inner().expect("finished");
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let config = json!({ "architecture": architecture, "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] } });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(&layer, "application/vnd.oci.image.layer.v1.tar")],
    });
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let index =
        json!({ "schemaVersion": 2, "manifests": [blob(manifest.to_string().as_bytes(), kind)] });
    std::fs::write(directory.join("index.json"), index.to_string()).expect("written");
    std::fs::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("written");
    format!("oci-layout:{}", directory.display())
}
