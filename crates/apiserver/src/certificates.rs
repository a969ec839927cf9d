//! A certificate authority of one's own: the server's certificate and those of its clients.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::settings::Clock;

/// Days that the authority's own certificate lasts.
const AUTHORITY_DAYS: i64 = 3650;
/// Days that issued certificates last.
const LEAF_DAYS: i64 = 365;
/// Certificates with fewer days left are made anew.
const RENEW_DAYS: i64 = 30;

/// Why a certificate could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file could not be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        cause: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is no {what}: {cause}; delete ca.crt and ca.key to make a new authority (clients then need new kubeconfigs)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// A certificate could not be signed.
    #[error("a certificate could not be made: {0}")]
    Sign(#[from] rcgen::Error),
    /// TLS refuses the certificates.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A client certificate holds at most two groups.
    #[error(
        "a client certificate holds at most two groups, but {0} were given; put the others behind a token"
    )]
    TooManyGroups(usize),
}

/// A key and the certificate for it, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key.
    pub key_pem: String,
    /// When the certificate ends.
    pub expires: Timestamp,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// A certificate authority in a directory: `ca.crt` and `ca.key`, both readable by the owner only.
pub struct Authority {
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Loads the authority of a directory, or makes a new one there: when there is none, or when
    /// the present one has fewer than 30 days left.
    ///
    /// # Errors
    /// When files cannot be read, written, or understood.
    pub fn load_or_create(directory: &Path, now: Timestamp) -> Result<Authority, CertificateError> {
        let certificate_path = directory.join("ca.crt");
        let key_path = directory.join("ca.key");
        match (read(&certificate_path)?, read(&key_path)?) {
            (Some(certificate), Some(key)) => {
                let damaged = |path: &Path, what, cause: String| CertificateError::Damaged {
                    path: path.to_owned(),
                    what,
                    cause,
                };
                let expires = expiry(&certificate)
                    .map_err(|cause| damaged(&certificate_path, "certificate", cause))?;
                if needs_renewal(expires, now) {
                    tracing::warn!(%expires, "the certificate authority is made anew; clients need new kubeconfigs");
                    return Authority::create(directory, now);
                }
                let key = KeyPair::from_pem(&key)
                    .map_err(|error| damaged(&key_path, "private key", error.to_string()))?;
                let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(|error| {
                    damaged(&certificate_path, "certificate", error.to_string())
                })?;
                Ok(Authority {
                    ca_pem: certificate,
                    issuer,
                })
            }
            _ => Authority::create(directory, now),
        }
    }

    fn create(directory: &Path, now: Timestamp) -> Result<Authority, CertificateError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        let name = format!("anyvirt-ca@{}", now.as_second());
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        set_validity(&mut parameters, now, AUTHORITY_DAYS);
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?;
        fs::create_dir_all(directory).map_err(|cause| CertificateError::File {
            path: directory.to_owned(),
            cause,
        })?;
        write(&directory.join("ca.key"), &key.serialize_pem())?;
        write(&directory.join("ca.crt"), &certificate.pem())?;
        Ok(Authority {
            ca_pem: certificate.pem(),
            issuer: Issuer::new(parameters, key),
        })
    }

    /// The authority's certificate, for `certificate-authority-data` and `kube-root-ca.crt`.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A client's identity: the user is the common name, the groups are the organisations.
    ///
    /// # Errors
    /// When there are more than two groups, or signing fails.
    pub fn client(
        &self,
        user: &str,
        groups: &[&str],
        now: Timestamp,
    ) -> Result<Identity, CertificateError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, user);
        // The library holds one value for each type of name; the second organisation goes in by
        // its number.
        let kinds = [
            DnType::OrganizationName,
            DnType::CustomDnType(vec![2, 5, 4, 10]),
        ];
        if groups.len() > kinds.len() {
            return Err(CertificateError::TooManyGroups(groups.len()));
        }
        for (kind, group) in kinds.into_iter().zip(groups) {
            parameters.distinguished_name.push(kind, *group);
        }
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(parameters, now)
    }

    /// A server's identity for these host names and addresses.
    ///
    /// # Errors
    /// When a name is no name, or signing fails.
    pub fn server(&self, names: &[String], now: Timestamp) -> Result<Identity, CertificateError> {
        let mut parameters = CertificateParams::new(names.to_vec())?;
        parameters.distinguished_name = DistinguishedName::new();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "anyvirt-apiserver");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(parameters, now)
    }

    fn issue(
        &self,
        mut parameters: CertificateParams,
        now: Timestamp,
    ) -> Result<Identity, CertificateError> {
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.use_authority_key_identifier_extension = true;
        set_validity(&mut parameters, now, LEAF_DAYS);
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            expires: day(now, LEAF_DAYS),
        })
    }

    /// TLS of the server: HTTP/2 and HTTP/1.1, with optional client certificates of this authority.
    /// The server's certificate names `names` beside localhost, and is renewed by itself.
    ///
    /// # Errors
    /// When a name is no name, or signing fails.
    pub fn server_config(
        self: &Arc<Self>,
        names: &[String],
        clock: Clock,
    ) -> Result<Arc<rustls::ServerConfig>, CertificateError> {
        let all = serving_names(names);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let now = clock();
        let first = self.certified(&all, now, &provider)?;
        let resolver = Resolver {
            authority: Arc::clone(self),
            names: all,
            provider: Arc::clone(&provider),
            clock,
            current: Mutex::new(first),
        };
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca_pem.as_bytes())
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        roots.add(ca)?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn certified(
        &self,
        names: &[String],
        now: Timestamp,
        provider: &CryptoProvider,
    ) -> Result<(Arc<CertifiedKey>, Timestamp), CertificateError> {
        let identity = self.server(names, now)?;
        let broken =
            |error: rustls_pki_types::pem::Error| rustls::Error::General(error.to_string());
        let certificate =
            CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).map_err(broken)?;
        let key =
            PrivatePkcs8KeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(broken)?;
        let key = CertifiedKey::from_der(vec![certificate], PrivateKeyDer::Pkcs8(key), provider)?;
        Ok((Arc::new(key), identity.expires))
    }
}

/// All names and addresses in the server's certificate: `names`, and those of the machine itself.
pub fn serving_names(names: &[String]) -> Vec<String> {
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1", "kubernetes.default.svc"]
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    all.extend(names.iter().cloned());
    all.sort();
    all.dedup();
    all
}

/// Hands out the server's certificate, and renews it before it ends.
struct Resolver {
    authority: Arc<Authority>,
    names: Vec<String>,
    provider: Arc<CryptoProvider>,
    clock: Clock,
    current: Mutex<(Arc<CertifiedKey>, Timestamp)>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Resolver")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = (self.clock)();
        // A panic while it was held cannot have left half a certificate.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if needs_renewal(current.1, now) {
            match self.authority.certified(&self.names, now, &self.provider) {
                Ok(renewed) => *current = renewed,
                Err(error) => tracing::error!(%error, "the server's certificate was not renewed"),
            }
        }
        Some(Arc::clone(&current.0))
    }
}

/// Whether a certificate that ends at `expires` is to be made anew.
pub fn needs_renewal(expires: Timestamp, now: Timestamp) -> bool {
    now + days(RENEW_DAYS) > expires
}

/// When a certificate ends.
///
/// # Errors
/// What is wrong with the text.
pub fn expiry(certificate_pem: &str) -> Result<Timestamp, String> {
    let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
        .map_err(|error| error.to_string())?;
    let (_, certificate) =
        x509_parser::parse_x509_certificate(&der).map_err(|error| error.to_string())?;
    Timestamp::from_second(certificate.validity().not_after.timestamp())
        .map_err(|error| error.to_string())
}

/// A kubeconfig with one context, for `kubectl --kubeconfig`.
pub fn kubeconfig(name: &str, server: &str, ca_pem: &str, client: &Identity) -> String {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {ca}\nusers:\n- name: {name}\n  user:\n    \
         client-certificate-data: {certificate}\n    client-key-data: {key}\ncontexts:\n- name: \
         {name}\n  context:\n    cluster: {name}\n    user: {name}\n    namespace: default\n\
         current-context: {name}\n",
        ca = encode(ca_pem),
        certificate = encode(&client.certificate_pem),
        key = encode(&client.key_pem),
    )
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// Midnight some days from now, which is what a certificate's validity is given in here.
fn day(now: Timestamp, offset: i64) -> Timestamp {
    let seconds = (now + days(offset)).as_second();
    let midnight = seconds - seconds.rem_euclid(24 * 60 * 60);
    Timestamp::from_second(midnight).unwrap_or(now)
}

fn set_validity(parameters: &mut CertificateParams, now: Timestamp, last: i64) {
    let date = |offset| {
        let date = day(now, offset).to_zoned(TimeZone::UTC).date();
        let part = |number: i8| u8::try_from(number).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
    };
    // From yesterday, for clients whose clocks are behind.
    parameters.not_before = date(-1);
    parameters.not_after = date(last);
}

fn read(path: &Path) -> Result<Option<String>, CertificateError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(CertificateError::File {
            path: path.to_owned(),
            cause,
        }),
    }
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// When the directory does not take it.
pub fn write(path: &Path, text: &str) -> Result<(), CertificateError> {
    let failed = |cause| CertificateError::File {
        path: path.to_owned(),
        cause,
    };
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn an_authority_is_made_once_and_loaded_afterwards() {
        let directory = tempfile::tempdir().expect("a directory");
        let now = at("2026-01-15T10:00:00Z");
        let first = Authority::load_or_create(directory.path(), now).expect("made");
        let second = Authority::load_or_create(directory.path(), now).expect("loaded");
        assert_eq!(first.ca_pem(), second.ca_pem());
        let mode = fs::metadata(directory.path().join("ca.key"))
            .expect("a key")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let late = at("2035-12-30T00:00:00Z");
        let third = Authority::load_or_create(directory.path(), late).expect("made anew");
        assert_ne!(first.ca_pem(), third.ca_pem());
    }

    #[test]
    fn a_client_certificate_carries_user_and_groups() {
        let directory = tempfile::tempdir().expect("a directory");
        let now = at("2026-01-15T10:00:00Z");
        let authority = Authority::load_or_create(directory.path(), now).expect("made");
        let client = authority
            .client("bob", &["system:masters", "team"], now)
            .expect("signed");
        let der = CertificateDer::from_pem_slice(client.certificate_pem.as_bytes()).expect("PEM");
        let user = crate::authenticate::certificate_user(&der).expect("a user");
        assert_eq!(user.name, "bob");
        assert!(user.is_in("system:masters") && user.is_in("team"));
        assert_eq!(expiry(&client.certificate_pem), Ok(client.expires));
        assert!(authority.client("bob", &["a", "b", "c"], now).is_err());
    }

    #[test]
    fn certificates_are_renewed_a_month_before_they_end() {
        let end = at("2026-06-30T00:00:00Z");
        assert!(!needs_renewal(end, at("2026-05-30T00:00:00Z")));
        assert!(needs_renewal(end, at("2026-06-01T00:00:00Z")));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        for file in ["ca.crt", "ca.key"] {
            fs::write(directory.path().join(file), "nonsense").expect("written");
        }
        let error = Authority::load_or_create(directory.path(), at("2026-01-01T00:00:00Z"));
        assert!(error.expect_err("nonsense").to_string().contains("ca.crt"));
    }
}
