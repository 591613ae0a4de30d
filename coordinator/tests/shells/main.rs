//! The shells end to end: a real coordinator on memory stores, real gRPC and HTTP, and workers that invent their
//! output. What is judged here is the way of a job, not its pictures.

#![allow(missing_docs, reason = "tests")]

mod archive;
mod cluster;
mod durability;
mod fake_worker;
mod film;
mod http;
mod jobs;
mod kills;
mod refusals;
mod sessions;
