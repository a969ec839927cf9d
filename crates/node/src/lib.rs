//! Makes this machine match the VirtualMachineInstances bound to it; runs launcher pods on one machine.

pub mod hardware;
