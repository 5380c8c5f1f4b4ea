//! Keys of an image's publisher, found through discovery before the image is verified for the first time.
//!
//! Responsible for: when keys are looked for, and who must agree to them. Must not know: how keys are shown or kept. Follows
//! rkt-reference.md 3.6.

use appc::AcIdentifier;

use super::discovery::{Discovery, KeyLocation};
use super::http::{HttpClient, HttpError};
use crate::keystore::{Accept, Keystore, KeystoreError, MAX_KEY_BYTES, Scope, review};
use crate::log::{Log, render};

/// How keys may be come by.
pub(super) struct Publisher<'a> {
    pub keystore: &'a Keystore,
    /// Asks for pages and keys.
    pub client: HttpClient,
    /// `--insecure-options=pubkey`.
    pub allow_http: bool,
    /// `--trust-keys-from-https`, and nothing that would make https worthless.
    pub trust_https: bool,
    pub log: Log,
}

impl Publisher<'_> {
    /// Offers the publisher's keys to the user, unless a key is trusted for this name already. Whatever fails is only
    /// said: the image may be signed by a key that is trusted for every image.
    pub fn offer_keys(&self, name: &AcIdentifier) -> Result<(), KeystoreError> {
        if self.keystore.has_prefix_key(name)? {
            let known = format_args!("keys already exist for prefix {:?}, not fetching again", name.as_str());
            self.log.debug(known);
            return Ok(());
        }
        let discovery = Discovery::new(self.client.clone(), self.allow_http, self.log);
        let locations = match discovery.keys(name) {
            Ok(locations) => locations,
            Err(error) => {
                self.log.print(format_args!("error determining key location: {error}"));
                return Ok(());
            }
        };
        for location in locations {
            if let Err(error) = self.offer(name, &location) {
                self.log.print(format_args!("error adding keys: {error}"));
            }
        }
        Ok(())
    }

    fn offer(&self, name: &AcIdentifier, location: &KeyLocation) -> Result<(), String> {
        let url = location.url.as_str();
        let accept = if self.trust_https && location.is_https { Accept::Force } else { Accept::Ask };
        let found =
            download(&self.client, location).map_err(|e| format!("error accessing the key {url}: {e}"))?;
        let scope = Scope::Prefix(name.clone());
        review(self.keystore, &scope, url, &found, accept, self.log).map_err(|e| render(&e, false))?;
        Ok(())
    }
}

/// The keys at a discovered location.
pub fn download(client: &HttpClient, location: &KeyLocation) -> Result<Vec<u8>, HttpError> {
    // Nothing but the connection vouches for a key: what is called https stays https.
    let client = if location.is_https { client.clone().without_http() } else { client.clone() };
    client.get_small(&location.url, MAX_KEY_BYTES)
}
