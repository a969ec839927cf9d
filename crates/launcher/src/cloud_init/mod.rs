//! cloud-init's NoCloud source: a small CD image labelled `cidata` that the guest reads.

pub mod iso;

use jiff::civil::DateTime;
use serde_json::json;

use self::iso::{IsoError, IsoFile, image};

/// The label by which cloud-init finds the image.
const LABEL: &str = "cidata";

/// What the guest is told beside the user's own data.
#[derive(Clone, Copy, Debug)]
pub struct MetaData<'a> {
    /// Changes when cloud-init shall run again.
    pub instance_id: &'a str,
    /// The guest's host name.
    pub hostname: &'a str,
}

/// The image with `user-data`, `meta-data` and, where given, `network-config`.
///
/// # Errors
/// [`IsoError`] if the data is too large.
pub fn no_cloud(
    user_data: &str,
    network_data: Option<&str>,
    meta_data: MetaData<'_>,
    time: DateTime,
) -> Result<Vec<u8>, IsoError> {
    let meta_data = json!({
        "instance-id": meta_data.instance_id,
        "local-hostname": meta_data.hostname,
    })
    .to_string();
    let mut files = vec![
        IsoFile {
            name: "user-data",
            bytes: user_data.as_bytes(),
        },
        IsoFile {
            name: "meta-data",
            bytes: meta_data.as_bytes(),
        },
    ];
    if let Some(network_data) = network_data {
        files.push(IsoFile {
            name: "network-config",
            bytes: network_data.as_bytes(),
        });
    }
    image(LABEL, &files, time)
}
