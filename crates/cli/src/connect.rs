//! The connection to an API server, as kubectl would make it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::client::{Body, Client, ClientBuilder};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde::de::DeserializeOwned;
use tower::util::MapResponseLayer;

use crate::Globals;
use crate::failure::{Exit, Failure, chain};
use crate::output;

/// A server on this machine answers at once, one elsewhere within seconds, or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most texts of warnings that one call of the program tells: more than anybody reads.
const MOST_WARNINGS: usize = 100;

/// An API server, ready to be asked.
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// Its address, for messages.
    pub(crate) server: String,
    /// Where objects are looked for.
    pub(crate) namespace: String,
    /// How much to say.
    verbosity: u8,
}

impl Connection {
    /// Reads the kubeconfig; nothing is sent yet.
    pub(crate) async fn open(globals: &Globals, data_directory: &Path) -> Result<Self, Failure> {
        let mut config = configuration(globals, data_directory).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // Consoles and followed logs may be silent for hours.
        config.read_timeout = None;
        config.write_timeout = None;
        if let Some(server) = &globals.server {
            config.cluster_url = server.parse().map_err(|error| {
                Failure::new(format!("--server {server}: {error}")).exit(Exit::Usage)
            })?;
        }
        if let Some(token) = &globals.token {
            config.auth_info = kube::config::AuthInfo::default();
            config.auth_info.token = Some(token.clone().into());
        }
        if let Some(namespace) = &globals.namespace {
            config.default_namespace.clone_from(namespace);
        }
        let server = config
            .cluster_url
            .to_string()
            .trim_end_matches('/')
            .to_owned();
        let namespace = config.default_namespace.clone();
        if globals.verbosity > 0 {
            output::hint(&format!("server {server}, namespace {namespace}"));
        }
        let builder = ClientBuilder::try_from(config)
            .map_err(|error| Failure::new(format!("{server}: {}", chain(&error))))?;
        let client = builder.with_layer(&told_once(output::hint)).build();
        Ok(Self {
            client,
            server,
            namespace,
            verbosity: globals.verbosity,
        })
    }

    /// A connection to a service in this process.
    #[cfg(test)]
    pub(crate) fn to(client: Client, namespace: &str) -> Self {
        let server = "https://127.0.0.1:6443".to_owned();
        Self {
            client,
            server,
            namespace: namespace.to_owned(),
            verbosity: 0,
        }
    }

    /// The failure of a request.
    pub(crate) fn failure(&self, error: kube::Error) -> Failure {
        Failure::of(error, &self.server)
    }

    /// Path of a verb on an object of this namespace, served by code.
    pub(crate) fn subresource(&self, resource: &str, name: &str, verb: &str) -> String {
        self.subresource_in(&self.namespace, resource, name, verb)
    }

    /// The same on an object of another namespace.
    pub(crate) fn subresource_in(
        &self,
        namespace: &str,
        resource: &str,
        name: &str,
        verb: &str,
    ) -> String {
        format!(
            "/apis/{}/{}/namespaces/{namespace}/{resource}/{name}/{verb}",
            api::names::SUBRESOURCES_GROUP,
            api::names::VERSION,
        )
    }

    /// Asks, and answers with the body's text.
    pub(crate) async fn send(
        &self,
        method: http::Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<String, kube::Error> {
        if self.verbosity > 0 {
            output::hint(&format!("{method} {path}"));
        }
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json")
            .body(body)
            .map_err(kube::Error::HttpError)?;
        self.client.request_text(request).await
    }

    /// Gets an object as JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let text = self
            .send(http::Method::GET, path, Vec::new())
            .await
            .map_err(|error| self.failure(error))?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("{}{path}: {error}", self.server)))
    }

    /// Sends a request whose answer is not read to its end, e.g. an upgrade.
    pub(crate) async fn open_stream(
        &self,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, kube::Error> {
        if self.verbosity > 0 {
            output::hint(&format!("{} {}", request.method(), request.uri()));
        }
        self.client.send(request).await
    }
}

/// Hands what a server warns of beside its answers to `tell`, each text once.
fn told_once<B>(
    tell: fn(&str),
) -> MapResponseLayer<impl Fn(http::Response<B>) -> http::Response<B> + Clone> {
    let told = Arc::new(Mutex::new(BTreeSet::new()));
    MapResponseLayer::new(move |response: http::Response<B>| {
        for warning in warnings(response.headers()) {
            // Nothing panics while it is locked, so a poisoned lock guards a whole set.
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() < MOST_WARNINGS && told.insert(warning.clone()) {
                tell(&format!("Warning: {warning}"));
            }
        }
        response
    })
}

/// The texts of `Warning` headers of the form that Kubernetes uses: `299 - "text"`.
fn warnings(headers: &http::HeaderMap) -> Vec<String> {
    let text = |value: &http::HeaderValue| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let quoted = value.strip_prefix("299 ")?.split_once(' ')?.1;
        let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
        let mut text = String::new();
        let mut letters = inner.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => text.extend(letters.next()),
                // A server does not write to our terminal.
                letter if letter.is_control() => text.push(' '),
                letter => text.push(letter),
            }
        }
        Some(text)
    };
    let all = headers.get_all(http::header::WARNING);
    all.iter().filter_map(text).collect()
}

async fn configuration(globals: &Globals, data_directory: &Path) -> Result<Config, Failure> {
    let from_environment = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
    let home = std::env::home_dir();
    let choice = choose(
        globals.kubeconfig.as_deref(),
        from_environment,
        data_directory,
        home.as_deref(),
        &|path| path.is_file(),
    );
    let read = match &choice {
        Choice::File(path) => Kubeconfig::read_from(path),
        Choice::Environment => Kubeconfig::from_env().map(Option::unwrap_or_default),
        Choice::None => {
            let Some(server) = &globals.server else {
                let message = "no kubeconfig was found: neither --kubeconfig nor $KUBECONFIG is given, \
                     and no server has written one";
                return Err(Failure::new(message)
                    .exit(Exit::Unreachable)
                    .fix("anyvirt up", "starts a server, which writes one"));
            };
            let url = server.parse().map_err(|error| {
                Failure::new(format!("--server {server}: {error}")).exit(Exit::Usage)
            })?;
            return Ok(Config::new(url));
        }
    };
    let failed = |error: kube::config::KubeconfigError| {
        let place = match &choice {
            Choice::File(path) => path.display().to_string(),
            Choice::Environment | Choice::None => "$KUBECONFIG".to_owned(),
        };
        Failure::new(format!("kubeconfig {place}: {}", chain(&error)))
    };
    let options = KubeConfigOptions {
        context: globals.context.clone(),
        ..KubeConfigOptions::default()
    };
    Config::from_custom_kubeconfig(read.map_err(failed)?, &options)
        .await
        .map_err(failed)
}

/// Which kubeconfig is read.
#[derive(Debug, Eq, PartialEq)]
enum Choice {
    File(PathBuf),
    Environment,
    None,
}

fn choose(
    flag: Option<&Path>,
    environment: bool,
    data_directory: &Path,
    home: Option<&Path>,
    exists: &dyn Fn(&Path) -> bool,
) -> Choice {
    if let Some(path) = flag {
        return Choice::File(path.to_owned());
    }
    if environment {
        return Choice::Environment;
    }
    let own = data_directory.join("kubeconfig");
    let usual = home.map(|home| home.join(".kube/config"));
    let candidates = [Some(own), usual];
    let found = candidates.into_iter().flatten().find(|path| exists(path));
    found.map_or(Choice::None, Choice::File)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_taken_out_of_their_headers_and_others_are_none() {
        let mut headers = http::HeaderMap::new();
        for value in [
            r#"299 - "emulation is no boundary: \"TCG\" \\ é""#,
            r#"299 kube "another""#,
            r#"110 - "stale""#,
            r#"299 - unquoted"#,
            "299",
        ] {
            let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(http::header::WARNING, value);
        }
        assert_eq!(
            warnings(&headers),
            [r#"emulation is no boundary: "TCG" \ é"#, "another"]
        );
    }

    #[tokio::test]
    async fn a_warning_is_told_once_however_often_it_comes() {
        static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let service = tower::service_fn(async |_: http::Request<Body>| {
            let response = http::Response::builder().header("warning", r#"299 - "mind it""#);
            Ok::<_, std::convert::Infallible>(response.body(Body::empty()).unwrap())
        });
        let tell = |text: &str| TOLD.lock().unwrap().push(text.to_owned());
        let client = ClientBuilder::new(service, "demo")
            .with_layer(&told_once(tell))
            .build();
        for _ in 0..2 {
            let request = http::Request::get("/").body(Vec::new()).unwrap();
            client.request_text(request).await.unwrap();
        }
        assert_eq!(*TOLD.lock().unwrap(), ["Warning: mind it"]);
    }

    #[test]
    fn the_nearest_kubeconfig_is_read() {
        let data = Path::new("/var/lib/anyvirt");
        let home = Some(Path::new("/home/a"));
        let all = |_: &Path| true;
        let only_home = |path: &Path| path.starts_with("/home");
        let file = |path: &str| Choice::File(PathBuf::from(path));
        assert_eq!(
            choose(Some(Path::new("x")), true, data, home, &all),
            file("x")
        );
        assert_eq!(choose(None, true, data, home, &all), Choice::Environment);
        assert_eq!(
            choose(None, false, data, home, &all),
            file("/var/lib/anyvirt/kubeconfig")
        );
        assert_eq!(
            choose(None, false, data, home, &only_home),
            file("/home/a/.kube/config")
        );
        assert_eq!(choose(None, false, data, None, &only_home), Choice::None);
    }
}
