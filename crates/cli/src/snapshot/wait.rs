//! Waiting for one object, and letting go of what was made on the way.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use kube::Resource;
use kube::api::{Api, DeleteParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher::watch_object;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::output;

/// A server that is started again is back within seconds; one that does not answer for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// A watch that failed is begun again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Waits until `wanted` says something of the object `name`.
///
/// # Errors
/// What `wanted` says; [`Exit::TimedOut`] after `within`; the server's, if it does not come back.
pub(super) async fn until<K, T>(
    connection: &Connection,
    objects: &Api<K>,
    name: &str,
    within: Option<Duration>,
    wanted: impl Fn(Option<&K>) -> Option<Result<T, Failure>>,
) -> Result<T, Failure>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let mut changes = pin!(watch_object(objects.clone(), name));
    let begun = Instant::now();
    let mut failing: Option<Instant> = None;
    loop {
        let late = async {
            match within {
                Some(within) => tokio::time::sleep_until(begun + within).await,
                None => std::future::pending().await,
            }
        };
        let change = tokio::select! {
            change = changes.next() => change,
            () = late => {
                let message = format!("not done within {} s; it goes on", within.unwrap_or_default().as_secs());
                return Err(Failure::new(message).exit(Exit::TimedOut));
            }
        };
        match change {
            Some(Ok(object)) => {
                failing = None;
                if let Some(said) = wanted(object.as_ref()) {
                    return said;
                }
            }
            Some(Err(error)) => {
                let since = *failing.get_or_insert_with(Instant::now);
                if since.elapsed() > GONE_AFTER {
                    let message = format!("cannot reach {}: {error}", connection.server);
                    return Err(Failure::new(message).exit(Exit::Unreachable));
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            None => return Err(Failure::new("the watch has ended")),
        }
    }
}

/// Deletes what only the way there needed. That it stays harms nobody, so the person is merely told.
pub(super) async fn remove<K>(connection: &Connection, name: &str)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned,
{
    let objects: Api<K> = super::api(connection);
    match objects.delete(name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        Err(error) => {
            let kind = K::kind(&()).to_lowercase();
            output::hint(&format!("{kind} {name} is not deleted: {error}"));
        }
    }
}
