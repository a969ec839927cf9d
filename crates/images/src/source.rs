//! Fetches manifests and layers, from a registry or from a layout directory, and believes no byte that doesn't match its
//! digest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol, SizedStream};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::manifest::{
    self, Descriptor, INDEX_DEPTH, MANIFEST_BYTES, Manifest, digest_of, digest_text, sha256_hex,
};
use crate::reference::{Origin, is_loopback};
use crate::{Credentials, Problem};

/// Waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Waits for the next bytes; longer is a stalled registry.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A manifest is small.
const MANIFEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A broken download is taken up where it ended, this often; the caller backs off after that.
const ATTEMPTS: u32 = 4;
/// Before an attempt after the first; doubled each time.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Somewhere images are.
pub(crate) enum Source {
    Registry {
        client: Box<Client>,
        image: Box<Reference>,
        auth: RegistryAuth,
    },
    Layout {
        directory: PathBuf,
        tag: Option<String>,
    },
}

/// An image as its manifest describes it.
#[derive(Debug)]
pub(crate) struct Image {
    /// Digest of the manifest for this machine.
    pub(crate) digest: String,
    pub(crate) layers: Vec<Descriptor>,
}

impl Source {
    /// Nothing is contacted yet.
    pub(crate) fn new(
        origin: Origin,
        credentials: Option<&Credentials>,
        insecure: bool,
    ) -> Result<Self, Problem> {
        let image = match origin {
            Origin::Layout { directory, tag } => return Ok(Self::Layout { directory, tag }),
            Origin::Registry(image) => image,
        };
        let protocol = if insecure && is_loopback(image.resolve_registry()) {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        };
        let config = ClientConfig {
            protocol,
            read_timeout: Some(READ_TIMEOUT),
            connect_timeout: Some(CONNECT_TIMEOUT),
            user_agent: concat!("anyvirt/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(explain)?;
        let auth = credentials.map_or(RegistryAuth::Anonymous, |credentials| {
            RegistryAuth::Basic(credentials.username.clone(), credentials.password.clone())
        });
        Ok(Self::Registry {
            client: Box::new(client),
            image: Box::new(image),
            auth,
        })
    }

    /// The image for this machine.
    pub(crate) async fn image(&self) -> Result<Image, Problem> {
        let (mut bytes, mut digest) = self.first_manifest().await?;
        for _ in 0..INDEX_DEPTH {
            match Manifest::parse(&bytes)? {
                Manifest::Image(layers) => return Ok(Image { digest, layers }),
                Manifest::Index(manifests) => {
                    let chosen = manifest::choose(&manifests, manifest::architecture())?;
                    digest.clone_from(&chosen.digest);
                    bytes = self.manifest(chosen).await?;
                }
            }
        }
        Err(Problem::Unsupported(format!(
            "its index is nested more than {INDEX_DEPTH} deep"
        )))
    }

    async fn first_manifest(&self) -> Result<(Vec<u8>, String), Problem> {
        match self {
            Self::Registry { image, .. } => {
                let bytes = self.registry_manifest(image).await?;
                let digest = digest_of(&bytes);
                match image.digest() {
                    Some(wanted) if wanted != digest => Err(Problem::Damaged(format!(
                        "its manifest has digest {digest}"
                    ))),
                    _ => Ok((bytes, digest)),
                }
            }
            Self::Layout { directory, tag } => {
                let entry = layout_entry(directory, tag.as_deref()).await?;
                Ok((self.manifest(&entry).await?, entry.digest))
            }
        }
    }

    async fn manifest(&self, entry: &Descriptor) -> Result<Vec<u8>, Problem> {
        let hex = sha256_hex(&entry.digest)?;
        let bytes = match self {
            Self::Registry { image, .. } => {
                self.registry_manifest(&image.clone_with_digest(entry.digest.clone()))
                    .await?
            }
            Self::Layout { directory, .. } => read_small(&blob_path(directory, hex)).await?,
        };
        let found = digest_of(&bytes);
        if found != entry.digest {
            let wanted = &entry.digest;
            return Err(Problem::Damaged(format!(
                "manifest {wanted} has digest {found}"
            )));
        }
        Ok(bytes)
    }

    async fn registry_manifest(&self, image: &Reference) -> Result<Vec<u8>, Problem> {
        let Self::Registry { client, auth, .. } = self else {
            return Err(Problem::Unsupported("a layout has no registry".to_owned()));
        };
        let accepted = manifest::accepted();
        let pull = client.pull_manifest_raw(image, auth, &accepted);
        let pulled = tokio::time::timeout(MANIFEST_TIMEOUT, pull)
            .await
            .map_err(|_| {
                let seconds = MANIFEST_TIMEOUT.as_secs();
                Problem::Unreachable(format!("the registry sent no manifest within {seconds} s"))
            })?;
        let (bytes, _) = pulled.map_err(explain)?;
        if bytes.len() as u64 > MANIFEST_BYTES {
            let what = "its manifest".to_owned();
            return Err(Problem::TooLarge {
                what,
                limit: MANIFEST_BYTES,
            });
        }
        Ok(bytes.to_vec())
    }

    /// Fetches a layer into `file`, which must not exist, and checks it. `heard` is called with each number of bytes
    /// that came; after a restart it is called with a negative number.
    pub(crate) async fn layer(
        &self,
        layer: &Descriptor,
        file: &Path,
        heard: &(dyn Fn(i64) + Send + Sync),
    ) -> Result<(), Problem> {
        let mut download = Download::create(layer, file, heard).await?;
        match self {
            Self::Layout { directory, .. } => {
                let path = blob_path(directory, sha256_hex(&layer.digest)?);
                download.read(&path).await?;
            }
            Self::Registry { client, image, .. } => {
                let descriptor = OciDescriptor {
                    digest: layer.digest.clone(),
                    size: i64::try_from(layer.size).unwrap_or(i64::MAX),
                    ..OciDescriptor::default()
                };
                download.fetch(client, image, &descriptor).await?;
            }
        }
        download.finish().await
    }
}

/// A layer on its way into a file.
struct Download<'a> {
    layer: &'a Descriptor,
    path: &'a Path,
    file: tokio::fs::File,
    hash: Sha256,
    done: u64,
    heard: &'a (dyn Fn(i64) + Send + Sync),
}

impl<'a> Download<'a> {
    async fn create(
        layer: &'a Descriptor,
        path: &'a Path,
        heard: &'a (dyn Fn(i64) + Send + Sync),
    ) -> Result<Self, Problem> {
        sha256_hex(&layer.digest)?;
        let mut file = tokio::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .await
            .map_err(|error| Problem::storage(path, &error))?;
        file.set_max_buf_size(1 << 20);
        Ok(Self {
            layer,
            path,
            file,
            hash: Sha256::new(),
            done: 0,
            heard,
        })
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.done += bytes.len() as u64;
        if self.done > self.layer.size {
            let (digest, size) = (&self.layer.digest, self.layer.size);
            return Err(Problem::Damaged(format!(
                "layer {digest} is longer than its {size} bytes"
            )));
        }
        self.hash.update(bytes);
        self.file
            .write_all(bytes)
            .await
            .map_err(|error| Problem::storage(self.path, &error))?;
        (self.heard)(bytes.len() as i64);
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), Problem> {
        use tokio::io::AsyncSeekExt;
        (self.heard)(-(self.done as i64));
        self.hash = Sha256::new();
        self.done = 0;
        let emptied = async {
            self.file.rewind().await?;
            self.file.set_len(0).await
        };
        emptied
            .await
            .map_err(|error: std::io::Error| Problem::storage(self.path, &error))
    }

    async fn read(&mut self, path: &Path) -> Result<(), Problem> {
        use tokio::io::AsyncReadExt;
        let mut source = open_regular(path).await?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = source
                .read(&mut buffer)
                .await
                .map_err(|error| Problem::storage(path, &error))?;
            if count == 0 {
                return Ok(());
            }
            self.take(&buffer[..count]).await?;
        }
    }

    async fn fetch(
        &mut self,
        client: &Client,
        image: &Reference,
        descriptor: &OciDescriptor,
    ) -> Result<(), Problem> {
        let mut delay = RETRY_DELAY;
        for attempt in 1.. {
            let broken = match self.fetch_once(client, image, descriptor).await {
                Ok(()) if self.done == self.layer.size => return Ok(()),
                Ok(()) => Problem::Unreachable(format!(
                    "layer {} ended after {} of {} bytes",
                    self.layer.digest, self.done, self.layer.size
                )),
                Err(problem @ Problem::Unreachable(_)) => problem,
                Err(problem) => return Err(problem),
            };
            if attempt == ATTEMPTS {
                return Err(broken);
            }
            tracing::info!(problem = %broken, attempt, "a download broke off; taking it up again");
            tokio::time::sleep(delay).await;
            delay *= 2;
        }
        Ok(())
    }

    async fn fetch_once(
        &mut self,
        client: &Client,
        image: &Reference,
        descriptor: &OciDescriptor,
    ) -> Result<(), Problem> {
        let mut body = if self.done == 0 {
            client
                .pull_blob_stream(image, descriptor)
                .await
                .map_err(explain)?
        } else {
            match client
                .pull_blob_stream_partial(image, descriptor, self.done, None)
                .await
            {
                Ok(BlobResponse::Partial(rest)) => rest,
                Ok(BlobResponse::Full(whole)) => {
                    self.restart().await?;
                    whole
                }
                Err(error) => return Err(explain(error)),
            }
        };
        self.follow(&mut body).await
    }

    async fn follow(&mut self, body: &mut SizedStream) -> Result<(), Problem> {
        while let Some(bytes) = body.stream.next().await {
            match bytes {
                Ok(bytes) => self.take(&bytes).await?,
                // The stream also checks the digest; once all has come our own check says it better.
                Err(_) if self.done == self.layer.size => break,
                Err(error) => {
                    return Err(Problem::Unreachable(format!(
                        "layer {} broke off after {} of {} bytes: {}",
                        self.layer.digest,
                        self.done,
                        self.layer.size,
                        chain(&error)
                    )));
                }
            }
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), Problem> {
        let synced = async {
            self.file.flush().await?;
            self.file.sync_all().await
        };
        synced
            .await
            .map_err(|error: std::io::Error| Problem::storage(self.path, &error))?;
        let found = digest_text(&self.hash.finalize());
        let (wanted, size) = (&self.layer.digest, self.layer.size);
        if self.done != size {
            let done = self.done;
            return Err(Problem::Damaged(format!(
                "layer {wanted} has {done} bytes instead of {size}"
            )));
        }
        if found != *wanted {
            return Err(Problem::Damaged(format!(
                "layer {wanted} has digest {found}"
            )));
        }
        Ok(())
    }
}

fn blob_path(directory: &Path, hex: &str) -> PathBuf {
    directory.join("blobs/sha256").join(hex)
}

/// The manifest that a layout's `index.json` has for a tag.
async fn layout_entry(directory: &Path, tag: Option<&str>) -> Result<Descriptor, Problem> {
    const NAME: &str = "org.opencontainers.image.ref.name";
    let path = directory.join("index.json");
    let Manifest::Index(entries) = Manifest::parse(&read_small(&path).await?)? else {
        return Err(Problem::Damaged(format!("{} is no index", path.display())));
    };
    let tags: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry.annotations.get(NAME))
        .map(|t| &**t)
        .collect();
    let tags = if tags.is_empty() {
        "none".to_owned()
    } else {
        tags.join(", ")
    };
    let place = directory.display();
    match tag {
        Some(tag) => entries
            .iter()
            .find(|entry| entry.annotations.get(NAME).is_some_and(|name| name == tag))
            .cloned()
            .ok_or_else(|| Problem::NotFound(format!("{place} has no tag {tag:?} (tags: {tags})"))),
        None if entries.iter().any(|entry| entry.platform.is_some()) => {
            manifest::choose(&entries, manifest::architecture()).cloned()
        }
        None => match &entries[..] {
            [only] => Ok(only.clone()),
            [] => Err(Problem::NotFound(format!("{place} holds no image"))),
            several => {
                let count = several.len();
                let cure = format!("name one, as in {place}:TAG");
                Err(Problem::NotFound(format!(
                    "{place} holds {count} images (tags: {tags}); {cure}"
                )))
            }
        },
    }
}

async fn read_small(path: &Path) -> Result<Vec<u8>, Problem> {
    use tokio::io::AsyncReadExt;
    let file = open_regular(path).await?;
    let mut bytes = Vec::new();
    file.take(MANIFEST_BYTES + 1)
        .read_to_end(&mut bytes)
        .await
        .map_err(|error| Problem::storage(path, &error))?;
    if bytes.len() as u64 > MANIFEST_BYTES {
        return Err(Problem::TooLarge {
            what: path.display().to_string(),
            limit: MANIFEST_BYTES,
        });
    }
    Ok(bytes)
}

/// Opens a file of a layout: no link, pipe or device.
async fn open_regular(path: &Path) -> Result<tokio::fs::File, Problem> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Problem::NotFound(format!("there is no {}", path.display()))
        }
        _ => Problem::storage(path, &error),
    };
    let kind = tokio::fs::symlink_metadata(path).await.map_err(failed)?;
    if !kind.is_file() {
        return Err(Problem::Contents(format!(
            "{} is no regular file",
            path.display()
        )));
    }
    tokio::fs::File::open(path).await.map_err(failed)
}

/// The registry's answer, in our words.
fn explain(error: OciDistributionError) -> Problem {
    use OciDistributionError as E;
    match error {
        E::ImageManifestNotFoundError(cause) => Problem::NotFound(cause),
        E::RegistryError { envelope, url } => {
            let said: Vec<_> = envelope.errors.iter().map(|e| e.message.clone()).collect();
            let text = format!("{url}: {}", said.join("; "));
            match envelope.errors.first().map(|error| &error.code) {
                Some(
                    OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound
                    | OciErrorCode::BlobUnknown
                    | OciErrorCode::ManifestBlobUnknown,
                ) => Problem::NotFound(text),
                Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => {
                    Problem::Unauthorized(text)
                }
                _ => Problem::Unreachable(text),
            }
        }
        E::AuthenticationFailure(cause) => Problem::Unauthorized(cause),
        E::UnauthorizedError { url } => {
            Problem::Unauthorized(format!("the registry refuses access to {url}"))
        }
        E::ServerError { code: 404, url, .. } => Problem::NotFound(url),
        E::ServerError {
            code: 401 | 403,
            url,
            message,
        } => Problem::Unauthorized(format!("{url}: {message}")),
        E::DigestError(error) => Problem::Damaged(error.to_string()),
        E::UnsupportedMediaTypeError(_) | E::UnsupportedSchemaVersionError(_) => {
            Problem::Unsupported(error.to_string())
        }
        other => Problem::Unreachable(chain(&other)),
    }
}

/// An error with all its causes: the last one is usually what a reader needs ("connection refused").
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
