//! Every transition of the machine, one by one.

mod attempts;
mod audit;
mod builds;
mod damage;
mod enrol;
mod explain;
mod fairness;
mod jobs;
mod outside;
mod patience;
mod quotas;
mod rebind;
mod retention;
mod rig;
mod scheduling;
mod terms;
mod voices;
