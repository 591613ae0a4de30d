//! Golden tests of the argument builders.
