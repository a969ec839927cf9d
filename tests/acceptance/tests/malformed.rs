//! 500 malformed manifests, each made from a seed: every one is refused with a 4xx that names the field, and the server
//! neither fails nor stores anything.

use acceptance::{Client, Server};
use laboratory::malformed::malformed;

const SEEDS: u64 = 500;

#[test]
fn each_malformed_manifest_gets_a_4xx_with_a_field_path_and_nothing_is_stored() {
    let server = Server::start(&["--emulation", "on"]);
    let client = Client::of(&server);
    for seed in 0..SEEDS {
        let case = malformed(seed);
        let resource = match case.manifest["kind"].as_str() {
            Some("VirtualMachineInstance") => "virtualmachineinstances",
            _ => "virtualmachines",
        };
        let path =
            format!("/apis/kubevirt.io/v1/namespaces/default/{resource}?fieldValidation=Strict");
        let (code, answer) = client.send("POST", &path, &case.manifest.to_string());
        let story = format!(
            "seed {seed}: {}\n{}\n{code} {answer:#}",
            case.what_is_wrong, case.manifest
        );
        assert!((400..500).contains(&code), "{story}");
        assert_eq!(answer["kind"], "Status", "{story}");
        let causes = answer
            .pointer("/details/causes")
            .and_then(|causes| causes.as_array());
        let fields = causes
            .into_iter()
            .flatten()
            .filter_map(|cause| cause["field"].as_str());
        // An unknown field is refused while decoding, and its path stands in the message, as upstream.
        let message = answer["message"].as_str().unwrap_or_default();
        let decoding = message.contains("strict decoding error").then_some(message);
        assert!(
            fields
                .chain(decoding)
                .any(|named| named.contains(&case.field)),
            "{} is not named; {story}",
            case.field
        );
    }
    assert_eq!(
        server.kubectl(&["get", "vm,vmi", "--all-namespaces", "-o", "name"]),
        ""
    );
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
