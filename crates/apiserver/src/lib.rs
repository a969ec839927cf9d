//! An embeddable Kubernetes API server: requests in, stored objects and watch events out. Knows nothing of virtual machines.
