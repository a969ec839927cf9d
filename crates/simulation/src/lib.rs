//! Development only: a whole cluster in one thread, one seed, faults, checkers.
