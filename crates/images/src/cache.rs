//! The cache: images that were pulled, as files, by the digest of their manifest and what was taken from them.
//!
//! ```text
//! DIRECTORY/entries/<key>/{disk|kernel,initrd,marker.json}   whole and checked; appears by one rename
//! DIRECTORY/references/<key>.json                            which digest a reference had when it was last pulled
//! DIRECTORY/partial/<n>/                                     work in progress; emptied when the cache is opened
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use crate::entry;
use crate::layer::{UnpackLimits, Unpacked, Unpacker, Wanted, wanted_path};
use crate::manifest::{Descriptor, digest_of, packing};
use crate::reference::Origin;
use crate::source::{Image, Source};
use crate::{
    CachedDisk, CachedKernel, ImageRequest, Inspect, Limits, Problem, Progress, PullError,
    PullPolicy,
};

/// Pulled images of this machine. Clones share the cache; only one process may use a directory.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    limits: Limits,
    inspect: Inspect,
    /// One pull at a time for each entry: whoever waits finds it in the cache.
    pulling: Mutex<BTreeMap<String, Weak<AsyncMutex<()>>>>,
    slots: Semaphore,
    next_partial: AtomicU64,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cache")
            .field("directory", &self.inner.directory)
            .finish_non_exhaustive()
    }
}

/// Which digest a reference had.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) reference: String,
    pub(crate) digest: String,
}

impl Known {
    /// The record at `path`; none if it cannot be read: that is as good as no record.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = entry::read_bounded(path).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// What is to be taken from an image, and what the files are called in the entry.
struct Taking {
    wanted: Wanted,
    /// Name in the entry by path in the image; for the only file of a directory there is just `disk`.
    names: Vec<(&'static str, Option<String>)>,
}

impl Taking {
    fn disk(path: Option<&str>) -> Result<Self, Problem> {
        Ok(match path {
            None => Self {
                wanted: Wanted::OnlyFileIn("disk".to_owned()),
                names: vec![("disk", None)],
            },
            Some(path) => {
                let path = wanted_path(path)?;
                Self {
                    wanted: Wanted::Files(vec![path.clone()]),
                    names: vec![("disk", Some(path))],
                }
            }
        })
    }

    fn kernel(kernel: Option<&str>, initrd: Option<&str>) -> Result<Self, Problem> {
        let mut names = Vec::new();
        for (name, path) in [("kernel", kernel), ("initrd", initrd)] {
            if let Some(path) = path {
                names.push((name, Some(wanted_path(path)?)));
            }
        }
        let wanted = Wanted::Files(names.iter().filter_map(|(_, path)| path.clone()).collect());
        Ok(Self { wanted, names })
    }

    /// The name of the entry in the cache.
    fn key(&self, image: &str) -> String {
        let names: Vec<_> = self
            .names
            .iter()
            .map(|(name, path)| format!("{name}={}", path.as_deref().unwrap_or("*")))
            .collect();
        key_of(&format!("{image}\n{}", names.join("\n")))
    }
}

fn key_of(text: &str) -> String {
    digest_of(text.as_bytes()).replace("sha256:", "")
}

impl Cache {
    /// Opens a cache, made if needed. `inspect` reads a disk image's header and refuses what may not be used.
    ///
    /// # Errors
    /// If the directory can't be made or read.
    pub fn open(directory: &Path, limits: Limits, inspect: Inspect) -> std::io::Result<Self> {
        let partial = directory.join("partial");
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for part in [
            &partial,
            &directory.join("entries"),
            &directory.join("references"),
        ] {
            fs::create_dir_all(part)?;
        }
        let slots = Semaphore::new(limits.concurrent_pulls);
        let inner = Inner {
            directory: directory.to_path_buf(),
            limits,
            inspect,
            pulling: Mutex::default(),
            slots,
            next_partial: AtomicU64::new(0),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// The disk of a containerDisk image: the only file in its `/disk`, or the one at [`ImageRequest::path`].
    ///
    /// # Errors
    /// See [`Problem`]; nothing half-done is left behind.
    pub async fn containerdisk(&self, request: &ImageRequest) -> Result<CachedDisk, PullError> {
        self.pull_disk(request)
            .await
            .map_err(|problem| problem.of(&request.reference))
    }

    /// The kernel and the initrd of a kernelBoot image, at the given paths in the image (at least one of them).
    ///
    /// # Errors
    /// See [`Problem`]; nothing half-done is left behind.
    pub async fn kernel(
        &self,
        request: &ImageRequest,
        kernel_path: Option<&str>,
        initrd_path: Option<&str>,
    ) -> Result<CachedKernel, PullError> {
        let pulled = async {
            if kernel_path.is_none() && initrd_path.is_none() {
                let cause = "neither a kernel path nor an initrd path is given".to_owned();
                return Err(Problem::Contents(cause));
            }
            let (directory, digest) = self
                .pull(request, Taking::kernel(kernel_path, initrd_path)?)
                .await?;
            Ok(CachedKernel {
                kernel: kernel_path.map(|_| directory.join("kernel")),
                initrd: initrd_path.map(|_| directory.join("initrd")),
                digest,
            })
        };
        pulled
            .await
            .map_err(|problem: Problem| problem.of(&request.reference))
    }

    async fn pull_disk(&self, request: &ImageRequest) -> Result<CachedDisk, Problem> {
        let taking = Taking::disk(request.path.as_deref())?;
        let (directory, digest) = self.pull(request, taking).await?;
        let path = directory.join("disk");
        let shown = request.path.clone().unwrap_or_else(|| "/disk".to_owned());
        let inspected = self.inspect(path.clone(), shown).await?;
        Ok(CachedDisk {
            path,
            format: inspected.format,
            virtual_size_bytes: inspected.virtual_size_bytes,
            digest,
        })
    }

    async fn inspect(&self, path: PathBuf, shown: String) -> Result<crate::Inspected, Problem> {
        let inspect = Arc::clone(&self.inner.inspect);
        let inspected = blocking(move || {
            inspect(&path).map_err(|cause| Problem::NotADisk { path: shown, cause })
        });
        let inspected = inspected.await?;
        let limit = self.inner.limits.virtual_bytes;
        if inspected.virtual_size_bytes > limit {
            let what = format!("the disk's size of {} bytes", inspected.virtual_size_bytes);
            return Err(Problem::TooLarge { what, limit });
        }
        Ok(inspected)
    }

    /// The entry with what is to be taken, and the image's digest.
    async fn pull(
        &self,
        request: &ImageRequest,
        taking: Taking,
    ) -> Result<(PathBuf, String), Problem> {
        let origin = Origin::parse(&request.reference)?;
        if matches!(origin, Origin::Layout { .. }) && !self.inner.limits.layouts {
            let cause = "image layouts on this machine are turned off by its settings";
            return Err(Problem::Unsupported(cause.to_owned()));
        }
        if request.pull_policy != PullPolicy::Always
            && let Some(found) = self.known(&request.reference, &taking).await?
        {
            return self.used(found).await;
        }
        if request.pull_policy == PullPolicy::Never {
            return Err(Problem::NeverPull);
        }
        let source = Source::new(origin, request.credentials.as_ref(), request.insecure)?;
        let image = source.image().await?;
        let key = taking.key(&image.digest);
        let entry = self.inner.directory.join("entries").join(&key);
        let turn = self.turn(&key);
        let _turn = turn.lock().await;
        if self.checked(&entry).await?.is_none() {
            // A closed semaphore would be the only error, and nobody closes it.
            let _slot = self.inner.slots.acquire().await;
            self.fetch(request, &source, &image, taking, &entry).await?;
        }
        self.remember(&request.reference, &image.digest).await?;
        self.used((entry, image.digest)).await
    }

    async fn used(&self, found: (PathBuf, String)) -> Result<(PathBuf, String), Problem> {
        blocking(move || match entry::touch(&found.0) {
            Ok(()) => Ok(found),
            Err(error) => Err(Problem::storage(&found.0, &error)),
        })
        .await
    }

    /// Removes what nobody asked for since `unused_since` and none of the files `in_use` (paths this cache gave out)
    /// belong to. Returns the bytes of disk space freed.
    ///
    /// # Errors
    /// If the cache's directory can't be read or changed; what was removed before that stays removed.
    pub async fn prune(
        &self,
        in_use: &BTreeSet<PathBuf>,
        unused_since: SystemTime,
    ) -> std::io::Result<u64> {
        let keep: BTreeSet<PathBuf> = in_use
            .iter()
            .filter_map(|file| file.parent())
            .map(Path::to_path_buf)
            .collect();
        let cache = self.clone();
        let pruned = tokio::task::spawn_blocking(move || cache.prune_now(&keep, unused_since));
        pruned.await.map_err(std::io::Error::other)?
    }

    fn prune_now(
        &self,
        keep: &BTreeSet<PathBuf>,
        unused_since: SystemTime,
    ) -> std::io::Result<u64> {
        let mut freed = 0;
        for found in fs::read_dir(self.inner.directory.join("entries"))? {
            let entry = found?.path();
            let (used, bytes) = entry::usage(&entry)?;
            if used >= unused_since || keep.contains(&entry) {
                continue;
            }
            let partial = Partial::create(&self.inner).map_err(std::io::Error::other)?;
            // Away in one step, so that a half-removed entry is never found.
            fs::rename(&entry, partial.path.join("old"))?;
            tracing::info!(entry = %entry.display(), bytes, "removed an unused image");
            freed += bytes;
        }
        self.forget_references(unused_since)?;
        Ok(freed)
    }

    /// Removes what is known of references to images of which nothing is here. A pull puts its entry in place before
    /// it notes the reference, so a record that is older than `unused_since` belongs to no pull that goes on.
    fn forget_references(&self, unused_since: SystemTime) -> std::io::Result<()> {
        let entries = fs::read_dir(self.inner.directory.join("entries"))?;
        let here: BTreeSet<String> = entries
            .filter_map(|found| entry::marker(&found.ok()?.path()))
            .map(|marker| marker.image)
            .collect();
        for found in fs::read_dir(self.inner.directory.join("references"))? {
            let record = found?;
            let known = Known::read(&record.path());
            let is_needed = known.is_some_and(|known| here.contains(&known.digest));
            if !is_needed && record.metadata()?.modified()? < unused_since {
                fs::remove_file(record.path())?;
            }
        }
        Ok(())
    }

    /// The entry for what the reference meant when it was last pulled.
    async fn known(
        &self,
        reference: &str,
        taking: &Taking,
    ) -> Result<Option<(PathBuf, String)>, Problem> {
        let path = self.reference_path(reference);
        let known = blocking(move || Ok(Known::read(&path)));
        let Some(known) = known.await?.filter(|known| known.reference == reference) else {
            return Ok(None);
        };
        let entry = self
            .inner
            .directory
            .join("entries")
            .join(taking.key(&known.digest));
        let marker = self.checked(&entry).await?;
        Ok(marker
            .filter(|marker| marker.image == known.digest)
            .map(|_| (entry, known.digest)))
    }

    async fn remember(&self, reference: &str, digest: &str) -> Result<(), Problem> {
        let path = self.reference_path(reference);
        let known = Known {
            reference: reference.to_owned(),
            digest: digest.to_owned(),
        };
        blocking(move || entry::write_json(&path, &known)).await
    }

    fn reference_path(&self, reference: &str) -> PathBuf {
        self.inner
            .directory
            .join("references")
            .join(format!("{}.json", key_of(reference)))
    }

    async fn checked(&self, entry: &Path) -> Result<Option<entry::Marker>, Problem> {
        let entry = entry.to_path_buf();
        blocking(move || Ok(entry::check(&entry))).await
    }

    fn turn(&self, key: &str) -> Arc<AsyncMutex<()>> {
        let mut pulling = self
            .inner
            .pulling
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        pulling.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = pulling.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(AsyncMutex::new(()));
        pulling.insert(key.to_owned(), Arc::downgrade(&turn));
        turn
    }

    async fn fetch(
        &self,
        request: &ImageRequest,
        source: &Source,
        image: &Image,
        taking: Taking,
        entry: &Path,
    ) -> Result<(), Problem> {
        let packings: Vec<_> = image
            .layers
            .iter()
            .map(|layer| packing(&layer.media_type))
            .collect::<Result<_, _>>()?;
        let total = self.total(&image.layers)?;
        let partial = Partial::create(&self.inner)?;
        let work = partial.path.join("work");
        let ready = partial.path.join("ready");
        for directory in [&work, &ready] {
            fs::create_dir(directory).map_err(|error| Problem::storage(directory, &error))?;
        }
        let limits = &self.inner.limits;
        let unpack_limits = UnpackLimits {
            file_bytes: limits.file_bytes,
            unpacked_bytes: limits.unpacked_bytes,
            entries: limits.entries,
        };
        let mut unpacker = Unpacker::new(&work, taking.wanted.clone(), unpack_limits);
        let done = AtomicI64::new(0);
        let heard = |bytes: i64| {
            let now = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            if let Some(progress) = &request.progress {
                progress(Progress {
                    done_bytes: now.max(0).cast_unsigned(),
                    total_bytes: total,
                });
            }
        };
        for (number, (layer, packing)) in image.layers.iter().zip(packings).enumerate() {
            let file = partial.path.join(format!("layer-{number}"));
            source.layer(layer, &file, &heard).await?;
            unpacker = blocking(move || {
                let opened =
                    fs::File::open(&file).map_err(|error| Problem::storage(&file, &error))?;
                unpacker.layer(opened, packing)?;
                fs::remove_file(&file).map_err(|error| Problem::storage(&file, &error))?;
                Ok(unpacker)
            })
            .await?;
        }
        let files = unpacker.finish()?;
        self.judge(&files, &taking).await?;
        let (reference, digest) = (request.reference.clone(), image.digest.clone());
        let entry = entry.to_path_buf();
        blocking(move || {
            let sealed: Vec<_> = taking
                .names
                .iter()
                .filter_map(|(name, path)| {
                    let file = match path {
                        Some(path) => files.get(path),
                        None => files.values().next(),
                    }?;
                    Some((*name, &*file.file, file.size, &*file.digest))
                })
                .collect();
            entry::seal(&ready, &reference, &digest, &sealed)?;
            put_in_place(&ready, &entry, &partial)
        })
        .await
    }

    /// A disk that can't be used is refused before it is in the cache.
    async fn judge(
        &self,
        files: &BTreeMap<String, Unpacked>,
        taking: &Taking,
    ) -> Result<(), Problem> {
        if taking.names.iter().all(|(name, _)| *name == "disk") {
            for (path, file) in files {
                self.inspect(file.file.clone(), format!("/{path}")).await?;
            }
        }
        Ok(())
    }

    fn total(&self, layers: &[Descriptor]) -> Result<u64, Problem> {
        let total = layers
            .iter()
            .try_fold(0_u64, |sum, layer| sum.checked_add(layer.size));
        let limit = self.inner.limits.download_bytes;
        match total {
            Some(total) if total <= limit => Ok(total),
            _ => {
                let what = format!("the image with {} layers", layers.len());
                Err(Problem::TooLarge { what, limit })
            }
        }
    }
}

/// A directory for work in progress; removed with all that is left in it.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn create(inner: &Inner) -> Result<Self, Problem> {
        let number = inner.next_partial.fetch_add(1, Ordering::Relaxed);
        let path = inner.directory.join("partial").join(number.to_string());
        fs::create_dir(&path).map_err(|error| Problem::storage(&path, &error))?;
        Ok(Self { path })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            // Opening the cache tries again.
            tracing::warn!(path = %self.path.display(), %error, "could not remove");
        }
    }
}

/// Moves a whole entry in; a damaged one that stands there goes away with `partial`.
fn put_in_place(ready: &Path, entry: &Path, partial: &Partial) -> Result<(), Problem> {
    if entry.exists() {
        let old = partial.path.join("old");
        fs::rename(entry, &old).map_err(|error| Problem::storage(entry, &error))?;
    }
    fs::rename(ready, entry).map_err(|error| Problem::storage(entry, &error))?;
    entry.parent().map_or(Ok(()), entry::sync_directory)
}

/// Runs work on files away from the threads that serve everybody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Problem::Storage {
            path: "the cache".to_owned(),
            cause: format!("the work on it was ended: {error}"),
        })?
}
