//! A server for trying the crate with kubectl: `cargo run -p apiserver --example serve -- --data-dir
//! DIR --listen 127.0.0.1:6443`. It prints the path of a kubeconfig and serves until Ctrl-C.
#![expect(
    clippy::print_stdout,
    reason = "an example tells its user where the kubeconfig is"
)]

use std::path::PathBuf;
use std::sync::Arc;

use apiserver::certificates::{self, Authority};
use apiserver::{ApiServer, Extensions, Settings};
use store::Store;
use tokio_util::sync::CancellationToken;

type AnyError = Box<dyn std::error::Error>;

fn arguments() -> Result<(PathBuf, String), AnyError> {
    let (mut data, mut listen) = (None, "127.0.0.1:6443".to_owned());
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        match name.as_str() {
            "--data-dir" => data = Some(PathBuf::from(value)),
            "--listen" => listen = value,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    Ok((data.ok_or("--data-dir is required")?, listen))
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let (data, listen) = arguments()?;
    let settings = Settings::default();
    let now = (settings.clock)();
    let authority = Arc::new(Authority::load_or_create(&data.join("certificates"), now)?);
    let settings = Settings {
        ca_pem: authority.ca_pem().to_owned(),
        ..settings
    };
    let clock = settings.clock.clone();
    let store = Store::open(&data.join("store"), store::Options::default())?;
    let server = ApiServer::new(settings, store, Extensions::default())?;
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    let address = listener.local_addr()?;
    let tls = authority.server_config(&[address.ip().to_string()], clock)?;
    let client = authority.client("admin", &["system:masters"], now)?;
    let kubeconfig = data.join("kubeconfig");
    let url = format!("https://{address}");
    let text = certificates::kubeconfig("example", &url, authority.ca_pem(), &client);
    certificates::write(&kubeconfig, &text)?;
    println!("{}", kubeconfig.display());
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        // Without signals the example still serves; it is then ended by killing it.
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    server.serve(listener, tls, shutdown).await?;
    Ok(())
}
