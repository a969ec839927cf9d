//! Routes of `subresources.kubevirt.io` and of launcher pods' logs: who answers what, and nothing more.
//!
//! start, stop and restart are changes to objects (`controllers::subresource`); console, vnc, pause, unpause and logs
//! are the node's.

use crate::advice;
use crate::relay::relay;
use crate::serial_log;
use api::names;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use apiserver::{Body, Extension, ExtensionResource, Handler, HandlerRequest, Status};
use async_trait::async_trait;
use controllers::kubevirt::Reader;
use controllers::overview::Overview;
use controllers::subresource::{self, PauseOptions, Refusal};
use http::{Response, StatusCode};
use node::{Connection, HandleError, LogError, LogOptions, LogStream, NodeHandle, Viewing};
use std::sync::{Arc, OnceLock};

/// Answers all routes that need the controllers' decisions or the node's streams.
pub(crate) struct Routes {
    node: NodeHandle,
    /// What whoever starts a machine is warned of is read off these.
    configuration: Reader,
    overview: Overview,
    /// Set once the server exists, which the client is made from.
    client: OnceLock<kube::Client>,
}

/// `(resource/subresource, verb)` of everything served.
const SERVED: [(&str, &str); 9] = [
    ("virtualmachines/start", "update"),
    ("virtualmachines/stop", "update"),
    ("virtualmachines/restart", "update"),
    ("virtualmachineinstances/pause", "update"),
    ("virtualmachineinstances/unpause", "update"),
    ("virtualmachineinstances/console", "get"),
    ("virtualmachineinstances/vnc", "get"),
    ("virtualmachineinstances/vnc/screenshot", "get"),
    ("virtualmachineinstances/log", "get"),
];

/// KubeVirt's version, which `virtctl version` and OpenShift's console read, whoever asks. As there, it
/// is not in discovery: there are no objects of it.
const VERSION: &str = "version";

/// The group for discovery, answered by `routes`.
pub(crate) fn group(routes: Arc<Routes>) -> Extension {
    let resource = |(name, verb): (&str, &str)| ExtensionResource {
        name: name.to_owned(),
        kind: if name.starts_with("virtualmachines/") {
            "VirtualMachine"
        } else {
            "VirtualMachineInstance"
        }
        .to_owned(),
        namespaced: true,
        verbs: vec![verb.to_owned()],
    };
    Extension {
        group: names::SUBRESOURCES_GROUP.to_owned(),
        versions: vec![
            names::VERSION.to_owned(),
            names::DEPRECATED_VERSION.to_owned(),
        ],
        resources: SERVED.into_iter().map(resource).collect(),
        public: vec![VERSION.to_owned()],
        handler: routes,
    }
}

impl Routes {
    /// Routes to the machines of `node`; [`Routes::connect`] completes them.
    pub(crate) fn new(node: NodeHandle, configuration: Reader, overview: Overview) -> Arc<Self> {
        Arc::new(Self {
            node,
            configuration,
            overview,
            client: OnceLock::new(),
        })
    }

    /// Hands in the client. A second call changes nothing.
    pub(crate) fn connect(&self, client: kube::Client) {
        self.client.get_or_init(|| client);
    }

    async fn answer(&self, request: HandlerRequest) -> Result<Response<Body>, Status> {
        if request.resource == VERSION {
            return version(&request);
        }
        let client = self
            .client
            .get()
            .ok_or_else(|| Status::unavailable("the server is starting; try again"))?;
        let namespace = request
            .namespace
            .clone()
            .ok_or_else(Status::no_such_resource)?;
        let name = request.name.clone().ok_or_else(Status::no_such_resource)?;
        let resource = request.resource.clone();
        let asked = request.subresource.clone().unwrap_or_default();
        let resource = resource.as_str();
        // KubeVirt's one path with a word behind the sub-resource; who may see the screen may picture it.
        let verb = match (asked.as_str(), request.rest.as_slice()) {
            (verb, []) => verb,
            ("vnc", [word]) if word == "screenshot" => "vnc/screenshot",
            _ => return Err(Status::no_such_resource()),
        };
        may_be_asked(resource, verb, request.verb)?;
        match (resource, verb) {
            ("pods", "log") => self.log(client, &namespace, &name, &request).await,
            ("virtualmachines", "start") => {
                let options = subresource::options(&request.body).map_err(refused)?;
                subresource::start(client, &namespace, &name, &options)
                    .await
                    .map_err(refused)?;
                let mut response = empty(StatusCode::ACCEPTED);
                let warnings = self.warnings(client, &namespace, &name).await;
                apiserver::warn(&mut response, &warnings);
                Ok(response)
            }
            ("virtualmachines", "stop") => {
                let options = subresource::options(&request.body).map_err(refused)?;
                subresource::stop(client, &namespace, &name, &options)
                    .await
                    .map_err(refused)?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            ("virtualmachines", "restart") => {
                let options = subresource::options(&request.body).map_err(refused)?;
                subresource::restart(client, &namespace, &name, &options)
                    .await
                    .map_err(refused)?;
                let mut response = empty(StatusCode::ACCEPTED);
                let warnings = self.warnings(client, &namespace, &name).await;
                apiserver::warn(&mut response, &warnings);
                Ok(response)
            }
            ("virtualmachineinstances", _) => {
                let instance = subresource::instance(client, &namespace, &name)
                    .await
                    .map_err(refused)?;
                self.of_instance(client, &instance, verb, request).await
            }
            _ => Err(Status::no_such_resource()),
        }
    }

    async fn of_instance(
        &self,
        client: &kube::Client,
        instance: &VirtualMachineInstance,
        verb: &str,
        request: HandlerRequest,
    ) -> Result<Response<Body>, Status> {
        match verb {
            "pause" | "unpause" => self.pause(instance, verb == "pause", &request.body).await,
            "console" | "vnc" => self.stream(instance, verb == "console", request).await,
            "vnc/screenshot" => self.screenshot(instance, &request).await,
            "log" => {
                self.serial_log(client, instance, log_options(&request)?)
                    .await
            }
            _ => Err(Status::no_such_resource()),
        }
    }

    /// What the guest writes. One that has not started has written nothing: who follows waits for it.
    async fn serial_log(
        &self,
        client: &kube::Client,
        instance: &VirtualMachineInstance,
        options: LogOptions,
    ) -> Result<Response<Body>, Status> {
        let uid = instance.metadata.uid.clone().unwrap_or_default();
        let log = match self.node.serial_log(&uid, options).await {
            Ok(log) => log,
            Err(LogError::NoPod(_)) if options.follow => {
                let namespace = instance.metadata.namespace.as_deref().unwrap_or_default();
                let machines = kube::Api::namespaced(client.clone(), namespace);
                let name = instance.metadata.name.clone().unwrap_or_default();
                serial_log::from_its_start(self.node.clone(), machines, name, uid, options)
            }
            Err(LogError::NoPod(_)) => serial_log::nothing(),
            Err(error) => return Err(log_refused(&error)),
        };
        text(log)
    }

    /// A picture of the screen. `If-None-Match` spares who has the same one already.
    async fn screenshot(
        &self,
        instance: &VirtualMachineInstance,
        request: &HandlerRequest,
    ) -> Result<Response<Body>, Status> {
        may_stream(instance, false)?;
        let uid = instance.metadata.uid.as_deref().unwrap_or_default();
        let picture = self
            .node
            .screenshot(uid, flag(request, "moveCursor")?)
            .await;
        let picture = picture.map_err(|error| unreachable_machine(&error))?;
        let tag = entity_tag(&picture);
        let known = request.headers.get(http::header::IF_NONE_MATCH);
        let known = known.and_then(|value| value.to_str().ok());
        let mut response = if known.is_some_and(|tags| tags.split(',').any(|it| it.trim() == tag)) {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            Response::new(Body::full(picture))
        };
        let headers = response.headers_mut();
        let fixed = http::HeaderValue::from_static;
        headers.insert(http::header::CONTENT_TYPE, fixed("image/png"));
        headers.insert("x-content-type-options", fixed("nosniff"));
        let tag = http::HeaderValue::try_from(tag).map_err(Status::internal)?;
        headers.insert(http::header::ETAG, tag);
        Ok(response)
    }

    /// What is to be said of the accelerator of a machine that starts now: the same as of one that is
    /// written.
    async fn warnings(&self, client: &kube::Client, namespace: &str, name: &str) -> Vec<String> {
        let machines: kube::Api<VirtualMachine> = kube::Api::namespaced(client.clone(), namespace);
        match machines.get_opt(name).await {
            Ok(machine) => machine
                .zip(self.configuration.current())
                .map(|(machine, cluster)| {
                    advice::machine(&machine, namespace, &cluster, &self.overview)
                })
                .unwrap_or_default(),
            // What was asked for is done: that nothing can be said of it is no failure of it.
            Err(error) => {
                tracing::warn!(%error, namespace, name, "a machine that starts cannot be looked at");
                Vec::new()
            }
        }
    }

    async fn pause(
        &self,
        instance: &VirtualMachineInstance,
        pause: bool,
        body: &[u8],
    ) -> Result<Response<Body>, Status> {
        let options: PauseOptions = subresource::options(body).map_err(refused)?;
        let decided = if pause {
            subresource::decide::pause(instance)
        } else {
            subresource::decide::unpause(instance)
        };
        decided.map_err(refused)?;
        if !subresource::is_dry(&options.dry_run).map_err(refused)? {
            let uid = instance.metadata.uid.as_deref().unwrap_or_default();
            let done = if pause {
                self.node.pause(uid).await
            } else {
                self.node.unpause(uid).await
            };
            done.map_err(|error| unreachable_machine(&error))?;
        }
        Ok(empty(StatusCode::OK))
    }

    /// Console and VNC: the checks in KubeVirt's words, then bytes both ways.
    async fn stream(
        &self,
        instance: &VirtualMachineInstance,
        console: bool,
        request: HandlerRequest,
    ) -> Result<Response<Body>, Status> {
        may_stream(instance, console)?;
        let viewing = viewing(
            !console && flag(&request, "preserveSession")?,
            !console && flag(&request, "shared")?,
        )?;
        let upgrade = request.upgrade.ok_or_else(|| {
            Status::bad_request("this is a WebSocket: ask with Upgrade: websocket (kubectl get cannot; use virtctl or anyvirt console)")
        })?;
        let uid = instance.metadata.uid.as_deref().unwrap_or_default();
        let opened = if console {
            self.node.open_console(uid).await
        } else {
            self.node.open_vnc(uid, viewing).await
        };
        let machine: Connection = opened.map_err(|error| unreachable_machine(&error))?;
        let (response, socket) = upgrade.accept(choose_protocol)?;
        let closing = request.closing;
        tokio::spawn(async move {
            match socket.await {
                // Ended with the session of the browser that opened it, if one did.
                Ok(socket) => {
                    closing.run_until_cancelled(relay(socket, machine)).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the client left during the WebSocket handshake")
                }
            }
        });
        Ok(response)
    }

    async fn log(
        &self,
        client: &kube::Client,
        namespace: &str,
        pod: &str,
        request: &HandlerRequest,
    ) -> Result<Response<Body>, Status> {
        use k8s_openapi::api::core::v1::Pod;
        let pods: kube::Api<Pod> = kube::Api::namespaced(client.clone(), namespace);
        let found = pods.get_opt(pod).await.map_err(Status::internal)?;
        let found = found.ok_or_else(|| Status::not_found("", "pods", pod))?;
        let container = match request
            .parameter("container")
            .filter(|name| !name.is_empty())
        {
            Some(container) => container.to_owned(),
            None => default_container(&found)?,
        };
        let stream = self
            .node
            .pod_log(namespace, pod, &container, log_options(request)?)
            .await
            .map_err(|error| log_refused(&error))?;
        text(stream)
    }
}

/// What was built, under the version that the KubeVirt object reports.
fn version(request: &HandlerRequest) -> Result<Response<Body>, Status> {
    if request.namespace.is_some() || request.name.is_some() {
        return Err(Status::no_such_resource());
    }
    if request.verb != "list" {
        return Err(Status::method_not_allowed());
    }
    let info = apiserver::version_info(controllers::kubevirt::VERSION);
    let mut response = Response::new(Body::full(info.to_string()));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

/// A log as it comes. What a guest wrote is text, whatever it looks like.
fn text(log: LogStream) -> Result<Response<Body>, Status> {
    let pieces = futures::StreamExt::map(log, |piece| piece.map(bytes::Bytes::from));
    let mut response = Response::new(Body::stream(pieces));
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain"),
    );
    headers.insert(
        "x-content-type-options",
        http::HeaderValue::from_static("nosniff"),
    );
    Ok(response)
}

fn log_refused(error: &LogError) -> Status {
    match error {
        LogError::NoPod(_) | LogError::NoContainer(_) | LogError::Unsupported(_) => {
            Status::bad_request(error.to_string())
        }
        LogError::Io(_) => Status::internal(error),
    }
}

/// The same for the same bytes, in this process; a browser that comes back after a restart gets the picture again.
fn entity_tag(bytes: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[async_trait]
impl Handler for Routes {
    async fn handle(&self, request: HandlerRequest) -> Response<Body> {
        self.answer(request)
            .await
            .unwrap_or_else(Status::into_response)
    }
}

/// Only with the verb that discovery names: who may read must not start or stop machines.
fn may_be_asked(resource: &str, subresource: &str, verb: &str) -> Result<(), Status> {
    let name = format!("{resource}/{subresource}");
    match SERVED.iter().find(|(served, _)| *served == name) {
        Some((_, wanted)) if *wanted != verb => Err(Status::method_not_allowed()),
        _ => Ok(()),
    }
}

fn empty(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

fn refused(refusal: Refusal) -> Status {
    Status::new(refusal.code, refusal.reason, refusal.message)
}

fn unreachable_machine(error: &HandleError) -> Status {
    match error {
        // KubeVirt's code for a screen that another session keeps.
        HandleError::Refused { reason, message }
            if reason == "InUse" || reason == "TooManyViewers" =>
        {
            Status::unavailable(message.clone())
        }
        HandleError::NotHere(_) | HandleError::Refused { .. } => {
            Status::bad_request(error.to_string())
        }
        HandleError::Unreachable(_) => Status::internal(error),
    }
}

/// May a console (or else a screen) of `instance` be opened now? KubeVirt's codes and words.
fn may_stream(instance: &VirtualMachineInstance, console: bool) -> Result<(), Status> {
    let devices = &instance.spec.domain.devices;
    if console && devices.autoattach_serial_console == Some(false) {
        return Err(Status::bad_request("No serial consoles are present."));
    }
    if !console && devices.autoattach_graphics_device == Some(false) {
        return Err(Status::bad_request("No graphics devices are present."));
    }
    let name = instance.metadata.name.as_deref().unwrap_or_default();
    match instance.status.as_ref().and_then(|status| status.phase) {
        Some(Phase::Running) => Ok(()),
        Some(Phase::Failed) => Err(Status::conflict(
            names::GROUP,
            "virtualmachineinstance",
            name,
            "VMI is in failed status",
        )),
        _ => Err(Status::bad_request("VMI is not running")),
    }
}

/// KubeVirt's protocol if offered; browsers offer a second one that carries a token and is not spoken.
fn choose_protocol(offered: &[String]) -> Option<String> {
    offered
        .iter()
        .find(|protocol| *protocol == names::PLAIN_STREAM_PROTOCOL)
        .cloned()
}

/// The container whose log is shown when none is named: the annotated one, or the only one.
fn default_container(pod: &k8s_openapi::api::core::v1::Pod) -> Result<String, Status> {
    let annotated = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(names::annotations::DEFAULT_CONTAINER));
    let containers: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .map(|container| container.name.as_str())
        .collect();
    match (annotated, containers.as_slice()) {
        (Some(name), _) => Ok(name.clone()),
        (None, [only]) => Ok((*only).to_owned()),
        (None, all) => {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            Err(Status::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                all.join(" ")
            )))
        }
    }
}

fn flag(request: &HandlerRequest, name: &str) -> Result<bool, Status> {
    match request.parameter(name) {
        None | Some("" | "false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(Status::bad_request(format!(
            "{name}: {other:?} is neither true nor false"
        ))),
    }
}

/// How whoever asks for a screen comes to those who look at it already: in their place, as KubeVirt has it; with
/// `preserveSession` only if there are none; and with `shared`, which is ours, beside them.
fn viewing(preserves: bool, shares: bool) -> Result<Viewing, Status> {
    match (preserves, shares) {
        (false, false) => Ok(Viewing::TakesOver),
        (true, false) => Ok(Viewing::UnlessInUse),
        (false, true) => Ok(Viewing::Shares),
        (true, true) => Err(Status::bad_request(
            "preserveSession and shared: one keeps out who comes later, the other joins those who are there; ask for one",
        )),
    }
}

/// Query parameters of `pods/log`. A value that cannot be understood is refused by name.
fn log_options(request: &HandlerRequest) -> Result<LogOptions, Status> {
    let flag = |name: &str| flag(request, name);
    fn number<T: std::str::FromStr>(
        request: &HandlerRequest,
        name: &str,
    ) -> Result<Option<T>, Status> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                Status::bad_request(format!("{name}: {text:?} is no number that is served"))
            })
        };
        request.parameter(name).map(parse).transpose()
    }
    if request.parameter("sinceTime").is_some() {
        return Err(Status::bad_request(
            "sinceTime: lines are kept as they came, without times; use tailLines",
        ));
    }
    Ok(LogOptions {
        follow: flag("follow")?,
        tail_lines: number(request, "tailLines")?,
        limit_bytes: number(request, "limitBytes")?,
        previous: flag("previous")?,
        timestamps: flag("timestamps")?,
        since_seconds: number(request, "sinceSeconds")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(phase: Phase) -> VirtualMachineInstance {
        let mut instance = VirtualMachineInstance::default();
        instance.status.get_or_insert_default().phase = Some(phase);
        instance
    }

    #[test]
    fn who_may_only_read_does_not_stop_a_machine() {
        for (resource, subresource, verb, may) in [
            ("virtualmachines", "stop", "update", true),
            ("virtualmachines", "stop", "get", false),
            ("virtualmachines", "start", "create", false),
            ("virtualmachineinstances", "pause", "get", false),
            ("virtualmachineinstances", "console", "get", true),
            ("virtualmachineinstances", "console", "update", false),
            ("virtualmachineinstances", "vnc/screenshot", "get", true),
            ("virtualmachineinstances", "vnc/screenshot", "create", false),
            ("virtualmachineinstances", "log", "update", false),
            ("pods", "log", "get", true),
        ] {
            let asked = may_be_asked(resource, subresource, verb);
            assert_eq!(asked.is_ok(), may, "{verb} {resource}/{subresource}");
            if let Err(refused) = asked {
                assert_eq!(refused.code, 405);
            }
        }
    }

    #[test]
    fn the_version_is_what_the_kubevirt_object_reports_and_is_only_read() {
        let ask = |verb: &'static str, name: Option<&str>, namespace: Option<&str>| {
            version(&HandlerRequest {
                user: apiserver::User::anonymous(),
                verb,
                version: "v1".to_owned(),
                namespace: namespace.map(str::to_owned),
                resource: "version".to_owned(),
                name: name.map(str::to_owned),
                subresource: None,
                rest: Vec::new(),
                query: Vec::new(),
                body: bytes::Bytes::new(),
                headers: http::HeaderMap::new(),
                upgrade: None,
                closing: tokio_util::sync::CancellationToken::new(),
            })
        };
        let answer = ask("list", None, None).unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        let body = answer.body().bytes().unwrap();
        let info: serde_json::Value = serde_json::from_slice(&body).unwrap();
        // All that a client's version is made of; every one is text.
        for field in [
            "gitVersion",
            "gitCommit",
            "gitTreeState",
            "buildDate",
            "goVersion",
            "compiler",
            "platform",
        ] {
            let text = info[field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{field}: {info}");
        }
        assert_eq!(info["gitVersion"], controllers::kubevirt::VERSION);
        for (verb, name, namespace, code) in [
            ("watch", None, None, 405),
            ("create", None, None, 405),
            ("get", Some("x"), None, 404),
            ("list", None, Some("n"), 404),
        ] {
            let refused = ask(verb, name, namespace).unwrap_err();
            assert_eq!(refused.code, code, "{verb} {name:?} {namespace:?}");
        }
    }

    #[test]
    fn a_screen_is_taken_over_unless_asked_otherwise() {
        assert_eq!(viewing(false, false), Ok(Viewing::TakesOver));
        assert_eq!(viewing(true, false), Ok(Viewing::UnlessInUse));
        assert_eq!(viewing(false, true), Ok(Viewing::Shares));
        let both = viewing(true, true).unwrap_err();
        assert_eq!(both.code, 400);
        assert!(both.message.starts_with("preserveSession and shared"));
    }

    #[test]
    fn a_console_needs_a_running_guest_that_has_one() {
        assert!(may_stream(&instance(Phase::Running), true).is_ok());
        assert_eq!(
            may_stream(&instance(Phase::Scheduling), true)
                .unwrap_err()
                .message,
            "VMI is not running"
        );
        assert_eq!(
            may_stream(&instance(Phase::Failed), true).unwrap_err().code,
            409
        );
        let mut without = instance(Phase::Running);
        without.spec.domain.devices.autoattach_serial_console = Some(false);
        assert_eq!(
            may_stream(&without, true).unwrap_err().message,
            "No serial consoles are present."
        );
        assert!(may_stream(&without, false).is_ok());
    }

    #[test]
    fn kubevirts_protocol_is_chosen_among_others() {
        let offered = [
            "base64url.bearer.authorization.k8s.io.abc",
            "plain.kubevirt.io",
        ]
        .map(str::to_owned);
        assert_eq!(
            choose_protocol(&offered).as_deref(),
            Some("plain.kubevirt.io")
        );
        assert_eq!(choose_protocol(&offered[..1]), None);
    }
}
