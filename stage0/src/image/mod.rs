//! Getting images: from what the user typed to a key in the store.
//!
//! Responsible for: references, pull policies, downloads, signatures. Must not know: how the store keeps images,
//! pods. Follows rkt-reference.md 3.1 to 3.6, one module a clause: `reference` (what was meant), `fetcher` (where to
//! look), `discovery` (what a name means on the web), `http` and `download` (how to get it), `verify` (whether to believe
//! it), `intake` (into the store on the way).

mod appc_name;
mod cache_control;
mod dependencies;
mod discovery;
mod distribution;
mod download;
mod error;
mod fetcher;
mod finder;
mod http;
mod intake;
mod partial;
mod progress;
mod publisher;
mod pull_policy;
mod reference;
mod remote;
mod signature;
mod verify;

#[cfg(test)]
mod appc_name_test;
#[cfg(test)]
mod cache_control_test;
#[cfg(test)]
mod download_test;
#[cfg(test)]
mod fetcher_test;
#[cfg(test)]
mod reference_test;
#[cfg(test)]
pub(crate) mod test_keys;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod verify_test;

pub use appc_name::AppcName;
pub(crate) use cache_control::max_age;
pub use discovery::{Discovery, DiscoveryError, KeyLocation, meta_tags};
pub(crate) use download::content_range;
pub use error::ImageError;
pub use fetcher::{FetchOptions, Fetcher};
pub use finder::Finder;
pub use http::{Body as HttpBody, HttpClient, HttpError, Response as HttpResponse};
pub use progress::Progress;
pub use publisher::download as download_key;
pub use pull_policy::PullPolicy;
pub use reference::Reference;
pub use verify::{VerifyError, printable};
pub(crate) use verify::{check_issuer, verify_message};
