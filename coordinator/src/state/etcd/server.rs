//! A real etcd for tests.
