//! A small etcd: what our adapter needs of one, with a history to judge by and faults to survive.

pub(crate) mod member;
pub(crate) mod server;
pub(crate) mod store;
