//! Owns one virtual machine: prepares it, starts QEMU, speaks QMP, survives everybody else's restart.
