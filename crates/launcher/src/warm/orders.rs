//! Who a restored guest is to be: a pure function of the request, the template and fresh randomness.

use api::launcher::StartRequest;
use renewal::protocol::{
    Card, HostKey, Id, InstanceId, Mac, Name, Order, SEED_BYTES, Secret, Time,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// What is drawn anew for each restore.
#[derive(Debug)]
pub(crate) struct Fresh {
    /// Tells the answer to this order from any other.
    pub(crate) nonce: Id,
    /// What the guest's random numbers come from.
    pub(crate) seed: Secret<SEED_BYTES>,
    /// The guest's boot, in the eyes of its programs.
    pub(crate) boot_id: Id,
    /// Its SSH host key.
    pub(crate) host_key: HostKey,
}

impl Fresh {
    /// Drawn from the kernel's randomness.
    ///
    /// # Errors
    /// A sentence, if there is none.
    pub(crate) fn draw() -> Result<Self, String> {
        let random = SystemRandom::new();
        let fill = |bytes: &mut [u8]| {
            let filled = random.fill(bytes);
            filled.map_err(|_| "this machine has no random numbers".to_owned())
        };
        let (mut nonce, mut boot_id, mut seed) = ([0; 16], [0; 16], [0; SEED_BYTES]);
        let mut secret = [0; 32];
        fill(&mut nonce)?;
        fill(&mut secret)?;
        fill(&mut seed)?;
        fill(&mut boot_id)?;
        // A random UUID, as the kernel's own boot id is one (RFC 9562, version 4).
        boot_id[6] = boot_id[6] & 0x0f | 0x40;
        boot_id[8] = boot_id[8] & 0x3f | 0x80;
        Ok(Self {
            nonce: Id(nonce),
            seed: Secret(seed),
            boot_id: Id(boot_id),
            host_key: host_key(&secret).ok_or_else(|| "no SSH host key can be made".to_owned())?,
        })
    }
}

/// The Ed25519 key pair of these secret bytes (RFC 8032), in OpenSSH's files.
fn host_key(secret: &[u8; 32]) -> Option<HostKey> {
    let pair = Ed25519KeyPair::from_seed_unchecked(secret).ok()?;
    let public = pair.public_key().as_ref().try_into().ok()?;
    renewal::host_key(secret, public)
}

/// What the hook in a guest whose cards have these `macs` is told, so that it becomes the machine of `request`.
///
/// # Errors
/// A sentence: what of the request no guest can be.
pub(crate) fn order(
    request: &StartRequest,
    macs: &[String],
    fresh: Fresh,
    time: Time,
) -> Result<Order, String> {
    let uuid = &request.firmware_uuid;
    let identity =
        Id::parse(&uuid.replace('-', "")).ok_or_else(|| format!("`{uuid}` is no UUID"))?;
    let hostname = &request.hostname;
    let hostname = Name::new(hostname).ok_or_else(|| format!("`{hostname}` is no host name"))?;
    let instance_id = &request.instance_id;
    let instance_id =
        InstanceId::new(instance_id).ok_or_else(|| format!("`{instance_id}` is no instance id"))?;
    let mac = |text: &str| Mac::parse(text).ok_or_else(|| format!("`{text}` is no MAC address"));
    let pairs = macs.iter().zip(&request.interfaces);
    let cards = pairs
        .map(|(old, interface)| {
            Ok(Card {
                old: mac(old)?,
                new: mac(&interface.mac)?,
            })
        })
        .collect::<Result<_, String>>()?;
    Ok(Order {
        nonce: fresh.nonce,
        seed: fresh.seed,
        time,
        hostname,
        // As systemd makes it for a machine that was not restored: from the firmware's UUID, under KVM.
        machine_id: identity,
        boot_id: fresh.boot_id,
        product_uuid: identity,
        cards,
        host_key: Some(fresh.host_key),
        instance_id: Some(instance_id),
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use api::launcher::ResolvedInterface;
    use serde_json::json;

    use super::*;

    const TIME: Time = Time {
        seconds: 1_795_373_050,
        nanoseconds: 7,
    };

    fn request() -> StartRequest {
        let interface = |number: u8| ResolvedInterface {
            name: format!("n{number}"),
            mac: format!("02:00:00:00:01:{number:02x}"),
            model: "virtio".to_owned(),
            address: Ipv4Addr::LOCALHOST.into(),
            ports: vec![],
        };
        let request = json!({
            "instance": {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
                "metadata": {"name": "vm"}, "spec": {"domain": {"devices": {}}}},
            "accelerator": "TCG", "volumes": {}, "interfaces": [],
            "hostname": "vm-1", "firmware_uuid": "5D307CA9-b3ef-428c-8861-06e72d69f223",
            "instance_id": "vm-1.5d307ca9",
        });
        let mut request: StartRequest = serde_json::from_value(request).expect("a request");
        request.interfaces = vec![interface(1), interface(2)];
        request
    }

    fn macs() -> Vec<String> {
        ["02:00:00:00:00:01", "02:00:00:00:00:02"]
            .map(str::to_owned)
            .into()
    }

    #[test]
    fn the_guest_is_told_all_that_its_machine_is_and_nothing_of_the_templates() {
        let fresh = Fresh::draw().expect("drawn");
        let (nonce, boot_id) = (fresh.nonce, fresh.boot_id);
        let order = order(&request(), &macs(), fresh, TIME).expect("an order");
        let uuid = Id::parse("5d307ca9b3ef428c886106e72d69f223").expect("an id");
        assert_eq!((order.machine_id, order.product_uuid), (uuid, uuid));
        assert_eq!(
            (order.nonce, order.boot_id, order.time),
            (nonce, boot_id, TIME)
        );
        assert_eq!(order.hostname.as_str(), "vm-1");
        let instance_id = order.instance_id.expect("told");
        assert_eq!(instance_id.as_str(), "vm-1.5d307ca9");
        let cards: Vec<_> = order
            .cards
            .iter()
            .map(|card| (card.old.to_string(), card.new.to_string()))
            .collect();
        let expected = [1, 2].map(|number| {
            let end = format!("{number:02x}");
            (
                format!("02:00:00:00:00:{end}"),
                format!("02:00:00:00:01:{end}"),
            )
        });
        assert_eq!(cards, expected);
    }

    #[test]
    fn what_no_guest_can_be_is_named() {
        type Change = fn(&mut StartRequest);
        let cases: [(Change, &str); 4] = [
            (
                |request| request.firmware_uuid = "x".to_owned(),
                "`x` is no UUID",
            ),
            (
                |request| request.hostname = "a b".to_owned(),
                "`a b` is no host name",
            ),
            (
                |request| request.instance_id = "é".to_owned(),
                "`é` is no instance id",
            ),
            (
                |request| request.interfaces[1].mac = "m".to_owned(),
                "`m` is no MAC",
            ),
        ];
        for (change, words) in cases {
            let mut request = request();
            change(&mut request);
            let fresh = Fresh::draw().expect("drawn");
            let refused = order(&request, &macs(), fresh, TIME).expect_err("refused");
            assert!(refused.starts_with(words), "{refused}");
        }
    }

    #[test]
    fn what_is_drawn_differs_each_time_and_boot_ids_are_random_uuids() {
        let [one, other] = [(); 2].map(|()| Fresh::draw().expect("drawn"));
        assert_ne!(one.nonce, other.nonce);
        assert_ne!(one.seed, other.seed);
        assert_ne!(one.boot_id, other.boot_id);
        assert_ne!(one.host_key.public(), other.host_key.public());
        for fresh in [&one, &other] {
            let text = fresh.boot_id.to_string();
            assert_eq!(&text[14..15], "4", "{text}");
            assert!("89ab".contains(&text[19..20]), "{text}");
        }
    }
}
