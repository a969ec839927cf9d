//! What of which images is in the cache.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::cache::{Cache, Known};
use crate::entry;
use crate::reference::Origin;

/// An image of which something is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// What it is called: references that meant it when they were last pulled, then its repositories with its digest.
    /// Never empty: an image that nobody calls by a name any more has its digest alone.
    pub names: Vec<String>,
    /// Bytes of disk space that what was taken out of it takes.
    pub disk_bytes: u64,
}

impl Cache {
    /// The images that are here, the largest first.
    ///
    /// # Errors
    /// If the cache's directory can't be read. What is removed meanwhile is left out.
    pub async fn stored(&self) -> std::io::Result<Vec<StoredImage>> {
        let directory = self.directory().to_path_buf();
        let listed = tokio::task::spawn_blocking(move || list(&directory));
        listed.await.map_err(std::io::Error::other)?
    }
}

/// What is known of one digest.
#[derive(Default)]
struct Found {
    references: BTreeSet<String>,
    repositories: BTreeSet<String>,
    disk_bytes: u64,
}

fn list(directory: &Path) -> std::io::Result<Vec<StoredImage>> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for entry in fs::read_dir(directory.join("entries"))? {
        let path = entry?.path();
        // Without a marker that can be read it is nothing that could be used.
        let Some(marker) = entry::marker(&path) else {
            continue;
        };
        let (_, bytes) = match entry::usage(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            usage => usage?,
        };
        let image = found.entry(marker.image).or_default();
        image.disk_bytes += bytes;
        image.repositories.extend(repository(&marker.reference));
    }
    for record in fs::read_dir(directory.join("references"))? {
        if let Some(known) = Known::read(&record?.path())
            && let Some(image) = found.get_mut(&known.digest)
        {
            image.repositories.extend(repository(&known.reference));
            image.references.insert(known.reference);
        }
    }
    let mut images: Vec<StoredImage> = found.into_iter().map(named).collect();
    images.sort_by(|a, b| {
        let by_size = b.disk_bytes.cmp(&a.disk_bytes);
        by_size.then_with(|| a.names.cmp(&b.names))
    });
    Ok(images)
}

fn named((digest, found): (String, Found)) -> StoredImage {
    let by_digest = found
        .repositories
        .iter()
        .map(|repository| format!("{repository}@{digest}"));
    let mut names: Vec<String> = found.references.iter().cloned().collect();
    names.extend(by_digest.filter(|name| !found.references.contains(name)));
    if names.is_empty() {
        names.push(digest);
    }
    StoredImage {
        names,
        disk_bytes: found.disk_bytes,
    }
}

/// Where an image is kept without its tag; none for a layout on this machine, which has no name for a digest.
fn repository(reference: &str) -> Option<String> {
    match Origin::parse(reference).ok()? {
        Origin::Registry(parsed) => Some(format!("{}/{}", parsed.registry(), parsed.repository())),
        Origin::Layout { .. } => None,
    }
}
