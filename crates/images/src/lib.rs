//! OCI registries, layouts, formats, checksums, cache: an image reference becomes a local file.
