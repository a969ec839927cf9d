//! What machines and nodes use, and who is told.

use super::*;

#[tokio::test]
async fn what_machines_use_is_told_to_who_may_get_them() {
    let world = World::new().await;
    let client = kube::Client::new(
        world.console.server().unwrap().local(User::admin("root")),
        "default",
    );
    controllers::bootstrap::crds(&client).await.unwrap();
    let weak = ("Authorization", "Bearer weak-token");
    let admin = ("Authorization", "Bearer admin-token");
    let json = ("Content-Type", "application/json");
    let path = "/console/api/metrics?namespace=default&name=web";
    assert_eq!(world.ask("GET", path, &[], "").await.code, 401);
    let refused = world.ask("GET", path, &[weak], "").await;
    assert_eq!((refused.code, refused.cause().as_str()), (403, "Forbidden"));
    let none = world.ask("GET", path, &[admin], "").await;
    assert_eq!(none.code, 404, "{}", none.body);
    assert!(none.body.contains("web"), "{}", none.body);
    assert_eq!(
        world.ask("POST", path, &[admin, json], "{}").await.code,
        405
    );
    for wrong in [
        "/console/api/metrics",
        "/console/api/metrics?namespace=default",
        "/console/api/metrics?namespace=default&name=a%2Fb",
        "/console/api/metrics?node=..%2F..",
        "/console/api/metrics?namespace=default&name=web&minutes=1441",
    ] {
        assert_eq!(
            world.ask("GET", wrong, &[admin], "").await.code,
            400,
            "{wrong}"
        );
    }
    let vm = r#"{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "web"},
        "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}}}"#;
    let machines = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines";
    let made = world.ask("POST", machines, &[admin, json], vm).await;
    assert_eq!(made.code, 201, "{}", made.body);
    // It never ran: nothing is known, and nothing is zero.
    let told = world.ask("GET", path, &[admin], "").await.json();
    assert_eq!(told["series"]["processor"], json!([]), "{told}");
    assert_eq!(told["latest"], Value::Null, "{told}");
    assert_eq!(world.ask("GET", path, &[weak], "").await.code, 403);

    let node = "/console/api/metrics?node=here&minutes=5";
    assert_eq!(world.ask("GET", node, &[weak], "").await.code, 403);
    assert_eq!(world.ask("GET", node, &[admin], "").await.code, 404);
    let here = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"}}"#;
    let made = world
        .ask("POST", "/api/v1/nodes", &[admin, json], here)
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
    let told = world.ask("GET", node, &[admin], "").await.json();
    assert_eq!(told["stepSeconds"], 5, "{told}");
    assert_eq!(
        told["series"]["memory"].as_array().map(Vec::len),
        Some(60),
        "{told}"
    );
    assert_eq!(
        told["capacity"],
        Value::Null,
        "nobody has looked yet: {told}"
    );
}
