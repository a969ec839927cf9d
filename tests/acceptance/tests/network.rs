//! A guest's network: out to another machine, in through a listed port, and never to the host's loopback.

use acceptance::{Console, PATIENCE, Server, run, wait_for};
use laboratory::guests;
use laboratory::registry::Registry;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(180);

/// A network of the test's own: a namespace joined to this host by a cable. It ends with its namespace.
struct Neighbour {
    name: String,
}

impl Neighbour {
    /// `ours` is our end's address, `theirs` the neighbour's, both of a /24 that nobody else uses.
    fn new(ours: &str, theirs: &str) -> Neighbour {
        let neighbour = Neighbour {
            name: format!("anyvirt-{}", std::process::id()),
        };
        let (name, cable) = (neighbour.name.as_str(), format!("av{}", std::process::id()));
        let far = format!("{cable}p");
        ip(&["netns", "add", name]);
        ip(&[
            "link", "add", &cable, "type", "veth", "peer", "name", &far, "netns", name,
        ]);
        ip(&["address", "add", &format!("{ours}/24"), "dev", &cable]);
        ip(&["link", "set", &cable, "up"]);
        ip(&[
            "-n",
            name,
            "address",
            "add",
            &format!("{theirs}/24"),
            "dev",
            &far,
        ]);
        ip(&["-n", name, "link", "set", &far, "up"]);
        neighbour
    }

    /// A socket at `address`, inside: what it takes comes over the cable.
    fn listen(&self, address: &str) -> TcpListener {
        let space = File::open(Path::new("/run/netns").join(&self.name)).expect("the namespace");
        let address = address.to_owned();
        // A thread's namespace ends with the thread; its sockets stay where they were made.
        std::thread::spawn(move || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("this test runs as root");
            TcpListener::bind(address).expect("the neighbour's end of the cable")
        })
        .join()
        .expect("the thread ends")
    }
}

fn ip(arguments: &[&str]) {
    let said = run(Path::new("ip"), arguments, &[]);
    assert!(said.success, "ip {}: {}", arguments.join(" "), said.err);
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // Takes the cable with it.
        run(Path::new("ip"), &["netns", "delete", &self.name], &[]);
    }
}

/// Answers each connection with `text`, until the test ends.
fn serve(listener: TcpListener, text: &'static str) {
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            // A client that leaves early is its own affair.
            let _ = connection.write_all(text.as_bytes());
        }
    });
}

/// What is served at `address`, as this host reads it.
fn read(address: SocketAddr) -> String {
    let mut text = String::new();
    let mut stream = TcpStream::connect(address).expect("a server of this test");
    stream.read_to_string(&mut text).expect("an answer");
    text
}

const SECRET: &str = "a secret of the host\n";

/// Has the guest ask at `target` for what must not be there. That nobody answers is nc's own finding,
/// told by its words and its status, not its silence.
fn is_kept_out(console: &mut Console, target: SocketAddr) {
    console.send(&format!(
        "nc -w 5 {} {}; echo status=$?. d'on'e\n",
        target.ip(),
        target.port()
    ));
    let said = console.expect("done", PATIENCE);
    assert!(!said.contains(SECRET.trim_end()), "at {target}: {said}");
    assert!(said.contains("status=1."), "at {target}: {said}");
    let why = ["refused", "timed out", "unreachable"];
    assert!(
        why.iter().any(|why| said.contains(why)),
        "at {target}: {said}"
    );
}

#[test]
fn a_guest_reaches_out_is_reached_at_listed_ports_and_never_reaches_the_hosts_loopback() {
    let image = guests::small().expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let neighbour = Neighbour::new("10.213.7.1", "10.213.7.2");
    let answering = neighbour.listen("10.213.7.2:0");
    let outside = answering.local_addr().expect("an address");
    serve(answering, "hello from outside\n");
    let loopback = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let hidden = loopback.local_addr().expect("an address");
    serve(loopback, SECRET);
    assert_eq!(read(hidden), SECRET);

    let server = Server::start(&["--emulation", "on"]);
    let manifest = guests::small_vm("net", &registry.reference("small"))
        .replace("masquerade: {}}", "masquerade: {}, ports: [{port: 7777}]}");
    server.apply(&manifest);
    let vmi = server.wait_until("vmi", "net", "/status/phase", "Running", BOOT);
    let mut console = Console::attach(&server, "net");
    console.send("\n");
    console.expect("login:", BOOT);
    console.send("root\n");
    console.expect("# ", BOOT);

    console.send("ip -4 -o address show eth0; ip route\n");
    let network = console.expect("default via 10.0.2.1", PATIENCE);
    assert!(network.contains("10.0.2.2/24"), "{network}");

    // nc's input stays open: Debian 12's passt loses the end of a connection whose guest has closed its half before.
    console.send(&format!(
        "echo out; nc -w 20 {} {}; echo e'n'd\n",
        outside.ip(),
        outside.port()
    ));
    let out = console.expect("end", PATIENCE);
    assert!(out.contains("hello from outside"), "{out}");

    let address = vmi["status"]["interfaces"][0]["ipAddress"]
        .as_str()
        .expect("an address")
        .to_owned();
    let beside = TcpListener::bind((address.as_str(), 0)).expect("a port of the pod's address");
    let beside_hidden = beside.local_addr().expect("an address");
    serve(beside, SECRET);
    assert_eq!(read(beside_hidden), SECRET);

    // passt's gateway stands for the host's loopback unless it is told otherwise.
    let gateway = SocketAddr::new([10, 0, 2, 1].into(), hidden.port());
    is_kept_out(&mut console, gateway);
    // A guest's loopback addresses are its own, unless its root sends them out.
    console.send(
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip address flush dev lo; \
         ip route add 127.0.0.0/8 via 10.0.2.1; ip route get 127.0.0.1; echo ro'ut'ed\n",
    );
    let routed = console.expect("routed", PATIENCE);
    assert!(routed.contains("127.0.0.1 via 10.0.2.1"), "{routed}");
    for target in [hidden, beside_hidden] {
        is_kept_out(&mut console, target);
    }

    // The client speaks first, as ssh and HTTP clients do.
    console.send("nc -l -p 7777 -e cat &\n");
    console.expect("# ", PATIENCE);
    wait_for("an echo through the listed port", PATIENCE, || {
        let mut stream =
            TcpStream::connect((address.as_str(), 7777)).map_err(|error| error.to_string())?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .map_err(|error| error.to_string())?;
        stream
            .write_all(b"ping\n")
            .map_err(|error| error.to_string())?;
        let mut echo = [0; 5];
        stream
            .read_exact(&mut echo)
            .map_err(|error| error.to_string())?;
        if &echo == b"ping\n" {
            Ok(())
        } else {
            Err(format!("{echo:?}"))
        }
    });
}
