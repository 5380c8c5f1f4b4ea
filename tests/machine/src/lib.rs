//! Runs a command where KVM works: on this host, or in an emulated machine.
