//! What QEMU speaks: a machine becomes arguments; QMP as bytes in, bytes out; image headers; the probe guest.

pub mod image;
pub mod probe;
