//! A server in a temporary directory and the few words that tests need to talk to it.

use std::time::Duration;

use apiserver::{ApiServer, Body, Extensions, Settings, User};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use store::Store;
use tower::Service as _;

/// Longer than anything takes here, even on a busy machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) server: ApiServer,
    pub(crate) store: Store,
    pub(crate) user: User,
    pub(crate) _directory: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// The object, if the code is as expected.
    #[track_caller]
    pub(crate) fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text());
        self.json()
    }

    /// The message of a refusal with this code and reason.
    #[track_caller]
    pub(crate) fn refused(&self, code: u16, reason: &str) -> String {
        let status = self.expect(code);
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["reason"], reason, "{status}");
        status["message"].as_str().unwrap_or("").to_owned()
    }
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(Settings::default(), Extensions::default()).await
    }

    pub(crate) async fn with(settings: Settings, extensions: Extensions) -> World {
        World::begin(
            tempfile::tempdir().expect("a directory"),
            settings,
            extensions,
        )
        .await
    }

    /// The same store under a new server, after the old one has ended.
    pub(crate) async fn restarted(self) -> World {
        let World {
            server,
            store,
            _directory: directory,
            ..
        } = self;
        drop((server, store));
        // The old server's tasks end when they next run; until then the store is taken.
        World::begin(directory, Settings::default(), Extensions::default()).await
    }

    async fn begin(
        directory: tempfile::TempDir,
        settings: Settings,
        extensions: Extensions,
    ) -> World {
        let open = || Store::open(directory.path(), store::Options::default());
        let opened = async {
            loop {
                match open() {
                    Ok(store) => return store,
                    Err(store::StoreError::InUse { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let store = tokio::time::timeout(PATIENCE, opened)
            .await
            .expect("the store is free");
        let certificate = settings.ca_pem.clone();
        let server = ApiServer::new(settings, store.clone(), extensions).expect("a server");
        tokio::time::timeout(PATIENCE, server.ready())
            .await
            .expect("ready");
        let world = World {
            server,
            store,
            user: User::admin("admin"),
            _directory: directory,
        };
        // Until the four namespaces are furnished the server writes by itself, and tests that count
        // revisions would count those too.
        let furnished =
            |answer: &Answer| answer.json()["items"].as_array().map(Vec::len) == Some(4);
        world.until("/api/v1/serviceaccounts", furnished).await;
        if !certificate.is_empty() {
            world.until("/api/v1/configmaps", furnished).await;
        }
        world
    }

    /// Sends a request and returns the response as it begins.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Body> {
        self.server
            .local(self.user.clone())
            .call(request)
            .await
            .expect("infallible")
    }

    /// Sends a request with these headers, and reads the answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let (parts, body) = self.send(request).await.into_parts();
        let bytes = tokio::time::timeout(PATIENCE, body.collect())
            .await
            .expect("an answer in time")
            .expect("a whole answer")
            .to_bytes();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            bytes,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, object: &Value) -> Answer {
        self.ask(
            "POST",
            path,
            &[("content-type", "application/json")],
            object.to_string(),
        )
        .await
    }

    pub(crate) async fn put(&self, path: &str, object: &Value) -> Answer {
        self.ask(
            "PUT",
            path,
            &[("content-type", "application/json")],
            object.to_string(),
        )
        .await
    }

    pub(crate) async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let kind = format!("application/{kind}");
        self.ask("PATCH", path, &[("content-type", &kind)], body.to_string())
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], "").await
    }

    /// Creates a ConfigMap in `default`.
    pub(crate) async fn config_map(&self, name: &str, data: Value) -> Value {
        let object = json!({"metadata": {"name": name}, "data": data});
        self.post("/api/v1/namespaces/default/configmaps", &object)
            .await
            .expect(201)
    }

    /// Begins a watch.
    pub(crate) async fn watch(&self, path: &str, accept: &str) -> Events {
        let request = Request::builder()
            .uri(path)
            .header("accept", accept)
            .body(Full::new(Bytes::new()))
            .expect("a request");
        let response = self.send(request).await;
        assert_eq!(response.status(), 200);
        Events {
            body: response.into_body(),
            rest: Vec::new(),
        }
    }

    /// Asks until `good` says so, woken by changes of the store.
    pub(crate) async fn until(&self, path: &str, good: impl Fn(&Answer) -> bool) -> Answer {
        let wait = async {
            loop {
                let revision = self.store.revision();
                let mut watch = self.store.watch("", revision).expect("a watch");
                let answer = self.get(path).await;
                if good(&answer) {
                    return answer;
                }
                // The table of kinds follows the store by a moment, and tells nobody.
                drop(tokio::time::timeout(Duration::from_millis(50), watch.next()).await);
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(answer) => answer,
            Err(_) => panic!("{path} is still {}", self.get(path).await.text()),
        }
    }
}

/// The events of a watch.
pub(crate) struct Events {
    body: Body,
    rest: Vec<u8>,
}

impl Events {
    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event"));
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame())
                .await
                .expect("in time")?;
            let data = frame.expect("no error").into_data().expect("data");
            self.rest.extend_from_slice(&data);
        }
    }

    /// The next event as `TYPE name`.
    pub(crate) async fn line(&mut self) -> String {
        match self.next().await {
            Some(event) => {
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-");
                format!("{} {name}", event["type"].as_str().unwrap_or("?"))
            }
            None => "END".to_owned(),
        }
    }
}

/// A definition of Foos in `ex.io`, version v1, with status, scale, a default and an enum.
pub(crate) fn foo_definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.ex.io"},
        "spec": {
            "group": "ex.io",
            "scope": "Namespaced",
            "names": {"plural": "foos", "kind": "Foo", "shortNames": ["fo"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector"}},
                "additionalPrinterColumns": [
                    {"name": "Color", "type": "string", "jsonPath": ".spec.color"}],
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {"type": "object", "properties": {
                            "color": {"type": "string", "enum": ["red", "blue"]},
                            "replicas": {"type": "integer", "minimum": 0, "default": 1},
                        }},
                        "status": {"type": "object",
                            "x-kubernetes-preserve-unknown-fields": true},
                    },
                }},
            }],
        },
    })
}

pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(crate) const FOOS: &str = "/apis/ex.io/v1/namespaces/default/foos";
pub(crate) const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A Foo.
pub(crate) fn foo(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "ex.io/v1", "kind": "Foo", "metadata": {"name": name}, "spec": spec})
}
