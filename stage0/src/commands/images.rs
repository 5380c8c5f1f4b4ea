//! Images for commands that run pods.
//!
//! Responsible for: telling the image side what the command line said. Must not know: how images are found or verified.
//! Follows rkt-reference.md 3.1, 3.3 and 4.10.

use std::path::Path;

use crate::cli::apps::AppArguments;
use crate::cli::flag::FlagKind;
use crate::cli::globals::GlobalFlags;
use crate::config::Configuration;
use crate::error::{Context, Result, Stage0Error};
use crate::image::{FetchOptions, Fetcher, Finder, PullPolicy};
use crate::keystore::Keystore;
use crate::output;
use crate::store::{ImageStore, Key};

/// What `--pull-policy` was before it had a name.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StoreFlags {
    /// use only available images in the store (do not discover or download from remote URLs)
    #[arg(long, hide = true, switch = false)]
    store_only: bool,

    /// fetch images ignoring the local store
    #[arg(long, hide = true, switch = false)]
    no_store: bool,
}

impl StoreFlags {
    /// The policy that these flags mean, else `policy`.
    pub fn or(&self, policy: PullPolicy) -> Result<PullPolicy> {
        let deprecated = |flag: &str, policy: &str| {
            output::complain(&format!(
                "Flag --{flag} has been deprecated, please use --pull-policy={policy}"
            ));
        };
        match (self.store_only, self.no_store) {
            (true, true) => Err(Stage0Error::refused("both --store-only and --no-store specified")),
            (true, false) => {
                deprecated("store-only", "never");
                Ok(PullPolicy::Never)
            }
            (false, true) => {
                deprecated("no-store", "update");
                Ok(PullPolicy::Update)
            }
            (false, false) => Ok(policy),
        }
    }
}

/// Finds the images of one command.
pub struct Images<'a> {
    /// Where they end up.
    pub store: &'a ImageStore,
    /// Where trusted keys are, and which checks are off.
    pub globals: &'a GlobalFlags,
    /// When images are fetched again.
    pub pull_policy: PullPolicy,
}

impl Images<'_> {
    /// The image of an app: an image ID means one in the store, anything else is fetched as the pull policy says.
    pub fn find(&self, app: &AppArguments) -> Result<Key> {
        let (keystore, configuration) = self.settings();
        Finder::new(self.fetcher(&keystore, &configuration, self.pull_policy))
            .find(&app.image, signature(app))
            .context(format!("error finding image {:?}", without_password(&app.image)))
    }

    /// Fetches an image; an image ID means nothing here.
    pub fn fetch(&self, app: &AppArguments) -> Result<Key> {
        let (keystore, configuration) = self.settings();
        self.fetcher(&keystore, &configuration, self.pull_policy)
            .fetch(&app.image, signature(app))
            .context(format!("error fetching image {:?}", without_password(&app.image)))
    }

    /// A stage1 image that the user chose. Its pull policy is always `new`.
    pub fn find_stage1(&self, image: &str) -> Result<Key> {
        let (keystore, configuration) = self.settings();
        Finder::new(self.fetcher(&keystore, &configuration, PullPolicy::New))
            .find(image, None)
            .context(format!("error finding image {:?}", without_password(image)))
    }

    fn settings(&self) -> (Keystore, Configuration) {
        let keystore = Keystore::new(&self.globals.system_config, &self.globals.local_config);
        (keystore, Configuration::of(self.globals))
    }

    fn fetcher<'k>(
        &'k self,
        keystore: &'k Keystore,
        configuration: &'k Configuration,
        pull_policy: PullPolicy,
    ) -> Fetcher<'k> {
        let options = FetchOptions {
            pull_policy,
            insecure: self.globals.insecure_options,
            trust_keys_from_https: self.globals.trust_keys_from_https,
            debug: self.globals.debug,
        };
        Fetcher::new(self.store, keystore, configuration, options)
    }
}

fn signature(app: &AppArguments) -> Option<&Path> {
    app.flags.signature.first().map(Path::new)
}

/// An image string for messages, which end up in logs: a user and a password in it are refused, not repeated.
fn without_password(image: &str) -> String {
    let Some((scheme, rest)) = image.split_once("://") else { return image.to_owned() };
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        // A docker reference may have a tag and a digest there.
        Some((user, host)) if user.contains(':') && !host.starts_with("sha") => {
            format!("{scheme}://{}", rest.get(user.len() + 1..).unwrap_or_default())
        }
        _ => image.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn password_in_an_image_string_is_not_repeated() {
        assert_eq!(without_password("https://u:secret@a.com/x.aci"), "https://a.com/x.aci");
        assert_eq!(without_password("docker://u:secret@a.com/x"), "docker://a.com/x");
        for image in [
            "a.com/x:1,os=linux",
            "docker://app:1@sha256:ab",
            "docker://a.com:5000/app@sha256:ab",
            "/x@y.aci",
        ] {
            assert_eq!(without_password(image), image);
        }
    }
}
