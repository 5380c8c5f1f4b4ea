//! The vhost-user file server that shares a pod's files with its VM.
