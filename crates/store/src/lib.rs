//! Ordered keys with revisions: get, list, compare-and-write, watch, compact; durable.
