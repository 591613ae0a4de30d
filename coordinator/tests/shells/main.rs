//! The shells end to end: a real coordinator on memory stores, real gRPC and HTTP, and workers that invent their
//! output. What is judged here is the way of a job, not its pictures.

#![allow(missing_docs, reason = "tests")]

mod access;
mod archive;
mod audit;
mod cluster;
mod durability;
mod enrol;
mod etcd;
#[path = "../../src/state/etcd/server.rs"]
#[allow(dead_code, reason = "only a part of it is needed here")]
mod etcd_server;
mod fake_worker;
mod film;
mod http;
mod jobs;
mod kills;
mod login;
mod pki;
mod promotion;
mod rebind;
mod refusals;
mod resign;
mod sessions;
mod tenants;
mod tls;
