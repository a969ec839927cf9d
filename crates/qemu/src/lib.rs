//! What QEMU speaks: a machine becomes arguments; QMP as bytes in, bytes out; image headers; the probe guest.

pub mod abilities;
pub mod architecture;
pub mod command_line;
pub mod image;
pub mod machine;
pub mod overlay;
pub mod probe;
pub mod profile;
pub mod qmp;
pub mod version;
