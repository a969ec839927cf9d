//! Linux: processes, jail, locks, sockets, mounts; the only unsafe code, the only place that starts programs.
