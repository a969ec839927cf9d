//! The two sides understand each other, and bear whatever else comes.

use super::values::hex;
use super::*;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = Id> {
    any::<[u8; 16]>().prop_map(Id)
}

fn time() -> impl Strategy<Value = Time> {
    (0_u64..18_000_000_000, 0_u32..1_000_000_000).prop_map(|(seconds, nanoseconds)| Time {
        seconds,
        nanoseconds,
    })
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9]([a-zA-Z0-9.-]{0,40}[a-z0-9])?".prop_map(|text| Name::new(&text).expect("a name"))
}

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac)
}

fn host_key() -> impl Strategy<Value = HostKey> {
    ("[A-Za-z0-9+/=\n]{0,600}", "[A-Za-z0-9+/]{0,80}( [a-z@]{1,20})?\n?").prop_map(|(private, public)| {
        let private = format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{private}\n-----END OPENSSH PRIVATE KEY-----\n"
        );
        HostKey::new(&private, &format!("ssh-ed25519 {public}")).expect("a key")
    })
}

prop_compose! {
    fn order()(
        (nonce, machine_id, boot_id, product_uuid) in (id(), id(), id(), id()),
        seed in prop::collection::vec(any::<u8>(), SEED_BYTES),
        (time, hostname) in (time(), name()),
        cards in prop::collection::vec((mac(), mac()), 0..=MOST_CARDS),
        host_key in prop::option::of(host_key()),
        instance_id in prop::option::of("[!-~]{1,320}"),
    ) -> Order {
        Order {
            nonce, machine_id, boot_id, product_uuid, time, hostname, host_key,
            seed: Secret(seed.try_into().expect("as many")),
            cards: cards.into_iter().map(|(old, new)| Card { old, new }).collect(),
            instance_id: instance_id.map(|text| InstanceId::new(&text).expect("visible")),
        }
    }
}

prop_compose! {
    fn proof()(
        (nonce, boot_id, time, hostname) in (id(), id(), time(), name()),
        machine_id in prop::option::of(id()),
        product_uuid in prop::option::of(id()),
        random in any::<[u8; RANDOM_BYTES]>(),
        macs in prop::collection::vec(mac(), 0..=MOST_CARDS),
        host_key in prop::option::of("ssh-ed25519 [ -~]{0,280}\n?"),
    ) -> Proof {
        Proof { nonce, random, time, hostname, machine_id, boot_id, product_uuid, macs, host_key }
    }
}

fn from_host() -> impl Strategy<Value = FromHost> {
    prop_oneof![
        Just(FromHost::Who),
        Just(FromHost::Settle),
        order().prop_map(|order| FromHost::Renew(Box::new(order))),
        time().prop_map(FromHost::Clock),
    ]
}

fn from_guest() -> impl Strategy<Value = FromGuest> {
    let words = || "[!-~]([ -~]{0,380}[!-~])?";
    prop_oneof![
        (any::<u32>(), words())
            .prop_map(|(version, about)| FromGuest::Hello(Hello { version, about })),
        words().prop_map(FromGuest::Settled),
        words().prop_map(FromGuest::Note),
        time().prop_map(FromGuest::ClockSet),
        (prop::sample::select(Step::ALL.to_vec()), words())
            .prop_map(|(step, message)| FromGuest::Failed(Failure { step, message })),
        proof().prop_map(|proof| FromGuest::Renewed(Box::new(proof))),
    ]
}

/// Cuts `bytes` into pieces of these sizes, over and over.
fn pieces<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*size).clamp(1, bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// Lines that look like the protocol, and lines that do not.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "who",
        "settle",
        "renew",
        "end",
        "seed",
        "time",
        "hostname",
        "machine-id",
        "boot-id",
        "mac",
        "ssh-host-key",
        "instance-id",
        "hello",
        "settled",
        "renewed",
        "failed",
        "note",
        "random",
        "\n",
        " ",
        "00112233445566778899aabbccddeeff",
        "52:54:00:00:00:01",
        "1.000000000",
        "1",
        "\u{fc}",
    ];
    let word = prop_oneof![
        prop::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..80),
        Just(vec![b'x'; LONGEST_LINE]),
    ];
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_the_host_says_is_what_the_guest_hears(
        said in prop::collection::vec(from_host(), 1..4),
        sizes in prop::collection::vec(1_usize..700, 1..8),
    ) {
        let text: String = said.iter().map(|said| said.encode().expect("sayable")).collect();
        let mut ear = HostDecoder::default();
        let heard: Vec<_> = pieces(text.as_bytes(), &sizes).into_iter().flat_map(|piece| ear.feed(piece)).collect();
        prop_assert_eq!(heard, said.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn what_the_guest_says_is_what_the_host_hears(
        said in prop::collection::vec(from_guest(), 1..4),
        sizes in prop::collection::vec(1_usize..700, 1..8),
    ) {
        let text: String = said.iter().map(FromGuest::encode).collect();
        let mut ear = GuestDecoder::default();
        let heard: Vec<_> = pieces(text.as_bytes(), &sizes).into_iter().flat_map(|piece| ear.feed(piece)).collect();
        prop_assert_eq!(heard, said.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn whatever_was_in_the_port_before_what_comes_next_is_heard(noise in noise(), said in from_host(), answer in from_guest()) {
        let mut ear = HostDecoder::default();
        ear.feed(&noise);
        let heard = ear.feed(said.encode().expect("sayable").as_bytes());
        prop_assert_eq!(heard.last(), Some(&Ok(said)));
        let mut ear = GuestDecoder::default();
        ear.feed(&noise);
        ear.feed(b"\n");
        let heard = ear.feed(answer.encode().as_bytes());
        prop_assert_eq!(heard.last(), Some(&Ok(answer)));
    }

    #[test]
    fn an_order_without_one_of_its_lines_is_no_order(order in order(), left_out in 0_usize..6) {
        let text = FromHost::Renew(Box::new(order)).encode().expect("sayable");
        let kept: Vec<&str> = text.lines().enumerate().filter(|(place, _)| *place != left_out + 2).map(|(_, line)| line).collect();
        let heard = HostDecoder::default().feed(format!("{}\n", kept.join("\n")).as_bytes());
        prop_assert_eq!(heard.len(), 1);
        let fault = heard[0].as_ref().expect_err("not whole");
        prop_assert!(matches!(fault.problem, Problem::Missing(_)), "{}", fault);
        prop_assert_eq!(fault.line as usize, kept.len());
    }
}

fn an_order() -> Order {
    Order {
        nonce: Id([7; 16]),
        seed: Secret([0xab; SEED_BYTES]),
        time: Time {
            seconds: 1_763_900_000,
            nanoseconds: 5,
        },
        hostname: Name::new("web-1").expect("a name"),
        machine_id: Id([1; 16]),
        boot_id: Id([2; 16]),
        product_uuid: Id([3; 16]),
        cards: vec![Card {
            old: Mac([2, 0, 0, 0, 0, 1]),
            new: Mac([2, 0, 0, 0, 0, 2]),
        }],
        host_key: HostKey::new(
            "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n",
            "ssh-ed25519 AAAA\n",
        ),
        instance_id: InstanceId::new("web-1.5"),
    }
}

fn its_proof() -> Proof {
    let order = an_order();
    let mut random = [9; RANDOM_BYTES];
    random[0] = 8;
    Proof {
        nonce: order.nonce,
        random,
        time: Time {
            seconds: order.time.seconds,
            nanoseconds: 1_000_005,
        },
        hostname: order.hostname,
        machine_id: Some(order.machine_id),
        boot_id: order.boot_id,
        product_uuid: Some(order.product_uuid),
        macs: vec![order.cards[0].new],
        host_key: Some("ssh-ed25519 AAAA\n".to_owned()),
    }
}

#[test]
fn each_wrong_line_is_named_and_its_value_is_not_told() {
    let text = FromHost::Renew(Box::new(an_order()))
        .encode()
        .expect("sayable");
    for (from, to, told) in [
        ("seed abab", "seed ab", "line 3: `seed` wants 128 digits"),
        (
            "time 1",
            "time x",
            "line 4: `time` wants seconds since 1970, a point and nine digits",
        ),
        (
            "hostname web-1",
            "hostname web_1-",
            "line 5: `hostname` wants 1 to 64 letters, digits, dashes and points",
        ),
        (
            "machine-id 01",
            "machine-id g1",
            "line 6: `machine-id` wants a UUID",
        ),
        ("boot-id", "seed", "line 7: a second `seed`"),
        ("mac 02:", "mac 2:", "line 9: `mac` wants two addresses"),
        (
            "ssh-host-key ",
            "ssh-host-key 00",
            "line 10: `ssh-host-key` wants the digits of two files",
        ),
        (
            "instance-id",
            "secret-id",
            "line 11: `secret-id` means nothing here",
        ),
        ("seed abab", "ABAB", "line 3: `?` means nothing here"),
        (
            "seed ",
            "seed\u{7f} ",
            "line 3: holds bytes that are no printable text",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let heard = HostDecoder::default().feed(text.replacen(from, to, 1).as_bytes());
        let told_so: Vec<String> = heard
            .iter()
            .map(|heard| heard.as_ref().expect_err("wrong").to_string())
            .collect();
        assert_eq!(told_so, [told]);
    }
}

#[test]
fn more_than_the_bounds_is_refused_before_it_is_sent() {
    let mut order = an_order();
    order.cards = vec![order.cards[0]; MOST_CARDS + 1];
    let fault = FromHost::Renew(Box::new(order))
        .encode()
        .expect_err("too many");
    assert_eq!(fault.problem, Problem::TooMany("mac"));
    let long = FromGuest::Note("a\nb\u{fc}".repeat(LONGEST_TEXT)).encode();
    assert!(
        long.len() <= LONGEST_LINE && long.matches('\n').count() == 1,
        "{long}"
    );
    assert_eq!(HostKey::new("secret", "ssh-ed25519 AAAA"), None);
    assert_eq!(Name::new(&"a".repeat(65)), None);
    assert_eq!(InstanceId::new("two words"), None);
}

#[test]
fn a_line_without_an_end_takes_no_more_memory_than_the_longest() {
    let mut ear = GuestDecoder::default();
    for _ in 0..1000 {
        assert_eq!(ear.feed(&[b'x'; 4096]), []);
    }
    let heard = ear.feed(b"\nhello 1 6.1\n");
    assert_eq!(
        heard[0],
        Err(Fault {
            line: 1,
            problem: Problem::TooLong
        })
    );
    assert_eq!(
        heard[1],
        Ok(FromGuest::Hello(Hello {
            version: 1,
            about: "6.1".to_owned()
        }))
    );
}

#[test]
fn secrets_do_not_show_in_what_people_may_print() {
    let shown = format!("{:?}", FromHost::Renew(Box::new(an_order())));
    for secret in [
        hex(&[0xab; 4]),
        "171, 171".to_owned(),
        "c2VjcmV0".to_owned(),
    ] {
        assert!(!shown.contains(&secret), "{shown}");
    }
}

#[test]
fn a_proof_is_taken_when_all_that_the_guest_has_is_as_it_was_told() {
    let late = Duration::from_millis(500);
    assert_eq!(its_proof().check(&an_order(), late), Ok(()));
    let lacking = Proof {
        machine_id: None,
        product_uuid: None,
        host_key: None,
        ..its_proof()
    };
    assert_eq!(lacking.check(&an_order(), late), Ok(()));
    let order = an_order();
    type Change = fn(&mut Proof);
    let changes: [(Change, &str); 11] = [
        (|proof| proof.nonce = Id([0; 16]), "answer"),
        (|proof| proof.random = [4; RANDOM_BYTES], "random bytes"),
        (
            |proof| proof.hostname = Name::new("small").expect("a name"),
            "hostname is small, and should be web-1",
        ),
        (|proof| proof.machine_id = Some(Id([0; 16])), "machine-id"),
        (|proof| proof.boot_id = Id([0; 16]), "boot id"),
        (
            |proof| proof.product_uuid = Some(Id([0; 16])),
            "product UUID",
        ),
        (
            |proof| proof.macs = vec![Mac([2, 0, 0, 0, 0, 1])],
            "address is 02:00:00:00:00:01, and should be",
        ),
        (
            |proof| proof.macs = Vec::new(),
            "number of cards is 0, and should be 1",
        ),
        (
            |proof| proof.host_key = Some("ssh-ed25519 BBBB".to_owned()),
            "SSH host key",
        ),
        (|proof| proof.time.seconds -= 1, "clock is"),
        (
            |proof| proof.time.seconds += 1,
            "1001 ms ahead, and may be 500",
        ),
    ];
    for (change, told) in changes {
        let mut proof = its_proof();
        change(&mut proof);
        let refused = proof.check(&order, late).expect_err(told);
        assert!(refused.contains(told), "{refused}");
    }
}
