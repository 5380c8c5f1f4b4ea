//! Errors as gRPC statuses.
//!
//! Responsible for: which code says best what a client can do about an error. Must not know: methods. Follows
//! rkt-reference.md 7.1 and gRPC's list of status codes.

use std::io::ErrorKind;

use tonic::{Code, Status};

use crate::error::Stage0Error;
use crate::log::render;
use crate::store::StoreError;

/// The status for an error on the pod side.
pub fn of(error: &Stage0Error) -> Status {
    let code = match error {
        Stage0Error::File { cause, .. } if cause.kind() == ErrorKind::PermissionDenied => {
            Code::PermissionDenied
        }
        Stage0Error::File { cause, .. } if cause.kind() == ErrorKind::NotFound => Code::NotFound,
        _ => Code::Internal,
    };
    Status::new(code, render(error, false))
}

/// The status for an error of the image store.
pub fn of_store(error: &StoreError) -> Status {
    let code = match error {
        StoreError::NoImage(_) | StoreError::NoKey => Code::NotFound,
        StoreError::KeyPrefix | StoreError::KeyTooShort => Code::InvalidArgument,
        _ => Code::Internal,
    };
    Status::new(code, render(error, false))
}
