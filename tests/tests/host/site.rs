//! A publisher's web site as rkt sees it: hosts behind a proxy, with the certificates of an authority that rkt trusts.

use std::fs;

use rkt_tests::aci::Aci;
use rkt_tests::authority::Authority;
use rkt_tests::gpg::{Gpg, Key};
use rkt_tests::rkt::TestRkt;
use rkt_tests::server::{Answer, Server};

use crate::publisher::USER;

/// An rkt, and the web that it sees.
pub struct Site {
    pub rkt: TestRkt,
    pub server: Server,
    pub gpg: Gpg,
    pub key: Key,
    _authority: Authority,
}

impl Site {
    /// Hosts without any page, and a key that rkt does not know.
    pub fn new() -> Self {
        let (mut rkt, gpg, authority) = (TestRkt::new(), Gpg::new(), Authority::new());
        let server = Server::proxy(&authority);
        rkt.set_env("SSL_CERT_FILE", authority.certificate());
        for name in ["HTTPS_PROXY", "HTTP_PROXY"] {
            rkt.set_env(name, server.as_proxy());
        }
        let key = gpg.generate("ed25519", USER);
        Self { rkt, server, gpg, key, _authority: authority }
    }

    /// The same with a key that rkt trusts for `example.com`.
    pub fn trusted() -> Self {
        let site = Self::new();
        crate::publisher::trust(&site.rkt, &site.gpg, &site.key, &["--prefix=example.com"]);
        site
    }

    /// Serves a page with these tags in its head.
    pub fn page(&self, place: &str, tags: &[(&str, &str)]) {
        let tags: String = tags
            .iter()
            .map(|(name, content)| format!("<meta name=\"{name}\" content=\"{content}\">\n"))
            .collect();
        let page = format!("<!DOCTYPE html>\n<html><head>\n{tags}</head><body>Welcome</body></html>\n");
        self.server.answer(place, Answer::body(page.into_bytes()).header("Content-Type", "text/html"));
    }

    /// Serves an image and its signature, the latter beside it.
    pub fn image(&self, place: &str, image: &Aci) {
        self.server.answer(place, Answer::body(image.gzip()));
        self.server.answer(&format!("{place}.asc"), Answer::body(self.signature(image)));
    }

    /// A signature by the site's key.
    pub fn signature(&self, image: &Aci) -> Vec<u8> {
        let file = self.rkt.path("to-be-signed");
        fs::write(&file, image.gzip()).expect("writing an image");
        let signature = self.gpg.sign(&self.key, &file);
        fs::read(signature).expect("gpg wrote a signature")
    }

    /// Serves the public key.
    pub fn public_key(&self, place: &str) {
        let file = self.rkt.path("published.asc");
        self.gpg.export(&self.key, &file);
        self.server.answer(place, Answer::body(fs::read(file).expect("gpg wrote the key")));
    }
}
