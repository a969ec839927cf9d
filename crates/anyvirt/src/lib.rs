//! The one binary: settings, wiring of roles, dispatch by name.

mod admission;
mod kubeconfig;
mod relay;
mod report;
mod settings;
mod subresources;
mod up;
