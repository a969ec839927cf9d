//! The one binary: settings, wiring of roles, dispatch by name.

mod kubeconfig;
mod relay;
mod settings;
