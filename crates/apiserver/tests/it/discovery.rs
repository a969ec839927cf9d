use crate::harness::{DEFINITIONS, World, foo_definition};
use serde_json::{Value, json};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[tokio::test]
async fn health_and_version_are_served() {
    // 1, 2, 3
    let world = World::new().await;
    for path in ["/livez", "/readyz", "/healthz", "/readyz/ping"] {
        let answer = world.get(path).await;
        assert_eq!((answer.code, answer.text().as_str()), (200, "ok"), "{path}");
    }
    let verbose = world.get("/readyz?verbose").await.text();
    assert_eq!(verbose, "[+]ping ok\n[+]store ok\nreadyz check passed\n");
    let version = world.get("/version").await.expect(200);
    for field in [
        "major",
        "minor",
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    ] {
        assert!(
            version[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field}"
        );
    }
    assert_eq!(version["minor"], "35");
    let root = world.get("/").await.expect(200);
    let paths = root["paths"].as_array().expect("paths");
    assert!(paths.contains(&json!("/api/v1")) && paths.contains(&json!("/apis/events.k8s.io/v1")));
}

fn names(list: &Value, field: &str) -> Vec<String> {
    let items = list.as_array().expect("a list");
    items
        .iter()
        .map(|item| item[field].as_str().expect("a name").to_owned())
        .collect()
}

#[tokio::test]
async fn both_forms_of_discovery_say_the_same() {
    // 4, 5, 6, 7
    let world = World::new().await;
    let groups = world.get("/apis").await.expect(200);
    let mut expected = Vec::new();
    for group in names(&groups["groups"], "name") {
        let list = world.get(&format!("/apis/{group}/v1")).await.expect(200);
        assert_eq!(list["kind"], "APIResourceList");
        for name in names(&list["resources"], "name") {
            expected.push(format!("{group}/{name}"));
        }
        assert_eq!(
            world.get(&format!("/apis/{group}")).await.expect(200)["name"],
            json!(group)
        );
    }
    let answer = world
        .ask("GET", "/apis", &[("accept", AGGREGATED)], "")
        .await;
    assert_eq!(answer.header("content-type"), AGGREGATED);
    assert_eq!(answer.header("vary"), "Accept");
    let tag = answer.header("etag").to_owned();
    let mut found = Vec::new();
    for group in answer.expect(200)["items"].as_array().expect("items") {
        let name = group["metadata"]["name"].as_str().expect("a name");
        for resource in group["versions"][0]["resources"]
            .as_array()
            .expect("resources")
        {
            let plural = resource["resource"].as_str().expect("a name");
            found.push(format!("{name}/{plural}"));
            for sub in resource["subresources"].as_array().into_iter().flatten() {
                let sub = sub["subresource"].as_str().expect("a name");
                found.push(format!("{name}/{plural}/{sub}"));
            }
        }
    }
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let headers = [("accept", AGGREGATED), ("if-none-match", tag.as_str())];
    let again = world.ask("GET", "/apis", &headers, "").await;
    assert_eq!((again.code, again.bytes.len()), (304, 0));
    let beta = AGGREGATED.replace("v=v2", "v=v2beta1");
    let old = world.ask("GET", "/apis", &[("accept", &beta)], "").await;
    assert_eq!(old.expect(200)["kind"], "APIGroupList");
    let core = world.get("/api/v1").await.expect(200);
    let core = names(&core["resources"], "name");
    for name in [
        "configmaps",
        "pods",
        "pods/status",
        "pods/binding",
        "namespaces/finalize",
    ] {
        assert!(core.iter().any(|known| known == name), "{name} in {core:?}");
    }
}

#[tokio::test]
async fn a_definition_changes_discovery_at_once() {
    // 8
    let world = World::new().await;
    let tag = |answer: &crate::harness::Answer| answer.header("etag").to_owned();
    let accept = [("accept", AGGREGATED)];
    let before = tag(&world.ask("GET", "/apis", &accept, "").await);
    world.post(DEFINITIONS, &foo_definition()).await.expect(201);
    let after = world.ask("GET", "/apis", &accept, "").await;
    assert_ne!(tag(&after), before);
    assert!(after.text().contains("ex.io"));
    world
        .delete(&format!("{DEFINITIONS}/foos.ex.io"))
        .await
        .expect(200);
    world
        .until("/apis", |answer| !answer.text().contains("ex.io"))
        .await;
    let gone = world.get("/apis/ex.io/v1").await;
    assert_eq!(
        (gone.code, gone.text().as_str()),
        (404, "404 page not found\n")
    );
}

#[tokio::test]
async fn what_is_unknown_is_not_found_in_upstreams_two_ways() {
    // 9
    let world = World::new().await;
    let group = world.get("/apis/nope").await;
    assert_eq!(
        (group.code, group.header("content-type")),
        (404, "text/plain; charset=utf-8")
    );
    let message = world.get("/api/v1/nope").await.refused(404, "NotFound");
    assert_eq!(message, "the server could not find the requested resource");
}

#[tokio::test]
async fn open_api_documents_are_found_by_their_hashes() {
    // 10, 11, 12, 13
    let world = World::new().await;
    let index = world.get("/openapi/v3").await.expect(200);
    for (path, entry) in index["paths"].as_object().expect("paths") {
        let url = entry["serverRelativeURL"].as_str().expect("a URL");
        let answer = world.get(url).await;
        let document = answer.expect(200);
        assert_eq!(
            answer.header("cache-control"),
            "public, immutable",
            "{path}"
        );
        assert!(
            url.ends_with(answer.header("etag").trim_matches('"')),
            "{path}"
        );
        for (route, operations) in document["paths"].as_object().expect("paths") {
            let Some(patch) = operations.get("patch") else {
                continue;
            };
            let parameters = names(&patch["parameters"], "name");
            for name in ["fieldValidation", "fieldManager", "force", "dryRun"] {
                assert!(
                    parameters.iter().any(|known| known == name),
                    "{route} {name}"
                );
            }
        }
    }
    let moved = world.get("/openapi/v3/api/v1?hash=BAD").await;
    assert_eq!(moved.code, 301);
    let url = moved.header("location").to_owned();
    assert_eq!(json!(url), index["paths"]["api/v1"]["serverRelativeURL"]);
    let swagger = world.get("/openapi/v2").await.expect(200);
    assert_eq!(swagger["swagger"], "2.0");
}
