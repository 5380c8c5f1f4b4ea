//! Images for `run` and `prepare`: like [`Fetcher`], but an image ID means an image in the store.

use std::path::Path;

use appc::ImageId;

use super::{Fetcher, ImageError};
use crate::store::Key;

/// Finds images by ID, or fetches them (rkt-reference.md 3.1).
pub struct Finder<'a> {
    fetcher: Fetcher<'a>,
}

impl<'a> Finder<'a> {
    /// What is no image ID goes to `fetcher`.
    pub fn new(fetcher: Fetcher<'a>) -> Self {
        Self { fetcher }
    }

    /// The key of the image that the user means.
    pub fn find(&self, image: &str, signature: Option<&Path>) -> Result<Key, ImageError> {
        if image.parse::<ImageId>().is_ok() {
            return Ok(self.fetcher.store().resolve_key(image)?);
        }
        self.fetcher.fetch(image, signature)
    }
}
