//! The network card.

pub mod tap;
