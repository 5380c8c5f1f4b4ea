//! App Container schema: manifests, names, labels, isolators.
