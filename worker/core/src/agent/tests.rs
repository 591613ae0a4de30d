//! Tests of the agent machine.
