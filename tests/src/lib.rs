//! End-to-end suites, the KVM machine they run in, fixtures and benches.
