//! Images from a registry on loopback and from layouts: good ones, broken ones, hostile ones.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod hostile;
mod pulling;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use images::{Cache, Format, ImageRequest, Inspected, Limits, PullError, PullPolicy};
use laboratory::images::{Layout, Packing, add_file};
use laboratory::registry::Registry;

/// A folder with an image layout, a registry that serves it, and a cache.
struct Bench {
    folder: tempfile::TempDir,
    layout: Layout,
    registry: Registry,
    cache: Cache,
}

impl Bench {
    fn new() -> Self {
        Self::with(small_limits())
    }

    fn with(limits: Limits) -> Self {
        // What the program does at its start; a second time is refused and harmless.
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("layout")).unwrap();
        let registry = Registry::serve(layout.directory()).unwrap();
        let cache = Cache::open(&folder.path().join("cache"), limits, Arc::new(inspect)).unwrap();
        Self {
            folder,
            layout,
            registry,
            cache,
        }
    }

    /// An image of one layer with these files.
    fn image(&self, files: &[(&str, &[u8])]) -> ImageRequest {
        let layer = self
            .layout
            .layer(Packing::Tar, |archive| {
                files.iter().try_for_each(|(path, bytes)| {
                    add_file(archive, path, *bytes, bytes.len() as u64)
                })
            })
            .unwrap();
        self.layout.image("latest", &[layer]).unwrap();
        self.request()
    }

    /// An image whose only layer is what `fill` makes.
    fn shaped(
        &self,
        fill: impl FnOnce(&mut tar::Builder<&mut dyn Write>) -> std::io::Result<()>,
    ) -> ImageRequest {
        let layer = self.layout.layer(Packing::Tar, fill).unwrap();
        self.layout.image("latest", &[layer]).unwrap();
        self.request()
    }

    fn request(&self) -> ImageRequest {
        ImageRequest::new(self.registry.reference("disk"))
    }

    fn with_policy(&self, pull_policy: PullPolicy) -> ImageRequest {
        ImageRequest {
            pull_policy,
            ..self.request()
        }
    }

    async fn pull(&self, request: &ImageRequest) -> Result<Vec<u8>, PullError> {
        self.cache
            .containerdisk(request)
            .await
            .map(|disk| std::fs::read(disk.path).unwrap())
    }

    /// Layers that were asked for so far.
    fn layer_requests(&self) -> usize {
        self.registry
            .requests()
            .iter()
            .filter(|request| request.contains("/blobs/"))
            .count()
    }

    /// Everything in the cache's folder for work in progress.
    fn left_over(&self) -> Vec<PathBuf> {
        let partial = self.folder.path().join("cache/partial");
        std::fs::read_dir(partial)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }
}

fn small_limits() -> Limits {
    Limits {
        download_bytes: 8 << 20,
        unpacked_bytes: 32 << 20,
        file_bytes: 16 << 20,
        entries: 100,
        ..Limits::default()
    }
}

/// Stands in for the reader of headers: raw, but for what says that it must not be used.
fn inspect(path: &Path) -> Result<Inspected, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    if bytes.starts_with(b"BACKING") {
        return Err("its header names the backing file /etc/passwd".to_owned());
    }
    Ok(Inspected {
        format: Format::Raw,
        virtual_size_bytes: bytes.len() as u64,
    })
}
