//! A machine adopts a guest that stands by, if there is one: the folder with its launcher becomes the machine's. The
//! launcher makes the guest the machine's when it is asked to start, or starts another one.

use std::net::Ipv4Addr;
use std::path::Path;

use api::resources;
use api::virtual_machine_instance::VirtualMachineInstance;
use api::warm_start::{self, Mode};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::step_down::StepDown;
use super::{Machine, Record, StepError};
use crate::templates::builder;
use crate::templates::pool::Taken;

impl Machine {
    /// Makes the folder of a guest that stands by the machine's, with the launcher in it. False: there is none.
    pub(super) async fn adopt_standby(
        &mut self,
        pod: &Pod,
        instance: &VirtualMachineInstance,
    ) -> Result<bool, StepError> {
        if self.directory.exists() {
            return Ok(false);
        }
        let Some(Taken { name, directory }) = self.standby(instance).await? else {
            return Ok(false);
        };
        let moved = self.move_in(pod, instance, &directory).await;
        self.context.in_use.release(&name);
        if let Err(error) = moved {
            tracing::warn!(machine = self.uid, %error, "a guest that stood by is not adopted");
            if let Err(error) = builder::end(&directory).await {
                tracing::warn!(%error, "a guest that stood by is not ended");
            }
            return Ok(false);
        }
        // Before anybody is told of the machine. If it fails, its launcher is found at the next look.
        let (machines, directory) = (self.context.machines.clone(), self.directory.clone());
        let durable = tokio::task::spawn_blocking(move || {
            Record::make_durable(&directory)?;
            std::fs::File::open(machines)?.sync_all()
        });
        durable.await.map_err(std::io::Error::other)??;
        Ok(true)
    }

    async fn move_in(
        &self,
        pod: &Pod,
        instance: &VirtualMachineInstance,
        directory: &Path,
    ) -> Result<(), StepError> {
        let _choosing = self.context.choosing_address.lock().await;
        self.record(pod, instance)?.write(directory)?;
        std::fs::rename(directory, &self.directory)?;
        Ok(())
    }

    /// A guest that stands by, if the machine may adopt one.
    async fn standby(
        &mut self,
        instance: &VirtualMachineInstance,
    ) -> Result<Option<Taken>, StepError> {
        let boots = warm_start::of_annotations(instance.annotations()).mode == Mode::Never;
        if boots || StepDown::read(&self.directory)?.is_some() {
            return Ok(None);
        }
        let Ok(decision) = self.accelerator_for(instance, None) else {
            return Ok(None);
        };
        let secrets = self.secrets(instance).await?;
        // Its address shapes nothing.
        let nowhere = (Ipv4Addr::UNSPECIFIED, None);
        let Ok(mut request) = self.request(instance, &decision, nowhere, &secrets) else {
            return Ok(None);
        };
        // One that goes on from where it was saved, or may not start, is told so when it is asked to.
        if !matches!(self.go_on(instance, &mut request).await, Ok(false)) {
            return Ok(None);
        }
        let now = self.context.clock.now();
        let shape = self.warm_shape(instance, &mut request);
        Ok(shape.and_then(|shape| self.context.templates.take_standby(&shape, now)))
    }

    /// Guests that stand by give way to one that starts otherwise.
    pub(super) fn make_room(&self, instance: &VirtualMachineInstance) {
        let emulated = self.context.knowledge.facts().slowdown.is_some();
        let guest = resources::guest_memory_bytes(&instance.spec).unwrap_or_default();
        let overhead = resources::memory_overhead_bytes(&instance.spec, emulated);
        let now = self.context.clock.now();
        let pool = &self.context.templates.pool;
        pool.make_room(guest.saturating_add(overhead), now);
    }
}
