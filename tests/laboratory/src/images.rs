//! Makes images: an OCI image layout directory with files in it, as tools like buildah write one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The annotation that carries a tag in a layout's index.
pub(crate) const TAG: &str = "org.opencontainers.image.ref.name";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// How layers are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// A tar archive. Quickest, and as small as it gets for disks that are compressed already.
    Tar,
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
}

impl Packing {
    /// The OCI media type of such a layer.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Tar => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// An image on this machine.
#[derive(Clone, Debug)]
pub struct Image {
    /// The layout directory that holds it.
    pub layout: PathBuf,
    /// `sha256:…` of its manifest.
    pub digest: String,
}

/// Makes an image with one file in `/disk` below `layout`, tagged `latest`.
///
/// # Errors
/// If a file can't be read or written.
pub fn containerdisk(layout: &Path, disk: &Path) -> io::Result<Image> {
    let name = disk
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("disk.img");
    files_image(layout, &[(&format!("disk/{name}"), disk)])
}

/// Makes an image with these files (path in the image, file on this machine) below `layout`, tagged `latest`: for
/// instance a kernel and an initrd.
///
/// # Errors
/// If a file can't be read or written.
pub fn files_image(layout: &Path, files: &[(&str, &Path)]) -> io::Result<Image> {
    let layout = Layout::create(layout)?;
    let layer = layout.layer(Packing::Tar, |archive| {
        for (path, file) in files {
            archive.append_file(path, &mut File::open(file)?)?;
        }
        Ok(())
    })?;
    let digest = layout.image("latest", &[layer])?;
    Ok(Image {
        layout: layout.directory,
        digest,
    })
}

/// A layout directory, for images of any shape, wrong ones too.
#[derive(Clone, Debug)]
pub struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// Makes an empty layout, or opens one.
    ///
    /// # Errors
    /// If a directory or file can't be made.
    pub fn create(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory.join("blobs/sha256"))?;
        fs::write(
            directory.join("oci-layout"),
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        let layout = Self {
            directory: directory.to_path_buf(),
        };
        if !directory.join("index.json").exists() {
            layout
                .write_index(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}))?;
        }
        Ok(layout)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Packs what `fill` puts into an archive, and returns the layer's descriptor.
    ///
    /// # Errors
    /// If `fill` fails, or a file can't be written.
    pub fn layer(
        &self,
        packing: Packing,
        fill: impl FnOnce(&mut tar::Builder<&mut dyn Write>) -> io::Result<()>,
    ) -> io::Result<Value> {
        let mut blob = Blob::create(&self.directory)?;
        match packing {
            Packing::Tar => archive(&mut blob, fill)?,
            Packing::Gzip => {
                let mut packed =
                    flate2::write::GzEncoder::new(&mut blob, flate2::Compression::fast());
                archive(&mut packed, fill)?;
                packed.finish()?;
            }
            Packing::Zstd => {
                let mut packed = zstd::Encoder::new(&mut blob, 3)?;
                archive(&mut packed, fill)?;
                packed.finish()?;
            }
        }
        blob.finish(packing.media_type())
    }

    /// Adds any bytes as a blob and returns its descriptor.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn blob(&self, bytes: &[u8], media_type: &str) -> io::Result<Value> {
        let mut blob = Blob::create(&self.directory)?;
        blob.write_all(bytes)?;
        blob.finish(media_type)
    }

    /// Adds an image of these layers, lowest first, and tags it; returns the manifest's digest.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn image(&self, tag: &str, layers: &[Value]) -> io::Result<String> {
        let manifest = self.manifest(layers)?;
        self.tag(tag, manifest)
    }

    /// Adds a manifest without a tag and returns its descriptor.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn manifest(&self, layers: &[Value]) -> io::Result<Value> {
        let config = json!({"architecture": architecture(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}});
        let config = self.blob(
            config.to_string().as_bytes(),
            "application/vnd.oci.image.config.v1+json",
        )?;
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.blob(manifest.to_string().as_bytes(), MANIFEST)
    }

    /// Adds and tags an index of manifests, each for a platform `(os, architecture)`; returns its digest.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn index(&self, tag: &str, manifests: &[(Value, &str, &str)]) -> io::Result<String> {
        let entry = |(descriptor, os, architecture): &(Value, &str, &str)| {
            let mut entry = descriptor.clone();
            entry["platform"] = json!({"os": os, "architecture": architecture});
            entry
        };
        let manifests: Vec<Value> = manifests.iter().map(entry).collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let descriptor = self.blob(index.to_string().as_bytes(), INDEX)?;
        self.tag(tag, descriptor)
    }

    /// Tags a manifest or an index (taking the tag from what had it); returns its digest.
    ///
    /// # Errors
    /// If a file can't be read or written.
    pub fn tag(&self, tag: &str, mut descriptor: Value) -> io::Result<String> {
        let digest = text(&descriptor["digest"]);
        descriptor["annotations"] = json!({TAG: tag});
        let mut index: Value =
            serde_json::from_slice(&fs::read(self.directory.join("index.json"))?)?;
        if let Some(manifests) = index["manifests"].as_array_mut() {
            manifests.retain(|entry| entry["annotations"][TAG] != tag);
            manifests.push(descriptor);
        }
        self.write_index(&index)?;
        Ok(digest)
    }

    fn write_index(&self, index: &Value) -> io::Result<()> {
        fs::write(self.directory.join("index.json"), index.to_string())
    }
}

/// The architecture of this machine, as images name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn archive(
    mut out: &mut dyn Write,
    fill: impl FnOnce(&mut tar::Builder<&mut dyn Write>) -> io::Result<()>,
) -> io::Result<()> {
    let mut builder = tar::Builder::new(&mut out as &mut dyn Write);
    builder.mode(tar::HeaderMode::Deterministic);
    fill(&mut builder)?;
    builder.finish()
}

/// A regular file for an archive.
///
/// # Errors
/// If the archive can't be written.
pub fn add_file<W: Write>(
    archive: &mut tar::Builder<W>,
    path: &str,
    content: impl Read,
    size: u64,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, path, content)
}

/// Any entry without content, under a name that is not looked at: links, devices, ways out.
///
/// # Errors
/// If the archive can't be written, or the name is longer than 100 bytes.
pub fn add_entry<W: Write>(
    archive: &mut tar::Builder<W>,
    kind: tar::EntryType,
    path: &str,
    target: Option<&str>,
    content: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_entry_type(kind);
    let name = &mut header.as_old_mut().name;
    let slot = name
        .get_mut(..path.len())
        .ok_or_else(|| io::Error::other("too long a name"))?;
    slot.copy_from_slice(path.as_bytes());
    if let Some(target) = target {
        header.set_link_name_literal(target)?;
    }
    header.set_cksum();
    archive.append(&header, content)
}

/// A blob on its way into a layout.
struct Blob {
    directory: PathBuf,
    file: tempfile::NamedTempFile,
    hash: Sha256,
    size: u64,
}

impl Blob {
    fn create(layout: &Path) -> io::Result<Self> {
        let directory = layout.join("blobs/sha256");
        let file = tempfile::NamedTempFile::new_in(&directory)?;
        Ok(Self {
            directory,
            file,
            hash: Sha256::new(),
            size: 0,
        })
    }

    fn finish(self, media_type: &str) -> io::Result<Value> {
        let hex: String = self
            .hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.file
            .persist(self.directory.join(&hex))
            .map_err(|error| error.error)?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": self.size}))
    }
}

impl Write for Blob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
