//! What the cluster's configuration is, for everything else in this process.

use api::configuration::ClusterConfiguration;
use futures::Stream;
use std::sync::Arc;
use tokio::sync::watch;

/// Where the configuration is published; clones are the same place.
#[derive(Debug, Clone)]
pub struct Publisher(Arc<watch::Sender<Option<Arc<ClusterConfiguration>>>>);

/// Where it is read.
#[derive(Debug, Clone)]
pub struct Reader(watch::Receiver<Option<Arc<ClusterConfiguration>>>);

impl Default for Publisher {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Publisher {
    /// A new reader.
    pub fn subscribe(&self) -> Reader {
        Reader(self.0.subscribe())
    }

    /// Publishes a configuration, and says whether it differs from the one before.
    pub(super) fn publish(&self, configuration: ClusterConfiguration) -> bool {
        self.0.send_if_modified(|current| {
            if current.as_deref() == Some(&configuration) {
                return false;
            }
            *current = Some(Arc::new(configuration));
            true
        })
    }
}

impl Reader {
    /// The configuration now; none before it was read for the first time.
    pub fn current(&self) -> Option<Arc<ClusterConfiguration>> {
        self.0.borrow().clone()
    }

    /// Waits until the configuration was read once. Never ends if its publisher is gone before.
    pub async fn known(mut self) {
        if self.0.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Yields after each change from now on, and ends with the publisher.
    pub fn changes(&self) -> impl Stream<Item = ()> + Send + use<> {
        let mut seen = self.0.clone();
        seen.mark_unchanged();
        futures::stream::unfold(seen, |mut seen| async move {
            seen.changed().await.ok()?;
            Some(((), seen))
        })
    }
}
