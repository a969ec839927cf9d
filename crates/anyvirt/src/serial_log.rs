//! The serial log of a machine that has not started, for who follows it: it comes with the start.

use std::io;
use std::time::Duration;

use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use kube::Api;
use kube::runtime::wait::await_condition;
use node::{LogError, LogOptions, LogStream, NodeHandle};

/// Images come within minutes, devices and nodes when somebody brings them. Whoever waits longer asks again: a waiter
/// costs a watch of one object.
const STARTS_WITHIN: Duration = Duration::from_secs(3600);

/// Might the guest of the machine `uid`, which is `found` now, still start without having done so? Its log is there
/// before its phase says that it has.
pub(crate) fn is_awaited(found: Option<&VirtualMachineInstance>, uid: &str) -> bool {
    let Some(found) = found.filter(|it| it.metadata.uid.as_deref() == Some(uid)) else {
        return false;
    };
    let phase = found.status.as_ref().and_then(|status| status.phase);
    matches!(phase, None | Some(Phase::Pending | Phase::Scheduling))
}

/// The log of the machine `uid`, once nobody awaits its start; empty if it never starts, or not within
/// [`STARTS_WITHIN`].
pub(crate) fn from_its_start(
    node: NodeHandle,
    machines: Api<VirtualMachineInstance>,
    name: String,
    uid: String,
    options: LogOptions,
) -> LogStream {
    let wanted = uid.clone();
    let decided = async move {
        let decided = move |found: Option<&VirtualMachineInstance>| !is_awaited(found, &wanted);
        let waited = await_condition(machines, &name, decided).await;
        waited.map(drop).map_err(io::Error::other)
    };
    after(decided, node, uid, options)
}

/// As [`from_its_start`], with what decides that it has started.
fn after(
    decided: impl Future<Output = io::Result<()>> + Send + 'static,
    node: NodeHandle,
    uid: String,
    options: LogOptions,
) -> LogStream {
    let log = async move {
        match tokio::time::timeout(STARTS_WITHIN, decided).await {
            Ok(decided) => decided?,
            Err(_) => return Ok(nothing()),
        }
        match node.serial_log(&uid, options).await {
            Ok(log) => Ok(log),
            Err(LogError::NoPod(_)) => Ok(nothing()),
            Err(LogError::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    };
    Box::pin(futures::TryStreamExt::try_flatten(futures::stream::once(
        log,
    )))
}

/// What a guest that has not started has written.
pub(crate) fn nothing() -> LogStream {
    Box::pin(futures::stream::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::launcher::files;
    use futures::StreamExt as _;
    use tokio::sync::oneshot;

    fn of(phase: Option<Phase>) -> VirtualMachineInstance {
        let mut instance = VirtualMachineInstance::default();
        instance.metadata.uid = Some("a".to_owned());
        instance.status.get_or_insert_default().phase = phase;
        instance
    }

    #[test]
    fn a_start_is_awaited_until_it_came_or_cannot_come() {
        for phase in [None, Some(Phase::Pending), Some(Phase::Scheduling)] {
            assert!(is_awaited(Some(&of(phase)), "a"), "{phase:?}");
            assert!(!is_awaited(Some(&of(phase)), "b"), "another of its name");
        }
        let started = [
            Phase::Scheduled,
            Phase::Running,
            Phase::Succeeded,
            Phase::Failed,
        ];
        for phase in started {
            assert!(!is_awaited(Some(&of(Some(phase))), "a"), "{phase:?}");
        }
        assert!(!is_awaited(None, "a"), "it was deleted");
    }

    #[tokio::test]
    async fn who_follows_before_the_start_gets_the_log_from_its_first_byte() {
        let data = tempfile::tempdir().expect("a directory");
        let node = NodeHandle::new(data.path());
        let follow = LogOptions {
            follow: true,
            ..LogOptions::default()
        };
        let (start, started) = oneshot::channel();
        let decided = async { started.await.map_err(io::Error::other) };
        let mut log = after(decided, node, "a".to_owned(), follow);
        assert!(futures::poll!(log.next()).is_pending());

        let directory = data.path().join("machines").join("a");
        std::fs::create_dir_all(&directory).expect("made");
        std::fs::write(directory.join(files::IDENTITY), "{}").expect("written");
        std::fs::write(directory.join(files::SERIAL_LOG), "first words").expect("written");
        start.send(()).expect("it waits");
        let piece = log.next().await.expect("it goes on").expect("readable");
        assert_eq!(piece, b"first words");
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_never_comes_ends_the_log() {
        let data = tempfile::tempdir().expect("a directory");
        let node = NodeHandle::new(data.path());
        let options = LogOptions::default();
        let never = after(
            std::future::pending(),
            node.clone(),
            "a".to_owned(),
            options,
        );
        assert_eq!(never.count().await, 0);
        let deleted = after(async { Ok(()) }, node.clone(), "a".to_owned(), options);
        assert_eq!(deleted.count().await, 0);
        let broken = async { Err(io::Error::other("the watch broke")) };
        let mut broken = after(broken, node, "a".to_owned(), options);
        let said = broken.next().await.expect("said").unwrap_err();
        assert_eq!(said.to_string(), "the watch broke");
    }
}
