//! Getting images: from what the user typed to a key in the store.
//!
//! Responsible for: references, pull policies, downloads, signatures. Must not know: how the store keeps images,
//! pods. Follows rkt-reference.md 3.1 to 3.6, one module a clause: `reference` (what was meant), `fetcher` (where to
//! look), `http` (how to download), `verify` (whether to believe it).

mod appc_name;
mod cache_control;
mod error;
mod fetcher;
mod finder;
mod http;
mod progress;
mod pull_policy;
mod reference;
mod verify;

pub use appc_name::AppcName;
pub use error::ImageError;
pub use fetcher::{FetchOptions, Fetcher};
pub use finder::Finder;
pub use http::{HttpClient, HttpError};
pub use pull_policy::PullPolicy;
pub use reference::Reference;
pub use verify::{VerifyError, printable};
