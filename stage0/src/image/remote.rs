//! Fetching one image over HTTP: from the store while that answer holds, from the server otherwise.
//!
//! Responsible for: the order of look-up, lock, signature, download, verification, record. Must not know: how a URL was come by,
//! HTTP's details. Follows rkt-reference.md 3.3, 3.4 and 3.6.

use std::time::SystemTime;

use url::Url;

use super::download::{Download, Freshness, Outcome};
use super::fetcher::Wanted;
use super::http::HttpClient;
use super::intake::{Check, Intake};
use super::partial::Partial;
use super::signature::SignatureAt;
use super::{Fetcher, ImageError, PullPolicy};
use crate::store::{Import, Key, Remote};

/// An image on a web server.
pub(super) struct RemoteImage<'a> {
    pub url: &'a Url,
    pub signature: SignatureAt,
    /// What its manifest must say.
    pub wanted: Wanted<'a>,
    /// Whether it is the latest of its name.
    pub latest: bool,
}

impl Fetcher<'_> {
    /// Fetches an image, unless the store has the answer.
    pub(super) fn remote(&self, image: &RemoteImage<'_>) -> Result<Key, ImageError> {
        let url = image.url;
        let began = SystemTime::now();
        let known = match (self.options().pull_policy, self.store().remote(url.as_str())?) {
            (PullPolicy::New | PullPolicy::Never, Some(remote)) => return self.stored(image, &remote),
            (PullPolicy::Never, None) => return Err(ImageError::UrlNotFound(url.to_string())),
            (_, remote) => remote.filter(|remote| self.counts(remote)),
        };
        if let Some(remote) = known.as_ref().filter(|remote| remote.is_fresh(began)) {
            return self.stored(image, remote);
        }
        self.log().debug(format_args!("remote fetching from URL {:?}", url.as_str()));
        let client = self.client()?;
        let mut partial = Partial::lock(&self.store().download_directory()?, url, self.log())?;
        // Whoever had the lock before has most likely fetched what we want.
        let known = if partial.waited() { self.store().remote(url.as_str())? } else { known };
        let known = known.filter(|remote| self.counts(remote));
        if let Some(remote) = known.as_ref().filter(|remote| remote.download_time >= began) {
            return self.stored(image, remote);
        }
        self.download(image, &client, known.as_ref(), &mut partial)
    }

    /// What came into the store unverified is no answer to a fetch that verifies: it is fetched anew.
    fn counts(&self, remote: &Remote) -> bool {
        self.options().insecure.skip_image_check() || remote.is_verified()
    }

    fn stored(&self, image: &RemoteImage<'_>, remote: &Remote) -> Result<Key, ImageError> {
        self.log().debug(format_args!("using image from local store for url {}", image.url));
        image.wanted.check(&self.store().manifest(&remote.blob_key)?)?;
        Ok(remote.blob_key.clone())
    }

    fn download(
        &self,
        image: &RemoteImage<'_>,
        client: &HttpClient,
        known: Option<&Remote>,
        partial: &mut Partial,
    ) -> Result<Key, ImageError> {
        let verified = !self.options().insecure.skip_image_check();
        let check = if !verified {
            Check::Off
        } else {
            match image.signature.get(client, self.progress(), self.log())? {
                Some(signature) => {
                    let keys = self.keys_that_may_have_made(&signature, image.url.as_str(), &image.wanted)?;
                    Check::Signature(signature, keys)
                }
                None => Check::Later,
            }
        };
        let deferred = matches!(check, Check::Later);
        let etag = known.map(|remote| remote.etag.as_str()).unwrap_or_default();
        let download = Download { client, url: image.url, etag, progress: self.progress(), log: self.log() };

        // Only when there is something to take in: an image that is current needs no threads.
        let mut intake = None;
        let mut check = Some(check);
        let outcome = download.run(partial, &mut |bytes| {
            let intake = match &mut intake {
                Some(intake) => intake,
                empty => {
                    let check = check.take().unwrap_or(Check::Later);
                    empty.insert(Intake::begin(self.store(), &Import { latest: image.latest }, check)?)
                }
            };
            intake.write(bytes).map_err(|e| self.not_taken(e, image.url.as_str()))
        })?;
        let freshness = match (outcome, known) {
            (Outcome::Complete(freshness), _) => freshness,
            (Outcome::NotModified(freshness), Some(remote)) => {
                let key = self.stored(image, remote)?;
                // A server that confirms an image need not repeat its name.
                let etag = if freshness.etag.is_empty() { remote.etag.clone() } else { freshness.etag };
                return self.record(image, &remote.sig_url, Freshness { etag, ..freshness }, key);
            }
            (Outcome::NotModified(_), None) => return Err(ImageError::UrlNotFound(image.url.to_string())),
        };
        let Some(intake) = intake else { return Err(ImageError::Empty(image.url.to_string())) };
        let taken = intake.finish().map_err(|e| self.not_taken(e, image.url.as_str()))?;
        let taken = if deferred {
            let Some(signature) = image.signature.get(client, self.progress(), self.log())? else {
                return Err(ImageError::SignatureDeferred(image.signature.to_url()));
            };
            self.verify_late(taken, &signature, partial)?
        } else {
            taken
        };
        let key = self.accept(taken, &image.wanted)?;
        let signature = if verified { image.signature.to_url() } else { String::new() };
        self.record(image, &signature, freshness, key)
    }

    /// Remembers where an image came from.
    fn record(
        &self,
        image: &RemoteImage<'_>,
        signature: &str,
        freshness: Freshness,
        key: Key,
    ) -> Result<Key, ImageError> {
        self.store().put_remote(&Remote {
            aci_url: image.url.to_string(),
            sig_url: signature.to_owned(),
            etag: freshness.etag,
            blob_key: key.clone(),
            cache_max_age: freshness.max_age,
            download_time: SystemTime::now(),
        })?;
        Ok(key)
    }
}
