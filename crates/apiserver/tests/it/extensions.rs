use std::sync::Arc;

use crate::harness::{MAPS, World};
use apiserver::{
    Admission, AdmissionRequest, Body, Cause, Extension, ExtensionResource, Extensions, Handler,
    HandlerRequest, Operation, Settings, Status, User,
};
use http::Response;
use serde_json::{Value, json};

struct Echo;

#[async_trait::async_trait]
impl Handler for Echo {
    async fn handle(&self, request: HandlerRequest) -> Response<Body> {
        let text = json!({
            "verb": request.verb, "namespace": request.namespace, "resource": request.resource,
            "name": request.name, "subresource": request.subresource, "rest": request.rest,
            "user": request.user.name, "follow": request.parameter("follow"),
        });
        Response::new(Body::full(text.to_string()))
    }
}

/// Gives each ConfigMap a key, and refuses some.
struct House;

impl Admission for House {
    fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<Vec<String>, Status> {
        if request.resource == "configmaps" && request.operation == Operation::Create {
            object["data"]["house"] = json!("yes");
        }
        Ok(Vec::new())
    }

    fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &Value,
    ) -> Result<Vec<String>, Status> {
        if request.resource != "configmaps" {
            return Ok(Vec::new());
        }
        if request.operation == Operation::Delete && object["data"]["keep"] == "yes" {
            let name = request.name.unwrap_or("");
            return Err(Status::forbidden(
                "",
                "configmaps",
                name,
                "it is to be kept",
            ));
        }
        if object["data"]["bad"] == "yes" {
            let cause = Cause::invalid("data.bad", &json!("yes"), "must not be");
            return Err(Status::invalid(
                "",
                "ConfigMap",
                request.name.unwrap_or(""),
                vec![cause],
            ));
        }
        Ok(vec!["the house has seen it".to_owned()])
    }
}

async fn world() -> World {
    let extensions = Extensions {
        admission: vec![Arc::new(House)],
        groups: vec![Extension {
            group: "sub.ex.io".to_owned(),
            versions: vec!["v1".to_owned()],
            resources: vec![ExtensionResource {
                name: "foos/console".to_owned(),
                kind: "Foo".to_owned(),
                namespaced: true,
                verbs: vec!["get".to_owned()],
            }],
            public: vec!["version".to_owned()],
            handler: Arc::new(Echo),
        }],
        subresources: vec![(
            "".to_owned(),
            "pods".to_owned(),
            "log".to_owned(),
            Arc::new(Echo),
        )],
        pages: vec![("/metrics".to_owned(), Arc::new(Echo))],
        ..Extensions::default()
    };
    World::with(Settings::default(), extensions).await
}

#[tokio::test]
async fn pages_are_served_by_code_to_those_who_may_read_them_and_are_listed() {
    let world = world().await;
    let answer = world.get("/metrics").await.expect(200);
    assert_eq!(
        (&answer["verb"], &answer["resource"]),
        (&json!("get"), &json!("/metrics"))
    );
    let paths = world.get("/").await.expect(200);
    let listed = paths["paths"]
        .as_array()
        .is_some_and(|all| all.contains(&json!("/metrics")));
    assert!(listed, "{paths}");
    assert_eq!(world.get("/metrics/more").await.code, 404);
}

#[tokio::test]
async fn groups_and_subresources_are_served_by_code() {
    let world = world().await;
    let path = "/apis/sub.ex.io/v1/namespaces/n/foos/f/portforward/22/tcp";
    let answer = world.get(path).await.expect(200);
    assert_eq!(answer["subresource"], "portforward");
    assert_eq!(answer["rest"], json!(["22", "tcp"]));
    assert_eq!(answer["user"], "admin");
    let log = world
        .get("/api/v1/namespaces/n/pods/p/log?follow=true")
        .await
        .expect(200);
    assert_eq!(
        (&log["name"], &log["follow"]),
        (&json!("p"), &json!("true"))
    );
    let list = world.get("/apis/sub.ex.io/v1").await.expect(200);
    assert_eq!(list["resources"][0]["name"], "foos/console");
    assert!(world.get("/api/v1").await.text().contains("pods/log"));
    let accept = [(
        "accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    )];
    let aggregated = world.ask("GET", "/apis", &accept, "").await.text();
    assert!(
        aggregated.contains("\"subresource\":\"console\""),
        "{aggregated}"
    );
}

#[tokio::test]
async fn what_a_group_shows_to_everybody_is_read_by_strangers_and_nothing_beside_it_is() {
    let mut world = world().await;
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let open = "/apis/sub.ex.io/v1/version";
    for user in [User::new("bob", ["team"]), User::anonymous()] {
        world.user = user;
        let answer = world.get(open).await.expect(200);
        assert_eq!(answer["resource"], "version");
        for path in [
            "/apis/sub.ex.io/v1/version/x",
            "/apis/sub.ex.io/v1/version/x/y",
            "/apis/sub.ex.io/v1/namespaces/n/version",
            "/apis/sub.ex.io/v1/version?watch=true",
            "/apis/sub.ex.io/v1/foos",
            "/apis/other.ex.io/v1/version",
        ] {
            world.get(path).await.refused(403, "Forbidden");
        }
        for method in ["POST", "PUT", "DELETE"] {
            let answer = world.ask(method, open, &[], "{}").await;
            answer.refused(403, "Forbidden");
        }
    }
    world.user = User::new("bob", ["team"]);
    for (verb, allowed) in [("get", true), ("list", true), ("watch", false)] {
        let asked = json!({ "verb": verb, "group": "sub.ex.io", "resource": "version" });
        let review = json!({ "spec": { "resourceAttributes": asked } });
        let answer = world.post(reviews, &review).await.expect(201);
        assert_eq!(answer["status"]["allowed"], allowed, "{verb}");
    }
    let namespace = json!({ "spec": { "namespace": "default" } });
    let told = world.post(rules, &namespace).await.expect(201);
    let rule = json!({ "verbs": ["get", "list"], "apiGroups": ["sub.ex.io"],
        "resources": ["version"] });
    let told = told["status"]["resourceRules"].as_array();
    assert!(told.is_some_and(|all| all.contains(&rule)), "{told:?}");
}

#[tokio::test]
async fn admission_changes_warns_and_refuses() {
    let world = world().await;
    let made = world.post(MAPS, &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(made.expect(201)["data"]["house"], "yes");
    assert_eq!(made.header("warning"), "299 - \"the house has seen it\"");
    let bad = json!({"metadata": {"name": "b"}, "data": {"bad": "yes"}});
    let message = world.post(MAPS, &bad).await.refused(422, "Invalid");
    assert_eq!(
        message,
        "ConfigMap \"b\" is invalid: data.bad: Invalid value: \"yes\": must not be"
    );
    world.config_map("k", json!({"keep": "yes"})).await;
    world
        .delete(&format!("{MAPS}/k"))
        .await
        .refused(403, "Forbidden");
}

#[tokio::test]
async fn who_may_not_is_told_so_and_reviews_tell_before() {
    // 16, 22, 25
    let mut world = World::new().await;
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let review = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}});
    assert_eq!(
        world.post(reviews, &review).await.expect(201)["status"]["allowed"],
        true
    );
    let me = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let info = world.post(me, &json!({})).await.expect(201)["status"]["userInfo"].clone();
    assert_eq!(info["username"], "admin");
    let bob = [("impersonate-user", "bob")];
    let message = world
        .ask("GET", "/api/v1/pods", &bob, "")
        .await
        .refused(403, "Forbidden");
    assert!(message.contains("User \"bob\" cannot list"), "{message}");
    world.user = User::new("bob", ["team"]);
    assert_eq!(
        world.post(reviews, &review).await.expect(201)["status"]["allowed"],
        false
    );
    let message = world
        .get("/api/v1/namespaces/default/pods")
        .await
        .refused(403, "Forbidden");
    assert_eq!(
        message,
        "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the \
         namespace \"default\""
    );
    world
        .ask("GET", "/api/v1/pods", &bob, "")
        .await
        .refused(403, "Forbidden");
    world.user = User::anonymous();
    world.get("/api/v1/pods").await.refused(403, "Forbidden");
    assert_eq!(world.get("/livez").await.code, 200);
}
