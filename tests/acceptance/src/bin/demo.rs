//! `cargo xtask demo`: from a clone to a booted Debian guest, and how to reach it.
//!
//! Everything it starts goes on running when it ends (the registry, the server, the VM); `--stop` ends them again.
//! Its state stands in `target/demo`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

use acceptance::{Said, anyvirt_program, kubectl_program, run, tail};
use laboratory::guests;
use laboratory::registry::Registry;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Where `examples/debian.yaml` looks for its image.
const REGISTRY: &str = "127.0.0.1:5000";

/// Emulated Debian needs 30 to 90 s; a loaded laptop several times that.
const PATIENCE: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [] => Demo::new().and_then(|demo| demo.show()),
        ["--stop"] => Demo::new().and_then(|demo| demo.stop()),
        ["registry", layout] => serve_registry(Path::new(layout)),
        other => Err(format!("unknown arguments {other:?}: nothing, or --stop")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("demo: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Serves the image until this process is ended; started by the demo in a session of its own.
fn serve_registry(layout: &Path) -> Result<(), String> {
    let address: SocketAddr = REGISTRY
        .parse()
        .map_err(|error| format!("{REGISTRY}: {error}"))?;
    let _registry = Registry::serve_at(layout, address)
        .map_err(|error| format!("cannot serve at {REGISTRY}: {error}"))?;
    loop {
        std::thread::park();
    }
}

struct Demo {
    root: PathBuf,
    folder: PathBuf,
}

impl Demo {
    fn new() -> Result<Demo, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root
            .canonicalize()
            .map_err(|error| format!("cannot find the repository: {error}"))?;
        let folder = root.join("target/demo");
        fs::create_dir_all(&folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        Ok(Demo { root, folder })
    }

    fn show(&self) -> Result<(), String> {
        let started = Instant::now();
        let step = |text: &str| {
            println!(
                " \u{2713} {:>6.1} s  {text}",
                started.elapsed().as_secs_f64()
            )
        };
        println!("Making the Debian guest from Debian packages (about two minutes the first time)");
        let guest = guests::debian()?;
        step("Debian guest made");
        self.start_registry(&guest.layout)?;
        step(&format!("image served at {REGISTRY}"));
        self.start_server()?;
        step(&format!("anyvirt serves {}", self.server_address()?));
        let example = self.root.join("examples/debian.yaml");
        self.kubectl(&["apply", "-f", &example.display().to_string()])?;
        step("applied examples/debian.yaml");
        self.follow(step)?;
        self.explain()
    }

    /// Shows what happens until the login prompt.
    fn follow(&self, step: impl Fn(&str)) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let mut status = String::new();
        let mut shown = String::new();
        while Instant::now() < deadline {
            let now = self.kubectl(&[
                "get",
                "vm",
                "debian",
                "-o",
                "jsonpath={.status.printableStatus}",
            ])?;
            if now != status && !now.is_empty() {
                step(&format!("VM is {now}"));
                if now == "Running" {
                    let columns = "custom-columns=TYPE:.status.accelerator.type,WHY:.status.accelerator.message";
                    let why =
                        self.kubectl(&["get", "vmi", "debian", "--no-headers", "-o", columns])?;
                    step(&format!("accelerator {}", why.trim()));
                }
                status = now;
            }
            let console = self.anyvirt(&["logs", "debian"]).out;
            if console.contains("debian login:") {
                step("login prompt");
                return Ok(());
            }
            let line: String = console
                .lines()
                .rev()
                .find(|line| !line.trim().is_empty())
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_control())
                .take(100)
                .collect();
            if line != shown && !line.is_empty() {
                println!("              | {line}");
                shown = line;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Err(format!(
            "no login prompt within {PATIENCE:?}; last lines of the console:\n{}",
            tail(&self.anyvirt(&["logs", "debian"]).out)
        ))
    }

    fn explain(&self) -> Result<(), String> {
        let program = anyvirt_program();
        let address = self.kubectl(&[
            "get",
            "vmi",
            "debian",
            "-o",
            "jsonpath={.status.interfaces[0].ipAddress}",
        ])?;
        println!("\nThe VM runs. User debian, password anyvirt.");
        println!("  export KUBECONFIG={}", self.kubeconfig().display());
        println!(
            "  {} console debian        # Ctrl-] leaves",
            program.display()
        );
        println!("  ssh debian@{address}");
        println!("  {} get vm,vmi,pods", kubectl_program().display());
        println!("  {} stop debian", program.display());
        println!("End everything: cargo xtask demo --stop");
        Ok(())
    }

    fn stop(&self) -> Result<(), String> {
        if self.runs("server") {
            self.kubectl(&[
                "delete",
                "vm",
                "debian",
                "--ignore-not-found",
                "--timeout=120s",
            ])?;
        }
        for name in ["server", "registry"] {
            if let (true, Some(pid)) = (self.runs(name), self.pid(name)) {
                said("kill", run(Path::new("kill"), &[&pid], &[]))?;
                println!("ended the {name} (process {pid})");
            }
            // A missing file says that nothing ran.
            let _ = fs::remove_file(self.folder.join(format!("{name}.pid")));
        }
        Ok(())
    }

    fn start_registry(&self, layout: &Path) -> Result<(), String> {
        if self.runs("registry") {
            return Ok(());
        }
        if TcpStream::connect(REGISTRY).is_ok() {
            return Err(format!(
                "{REGISTRY} is taken by another program, and examples/debian.yaml names it; end that program first"
            ));
        }
        let own = std::env::current_exe()
            .map_err(|error| format!("cannot find this program: {error}"))?;
        self.start(
            "registry",
            &own,
            &["registry", &layout.display().to_string()],
        )?;
        self.until("the registry answers", || {
            TcpStream::connect(REGISTRY).is_ok()
        })
    }

    fn start_server(&self) -> Result<(), String> {
        if self.runs("server") {
            return Ok(());
        }
        // The usual port if it is free, else any.
        let listener =
            TcpListener::bind("127.0.0.1:6443").or_else(|_| TcpListener::bind("127.0.0.1:0"));
        let address = listener
            .and_then(|l| l.local_addr())
            .map_err(|error| format!("no free port on loopback: {error}"))?;
        let (data, kubeconfig) = (self.folder.join("data"), self.kubeconfig());
        let arguments = [
            "up",
            "--data-dir",
            &data.display().to_string(),
            "--listen",
            &address.to_string(),
            "--kubeconfig",
            &kubeconfig.display().to_string(),
        ];
        self.start("server", &anyvirt_program(), &arguments)?;
        let log = self.folder.join("server.log");
        let ready = self.until("anyvirt is ready", || {
            fs::read_to_string(&log)
                .unwrap_or_default()
                .lines()
                .any(|line| line.starts_with("Ready"))
        });
        print!("{}", fs::read_to_string(&log).unwrap_or_default());
        ready
    }

    /// Starts a program that outlives this one; its output goes to NAME.log, its process id to NAME.pid.
    fn start(&self, name: &str, program: &Path, arguments: &[&str]) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("cannot start the {name}: {error}");
        let log = File::create(self.folder.join(format!("{name}.log"))).map_err(failed)?;
        #[expect(clippy::disallowed_methods, reason = "the demo starts programs")]
        let child = Command::new("setsid")
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let mut file = File::create(self.folder.join(format!("{name}.pid"))).map_err(failed)?;
        writeln!(file, "{}", child.id()).map_err(failed)
    }

    fn pid(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join(format!("{name}.pid"))).ok()?;
        Some(text.trim().to_owned())
    }

    /// True if the process whose id was kept still runs, and is ours: ids are used again.
    fn runs(&self, name: &str) -> bool {
        let Some(pid) = self.pid(name) else {
            return false;
        };
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        command.contains(if name == "server" {
            "anyvirt up"
        } else {
            "demo registry"
        })
    }

    fn until(&self, what: &str, check: impl Fn() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !check() {
            if Instant::now() > deadline {
                return Err(format!(
                    "waited a minute until {what}; see {}",
                    self.folder.display()
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    fn server_address(&self) -> Result<String, String> {
        let text = self.kubectl(&[
            "config",
            "view",
            "-o",
            "jsonpath={.clusters[0].cluster.server}",
        ])?;
        Ok(text)
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let kubeconfig = self.kubeconfig().display().to_string();
        let said_it = run(
            &kubectl_program(),
            arguments,
            &[("KUBECONFIG", &kubeconfig)],
        );
        said(&format!("kubectl {}", arguments.join(" ")), said_it)
    }

    fn anyvirt(&self, arguments: &[&str]) -> Said {
        let kubeconfig = self.kubeconfig().display().to_string();
        run(
            &anyvirt_program(),
            arguments,
            &[("KUBECONFIG", &kubeconfig)],
        )
    }
}

fn said(what: &str, said: Said) -> Result<String, String> {
    if said.success {
        Ok(said.out)
    } else {
        Err(format!("{what} failed: {}{}", said.out, said.err))
    }
}
