//! What only sockets show: TLS, client certificates, tokens, WebSockets, the end.

use std::sync::Arc;

use crate::harness::{PATIENCE, World};
use apiserver::certificates::{self, Authority};
use apiserver::{Extensions, Settings, Token, User};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_util::sync::CancellationToken;

struct Served {
    world: World,
    address: std::net::SocketAddr,
    authority: Arc<Authority>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

async fn serve() -> Served {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Settings::default();
    let now = (settings.clock)();
    let clock = settings.clock.clone();
    let authority = Arc::new(Authority::load_or_create(directory.path(), now).expect("made"));
    let user = User::new("robot", ["system:masters"]);
    let tokens = vec![Token {
        secret: "s3cret".to_owned(),
        user,
    }];
    let settings = Settings { tokens, ..settings };
    let world = World::with(settings, Extensions::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let tls = authority.server_config(&[], clock).expect("TLS");
    let shutdown = CancellationToken::new();
    let (server, stop) = (world.server.clone(), shutdown.clone());
    let task =
        tokio::spawn(async move { server.serve(listener, tls, stop).await.expect("served") });
    Served {
        world,
        address,
        authority,
        shutdown,
        task,
        _directory: directory,
    }
}

impl Served {
    async fn client(&self, user: &str, groups: &[&str]) -> Client {
        let now = (Settings::default().clock)();
        let identity = self.authority.client(user, groups, now).expect("signed");
        let url = format!("https://{}", self.address);
        let text = certificates::kubeconfig("test", &url, self.authority.ca_pem(), &identity);
        let config = Kubeconfig::from_yaml(&text).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(config, &options)
            .await
            .expect("a config");
        Client::try_from(config).expect("a client")
    }
}

#[tokio::test]
async fn a_client_certificate_is_a_user_with_groups() {
    // 18
    let served = serve().await;
    let admin = served.client("alice", &["system:masters"]).await;
    let list = Api::<Namespace>::all(admin)
        .list(&Default::default())
        .await
        .expect("a list");
    assert_eq!(list.items.len(), 4);
    let stranger = served.client("bob", &[]).await;
    let error = Api::<Namespace>::all(stranger)
        .list(&Default::default())
        .await;
    let text = error.expect_err("bob may not").to_string();
    assert!(
        text.contains("User \"bob\" cannot list resource \"namespaces\""),
        "{text}"
    );
}

async fn with_token(served: &Served, token: &str) -> Result<Vec<Namespace>, kube::Error> {
    let mut config = Config::new(
        format!("https://{}", served.address)
            .parse()
            .expect("a URI"),
    );
    config.accept_invalid_certs = true;
    config.auth_info.token = Some(token.to_owned().into());
    let client = Client::try_from(config).expect("a client");
    Api::<Namespace>::all(client)
        .list(&Default::default())
        .await
        .map(|list| list.items)
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_a_right_one_is_not() {
    // 17
    let served = serve().await;
    assert_eq!(
        with_token(&served, "s3cret").await.expect("a list").len(),
        4
    );
    match with_token(&served, "guess")
        .await
        .expect_err("a wrong token")
    {
        kube::Error::Api(status) => assert_eq!(status.code, 401),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn browsers_watch_over_a_web_socket() {
    // 81
    let served = serve().await;
    let mut roots = rustls::RootCertStore::empty();
    let pem = served.authority.ca_pem().as_bytes();
    let ca =
        <rustls_pki_types::CertificateDer<'_> as rustls_pki_types::pem::PemObject>::from_pem_slice(
            pem,
        );
    roots.add(ca.expect("PEM")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let stream = tokio::net::TcpStream::connect(served.address)
        .await
        .expect("connected");
    let name = "localhost".try_into().expect("a name");
    let stream = connector.connect(name, stream).await.expect("TLS");
    let url = "wss://localhost/api/v1/namespaces/default/configmaps?watch=1";
    let mut request = url.into_client_request().expect("a request");
    request
        .headers_mut()
        .insert("authorization", "Bearer s3cret".parse().expect("a header"));
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .expect("a WebSocket");
    served.world.config_map("a", json!({})).await;
    let frame = tokio::time::timeout(PATIENCE, socket.next())
        .await
        .expect("in time");
    let text = frame
        .expect("a frame")
        .expect("no error")
        .into_text()
        .expect("text");
    let event: serde_json::Value = serde_json::from_str(&text).expect("an event");
    assert_eq!(
        (&event["type"], &event["object"]["metadata"]["name"]),
        (&json!("ADDED"), &json!("a"))
    );
}

#[tokio::test]
async fn an_orderly_end_closes_watches() {
    // 168
    let served = serve().await;
    let admin = served.client("alice", &["system:masters"]).await;
    let maps = Api::<ConfigMap>::namespaced(admin, "default");
    let stream = maps.watch(&Default::default(), "0").await.expect("a watch");
    let mut stream = std::pin::pin!(stream);
    served.world.config_map("a", json!({})).await;
    assert!(stream.next().await.expect("an event").is_ok());
    served.shutdown.cancel();
    let end = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::time::timeout(PATIENCE, end)
        .await
        .expect("the watch ends");
    tokio::time::timeout(PATIENCE, served.task)
        .await
        .expect("the server ends")
        .expect("well");
}
