//! `anyvirt up`: one machine's whole system in one process, wired together and told about.
//!
//! ```text
//! store ── ApiServer ──(in process)── controllers
//!              │  └────(in process)── node ── launchers (processes of their own)
//!            HTTPS ── kubectl, virtctl, anyvirt
//! ```
//! Controllers and node are service accounts of the namespace `kubevirt`, so that they could do no more here than on a cluster.

use crate::admission::{KubeVirtAdmission, TRUSTED_GROUP};
use crate::console::{Console, Keeper};
use crate::kubeconfig::{self, Access};
use crate::metrics::{self, Metrics};
use crate::report::Report;
use crate::settings::{Emulation, Settings};
use crate::subresources;
use crate::top::{self, Top};
use api::accelerator::{ClusterInputs, ClusterPolicy};
use api::configuration::precedence;
use api::defaults::FirmwareIdentity;
use api::hyper_converged::HyperConverged;
use api::kubevirt::KubeVirt;
use api::names;
use apiserver::certificates::Authority;
use apiserver::{ApiServer, Extensions, User};
use controllers::kubevirt::Publisher;
use controllers::overview::{Overview, overview};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams};
use node::usage::Usages;
use node::{AddressRange, NodeHandle, NodeSettings};
use qemu::probe::Verdict;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Store;
use tokio_util::sync::CancellationToken;

/// How long the parts get to end by themselves after a signal; machines are not waited for, they run on.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// How often the store is asked whether its disk failed; writers learn it at once by themselves.
const STORE_LOOK_PERIOD: Duration = Duration::from_secs(1);

/// How long this machine's Node may take to appear; its probe is bounded by seconds.
const NODE_PATIENCE: Duration = Duration::from_secs(30);

/// Whose the kubeconfig, the token and the first link are.
const ADMINISTRATOR: &str = "anyvirt-admin";

/// Whose the viewer's token is, and the group that makes a viewer of anybody, e.g. of a client certificate.
const VIEWER: &str = "anyvirt-viewer";
pub(crate) const VIEWERS: &str = "anyvirt:viewers";

/// Runs the server until SIGINT or SIGTERM. Err: a sentence with cause and way out.
pub(crate) async fn up(settings: Settings) -> Result<(), String> {
    let started = Instant::now();
    let mut report = Report;
    let data = &settings.data_directory;
    private_folder(data)?;
    // The lock of the store comes first: two servers on one folder would fight over everything else.
    let store = Store::open(&data.join("store"), store::Options::default())
        .map_err(|error| whole(&error))?;
    report.data_directory(data);

    let now = jiff::Timestamp::now();
    let authority =
        Authority::load_or_create(&data.join("pki"), now).map_err(|error| whole(&error))?;
    let authority = Arc::new(authority);
    let (listener, address) = listen(settings.listen).await?;
    let tls = authority
        .server_config(&server_names(address), apiserver::Settings::default().clock)
        .map_err(|error| whole(&error))?;
    let url = format!("https://{address}");
    let current = write_kubeconfig(&settings, &authority, &url, now)?;
    report.server(&url, &settings.kubeconfig, current);

    // On a blocking thread: a broken KVM may hold its caller for a while.
    let verdict = tokio::task::spawn_blocking(|| {
        node::hardware::take_verdict(Path::new(node::hardware::DEVICE))
    })
    .await
    .map_err(|error| format!("the probe of hardware virtualization failed: {error}"))?;

    let publisher = Publisher::default();
    let (overview, feed) = overview();
    let stop = CancellationToken::new();
    let keeper = Keeper::new(data, authority.ca_pem());
    let console = Console::new(&server_names(address), stop.clone(), keeper);
    let usages = Usages::new(data);
    let server = api_server(
        store.clone(),
        &authority,
        &publisher,
        overview,
        &console,
        &usages,
        &settings,
    )?;
    let serving = tokio::spawn({
        let (server, stop) = (server.clone(), stop.clone());
        async move { server.serve(listener, tls, stop).await }
    });
    let client = |name: &str| {
        kube::Client::new(
            server.local(User::service_account(names::NAMESPACE_KUBEVIRT, name)),
            "default",
        )
    };
    server.ready().await;
    let operator = client("kubevirt-operator");
    set_up_cluster(&operator).await?;
    let choice = apply_emulation(&operator, &settings, &verdict).await?;
    report.acceleration(&verdict, &choice);

    tokio::spawn(feed.run(client("kubevirt-apiserver"), stop.clone()));
    let controlling = tokio::spawn(controllers::run(
        client("kubevirt-controller"),
        controllers::Settings {
            kvm_emulation: settings.kvm_emulation.clone(),
            ..controllers::Settings::default()
        },
        publisher,
        stop.clone(),
    ));
    tokio::spawn(usages.run(stop.clone()));
    let agent = tokio::spawn(node::run(
        node_settings(&settings)?,
        client("kubevirt-handler"),
        node::Clock::default(),
        stop.clone(),
    ));
    await_node(&operator, &settings.node_name).await?;
    report.console(&first_link(&console, address));
    report.ready(started.elapsed(), &settings.kubeconfig, current);

    let outcome = until_end(serving, agent, &store, &stop).await;
    stop.cancel();
    if tokio::time::timeout(END_PATIENCE, controlling)
        .await
        .is_err()
    {
        tracing::warn!("the controllers did not end within {END_PATIENCE:?}");
    }
    outcome
}

/// Makes the kinds and objects without which nothing works.
async fn set_up_cluster(operator: &kube::Client) -> Result<(), String> {
    let failed = |error| format!("cannot set up the cluster: {}", whole(&error));
    controllers::bootstrap::crds(operator)
        .await
        .map_err(failed)?;
    controllers::bootstrap::ensure(operator)
        .await
        .map_err(failed)
}

async fn listen(
    address: std::net::SocketAddr,
) -> Result<(tokio::net::TcpListener, std::net::SocketAddr), String> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| {
            format!("cannot listen on {address}: {error}; choose another address with --listen")
        })?;
    let address = listener
        .local_addr()
        .map_err(|error| format!("cannot read the listening address: {error}"))?;
    Ok((listener, address))
}

/// Waits for a signal, or for a part that ends by itself, which is an error.
async fn until_end(
    serving: tokio::task::JoinHandle<Result<(), apiserver::ServerError>>,
    agent: tokio::task::JoinHandle<Result<(), node::NodeError>>,
    store: &Store,
    stop: &CancellationToken,
) -> Result<(), String> {
    use tokio::signal::unix::{SignalKind, signal};
    let handler = |kind| signal(kind).map_err(|error| format!("cannot wait for signals: {error}"));
    let (mut interrupt, mut terminate) = (
        handler(SignalKind::interrupt())?,
        handler(SignalKind::terminate())?,
    );
    let (mut serving, mut agent) = (serving, agent);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        error = failed(store) => return Err(format!("the store failed: {error}; start again once the disk is well, virtual machines run on")),
        ended = &mut serving => return Err(format!("the API server ended: {}", ending(ended))),
        ended = &mut agent => return Err(format!("the node agent ended: {}", ending(ended))),
    }
    stop.cancel();
    for (name, task) in [
        ("API server", async { (&mut serving).await.map(drop) }.await),
        ("node agent", async { (&mut agent).await.map(drop) }.await),
    ] {
        task.map_err(|error| format!("the {name} failed while ending: {error}"))?;
    }
    Ok(())
}

/// Waits until the store's disk has failed, after which only a new start knows what is stored.
async fn failed(store: &Store) -> store::StoreError {
    loop {
        if let Some(error) = store.failure() {
            return error;
        }
        tokio::time::sleep(STORE_LOOK_PERIOD).await;
    }
}

fn ending<E: std::fmt::Display>(ended: Result<Result<(), E>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "without being asked".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}

fn private_folder(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
        .map_err(|error| {
            format!(
                "cannot make the data directory {}: {error}; name another with --data-dir",
                path.display()
            )
        })
}

/// Names and addresses under which clients may reach the server, beside localhost.
fn server_names(address: std::net::SocketAddr) -> Vec<String> {
    let mut names = vec!["kubernetes".to_owned(), "kubernetes.default".to_owned()];
    if !address.ip().is_unspecified() {
        names.push(address.ip().to_string());
    }
    names
}

/// The administrator's way into the console, for a browser of this machine.
fn first_link(console: &Console, mut address: std::net::SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    console.link(User::admin(ADMINISTRATOR), &format!("https://{address}"))
}

fn write_kubeconfig(
    settings: &Settings,
    authority: &Authority,
    url: &str,
    now: jiff::Timestamp,
) -> Result<bool, String> {
    let identity = authority
        .client(ADMINISTRATOR, &[apiserver::user::MASTERS], now)
        .map_err(|error| whole(&error))?;
    let access = Access {
        server: url,
        authority_pem: authority.ca_pem(),
        certificate_pem: &identity.certificate_pem,
        key_pem: &identity.key_pem,
    };
    kubeconfig::write(&settings.kubeconfig, &access)
}

fn api_server(
    store: Store,
    authority: &Authority,
    publisher: &Publisher,
    overview: Overview,
    console: &Arc<Console>,
    usages: &Usages,
    settings: &Settings,
) -> Result<ApiServer, String> {
    let data = &settings.data_directory;
    let node_name = &settings.node_name;
    let settings = apiserver::Settings {
        trusted_groups: vec![TRUSTED_GROUP.to_owned()],
        viewer_groups: vec![VIEWERS.to_owned()],
        tokens: vec![
            token(data, "token", User::admin(ADMINISTRATOR))?,
            token(data, "viewer-token", User::new(VIEWER, [VIEWERS]))?,
        ],
        ca_pem: authority.ca_pem().to_owned(),
        ..apiserver::Settings::default()
    };
    let machine = host::facts::Machine::look()
        .map_err(|error| format!("cannot look at this machine: {error}"))?;
    let admission = KubeVirtAdmission::new(
        publisher.subscribe(),
        overview.clone(),
        machine.go_architecture(),
        random_identity,
    );
    let routes = subresources::Routes::new(
        NodeHandle::new(data),
        publisher.subscribe(),
        overview.clone(),
    );
    let metrics = Metrics {
        overview,
        configuration: publisher.subscribe(),
        usages: usages.clone(),
    };
    let top = Top::new(usages.clone(), node_name.clone());
    let extensions = Extensions {
        admission: vec![Arc::new(admission)],
        groups: vec![
            subresources::group(Arc::clone(&routes)),
            top::group(Arc::clone(&top)),
        ],
        subresources: vec![(
            String::new(),
            "pods".to_owned(),
            "log".to_owned(),
            Arc::clone(&routes) as Arc<dyn apiserver::Handler>,
        )],
        pages: vec![(metrics::PATH.to_owned(), Arc::new(metrics))],
        front: Some(Arc::clone(console) as Arc<dyn apiserver::Front>),
    };
    let server = ApiServer::new(settings, store, extensions).map_err(|error| whole(&error))?;
    let client = kube::Client::new(
        server.local(User::service_account(
            names::NAMESPACE_KUBEVIRT,
            "kubevirt-apiserver",
        )),
        "default",
    );
    routes.connect(client.clone());
    top.connect(client);
    console.connect(server.clone(), usages.clone(), node_name);
    Ok(server)
}

/// The bearer token of `user`, made once and kept in this file, which only its owner reads.
fn token(data: &Path, file: &str, user: User) -> Result<apiserver::settings::Token, String> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = data.join(file);
    let failed = |error: std::io::Error| {
        format!("cannot keep a bearer token in {}: {error}", path.display())
    };
    let secret = match std::fs::read_to_string(&path) {
        Ok(secret) if secret.trim().len() >= 32 => secret.trim().to_owned(),
        Ok(_) => {
            return Err(format!(
                "{} holds no token of this server; remove it, and a new one is made",
                path.display()
            ));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Two version 4 UUIDs: 244 random bits.
            let secret = format!(
                "{}{}",
                uuid::Uuid::new_v4().simple(),
                uuid::Uuid::new_v4().simple()
            );
            let file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            file.and_then(|mut file| {
                file.write_all(secret.as_bytes())
                    .and_then(|()| file.sync_all())
            })
            .map_err(failed)?;
            secret
        }
        Err(error) => return Err(failed(error)),
    };
    Ok(apiserver::settings::Token { secret, user })
}

fn random_identity() -> FirmwareIdentity {
    FirmwareIdentity {
        uuid: uuid::Uuid::new_v4().to_string(),
        serial: uuid::Uuid::new_v4().to_string(),
    }
}

fn node_settings(settings: &Settings) -> Result<NodeSettings, String> {
    let program = std::env::current_exe()
        .map_err(|error| format!("cannot find this program's own file: {error}"))?;
    Ok(NodeSettings {
        name: settings.node_name.clone(),
        data_directory: settings.data_directory.clone(),
        anyvirt_program: deleted_suffix_removed(program),
        qemu_program: settings.qemu.clone(),
        pod_addresses: AddressRange::default(),
        insecure_loopback_registries: true,
    })
}

/// Linux adds " (deleted)" to the path of a running program whose file was replaced, as an upgrade does: the new file
/// at the same path is the one to start.
fn deleted_suffix_removed(program: PathBuf) -> PathBuf {
    match program
        .to_str()
        .and_then(|text| text.strip_suffix(" (deleted)"))
    {
        Some(path) => PathBuf::from(path),
        None => program,
    }
}

/// An error with its causes, from what we tried down to what the kernel or the server said.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Some errors repeat their source in their own words.
        if text.contains(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}

/// What `--emulation` came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The ConfigMap's key was left as it was: what it says.
    Left(Option<String>),
    /// The key was written: its new value.
    Written(&'static str),
}

/// What to write into the ConfigMap's key, or None to leave it; `elsewhere`: another place says something
/// about emulation. Pure.
fn wanted_value(
    emulation: Emulation,
    present: Option<&str>,
    elsewhere: bool,
    usable: bool,
) -> Option<&'static str> {
    let present = present.map(str::trim).filter(|value| !value.is_empty());
    match emulation {
        // A choice somebody made stays; without one, the machine decides.
        Emulation::Auto => (present.is_none() && !elsewhere && !usable).then_some("true"),
        Emulation::On => (present != Some("true")).then_some("true"),
        // Without the key the default is off already, and the article's walk begins with no key.
        Emulation::Off => (present.is_some() && present != Some("false")).then_some("false"),
    }
}

/// The places that bear on emulation, but the ConfigMap that `--emulation` writes.
#[derive(Default)]
struct Elsewhere {
    /// The legacy ConfigMap of the namespace `kubevirt`.
    config_map: Option<ConfigMap>,
    hyper_converged: Option<HyperConverged>,
    kubevirt: Option<KubeVirt>,
}

impl Elsewhere {
    async fn look(client: &kube::Client) -> kube::Result<Self> {
        let namespace = names::NAMESPACE_KUBEVIRT;
        let maps: kube::Api<ConfigMap> = kube::Api::namespaced(client.clone(), namespace);
        let converged: kube::Api<HyperConverged> = kube::Api::all(client.clone());
        let kubevirts: kube::Api<KubeVirt> = kube::Api::all(client.clone());
        let every = ListParams::default();
        let (converged, kubevirts) = (converged.list(&every).await?, kubevirts.list(&every).await?);
        Ok(Self {
            config_map: maps.get_opt(names::CONFIG_MAP).await?,
            // As the controllers choose.
            hyper_converged: converged.items.into_iter().min_by_key(|object| {
                let namespace = names::NAMESPACE_OPENSHIFT_CNV;
                precedence(&object.metadata, namespace, names::HYPER_CONVERGED)
            }),
            kubevirt: kubevirts
                .items
                .into_iter()
                .min_by_key(|object| precedence(&object.metadata, namespace, names::KUBEVIRT)),
        })
    }

    /// Does one of them say something about emulation, or try to? Pure.
    fn says_something(&self, environment: Option<&str>) -> bool {
        let data = self.config_map.as_ref().and_then(|map| map.data.as_ref());
        let inputs = ClusterInputs {
            config_maps: data
                .map(|data| (names::NAMESPACE_KUBEVIRT, data))
                .into_iter()
                .collect(),
            hyper_converged: self.hyper_converged.as_ref(),
            environment,
            kubevirt: self.kubevirt.as_ref(),
            ..ClusterInputs::default()
        };
        ClusterPolicy::is_written(&inputs)
    }
}

async fn apply_emulation(
    client: &kube::Client,
    settings: &Settings,
    verdict: &Verdict,
) -> Result<Choice, String> {
    const KEY: &str = api::accelerator::SWITCH;
    let maps: kube::Api<ConfigMap> =
        kube::Api::namespaced(client.clone(), names::NAMESPACE_OPENSHIFT_CNV);
    let failed = |error: kube::Error| {
        format!(
            "cannot set {KEY} in ConfigMap {}/{}: {error}",
            names::NAMESPACE_OPENSHIFT_CNV,
            names::CONFIG_MAP
        )
    };
    let map = maps.get(names::CONFIG_MAP).await.map_err(failed)?;
    let present = map.data.as_ref().and_then(|data| data.get(KEY)).cloned();
    let elsewhere = Elsewhere::look(client).await.map_err(failed)?;
    let wanted = wanted_value(
        settings.emulation,
        present.as_deref(),
        elsewhere.says_something(settings.kvm_emulation.as_deref()),
        verdict.usable(),
    );
    match wanted {
        None => Ok(Choice::Left(present)),
        Some(value) => {
            let patch = Patch::Merge(serde_json::json!({"data": {KEY: value}}));
            maps.patch(names::CONFIG_MAP, &PatchParams::default(), &patch)
                .await
                .map_err(failed)?;
            Ok(Choice::Written(value))
        }
    }
}

/// Waits until this machine's Node is ready, so that "Ready" means that VMs start.
async fn await_node(client: &kube::Client, name: &str) -> Result<(), String> {
    use k8s_openapi::api::core::v1::Node;
    let nodes: kube::Api<Node> = kube::Api::all(client.clone());
    let ready = kube::runtime::wait::await_condition(nodes, name, |node: Option<&Node>| {
        let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
        conditions.is_some_and(|all| {
            all.iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        })
    });
    match tokio::time::timeout(NODE_PATIENCE, ready).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("cannot watch for Node {name}: {error}")),
        Err(_) => Err(format!(
            "Node {name} was not ready within {NODE_PATIENCE:?}; the log above says why"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_decides_once_and_respects_a_choice_made_before() {
        assert_eq!(
            wanted_value(Emulation::Auto, None, false, false),
            Some("true")
        );
        assert_eq!(
            wanted_value(Emulation::Auto, Some(""), false, false),
            Some("true")
        );
        assert_eq!(wanted_value(Emulation::Auto, None, false, true), None);
        assert_eq!(
            wanted_value(Emulation::Auto, Some("false"), false, false),
            None
        );
        assert_eq!(
            wanted_value(Emulation::Auto, Some("true"), false, true),
            None
        );
        // Somebody chose in another place; the ConfigMap would stand above it.
        assert_eq!(wanted_value(Emulation::Auto, None, true, false), None);
    }

    #[test]
    fn every_other_place_where_somebody_wrote_something_is_respected() {
        use serde_json::json;
        fn object<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Option<T> {
            Some(serde_json::from_value(value).unwrap())
        }
        let map = |value: &str| Elsewhere {
            config_map: object(json!({"data": {"debug.useEmulation": value}})),
            ..Elsewhere::default()
        };
        let patched = |value: &str| {
            let patch = format!(
                r#"[{{"op":"add","path":"/spec/configuration/developerConfiguration/useEmulation","value":{value}}}]"#
            );
            let key = names::annotations::HYPER_CONVERGED_PATCH;
            Elsewhere {
                hyper_converged: object(json!({"apiVersion": "hco.kubevirt.io/v1beta1",
                    "kind": "HyperConverged", "spec": {},
                    "metadata": {"name": "kubevirt-hyperconverged", "annotations": {key: patch}}})),
                ..Elsewhere::default()
            }
        };
        let kubevirt = |configuration: serde_json::Value| Elsewhere {
            kubevirt: object(json!({"apiVersion": "kubevirt.io/v1", "kind": "KubeVirt",
                "metadata": {"name": "kubevirt"}, "spec": {"configuration": configuration}})),
            ..Elsewhere::default()
        };
        for (elsewhere, environment, expected) in [
            (Elsewhere::default(), None, false),
            (map(""), Some(""), false),
            (kubevirt(json!({})), None, false),
            (map("false"), None, true),
            (map("flase"), None, true),
            (patched("false"), None, true),
            (patched("\"no\""), None, true),
            (Elsewhere::default(), Some("false"), true),
            (Elsewhere::default(), Some("0"), true),
            (kubevirt(json!({"emulationPolicy": "None"})), None, true),
            (
                kubevirt(json!({"developerConfiguration": {"useEmulation": false}})),
                None,
                true,
            ),
        ] {
            assert_eq!(elsewhere.says_something(environment), expected);
        }
    }

    #[test]
    fn on_and_off_say_what_they_mean_and_write_only_a_change() {
        assert_eq!(wanted_value(Emulation::On, None, false, true), Some("true"));
        assert_eq!(wanted_value(Emulation::On, Some("true"), false, true), None);
        assert_eq!(wanted_value(Emulation::Off, None, false, false), None);
        assert_eq!(
            wanted_value(Emulation::Off, Some("true"), false, true),
            Some("false")
        );
    }

    #[test]
    fn the_certificate_names_the_listening_address_but_never_the_wildcard() {
        assert!(server_names("192.0.2.1:6443".parse().unwrap()).contains(&"192.0.2.1".to_owned()));
        assert!(!server_names("0.0.0.0:6443".parse().unwrap()).contains(&"0.0.0.0".to_owned()));
    }

    #[test]
    fn a_replaced_program_is_started_by_its_path() {
        assert_eq!(
            deleted_suffix_removed("/usr/bin/anyvirt (deleted)".into()),
            Path::new("/usr/bin/anyvirt")
        );
        assert_eq!(
            deleted_suffix_removed("/usr/bin/anyvirt".into()),
            Path::new("/usr/bin/anyvirt")
        );
    }
}
