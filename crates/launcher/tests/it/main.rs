//! A launcher with a real QEMU and a guest of 512 bytes, under emulation.

mod boot_sector;
mod disks;
mod home;
mod lives;
mod log;
mod save;
mod screens;
mod speed;
mod standby;
mod usage;
mod warm;
