//! The server's own background tasks.

use std::future::Future;
use std::sync::Arc;

use store::Listing;

use crate::object::delete::PERMANENT_NAMESPACES;
use crate::server::Inner;

/// Starts them all; each ends when the server is closing.
pub(crate) fn start(inner: &Arc<Inner>) {
    spawn(inner, crate::namespace::run(Arc::clone(inner)));
    spawn(inner, crate::garbage::run(Arc::clone(inner)));
    spawn(inner, crate::crd_cleanup::run(Arc::clone(inner)));
    spawn(inner, crate::history::run(Arc::clone(inner)));
}

fn spawn(inner: &Arc<Inner>, task: impl Future<Output = ()> + Send + 'static) {
    let closing = inner.closing.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = closing.cancelled() => {}
            () = task => {}
        }
    });
}

/// Waits until the namespaces that always exist are there.
pub(crate) async fn ready(inner: &Inner) {
    let prefix = crate::stored::prefix("", "namespaces", None);
    loop {
        // Taken before looking, so that nothing between looking and watching is missed.
        let Ok(page) = inner.store.list(&prefix, Listing::default()) else {
            return;
        };
        let there = |name: &&str| -> bool {
            inner
                .store
                .get(&crate::stored::key("", "namespaces", None, name))
                .is_some()
        };
        if PERMANENT_NAMESPACES.iter().all(there) {
            return;
        }
        let Ok(mut watch) = inner.store.watch(&prefix, page.revision) else {
            continue;
        };
        if watch.next().await.is_none() {
            return;
        }
    }
}
