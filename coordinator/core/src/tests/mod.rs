//! Every transition of the machine, one by one.

mod attempts;
mod enrol;
mod jobs;
mod outside;
mod rebind;
mod retention;
mod rig;
mod scheduling;
mod terms;
