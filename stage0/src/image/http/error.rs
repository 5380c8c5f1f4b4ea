//! Why a download failed.

use rustls::CertificateError;

/// Why a download failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HttpError {
    /// Neither success nor anything that has a meaning here.
    #[error("bad HTTP status code: {0}")]
    Status(u16),
    /// No usable answer: name, connection, certificate, protocol, time.
    #[error("{0}")]
    Transport(String),
    /// A redirect that must not be followed.
    #[error("refused to follow a redirect from {from} to {to}: {reason}")]
    Redirect {
        /// Where the server was asked.
        from: String,
        /// Where it pointed to.
        to: String,
        /// What is wrong with that.
        reason: &'static str,
    },
    /// A redirect too many.
    #[error("stopped after {0} redirects")]
    TooManyRedirects(usize),
    /// A URL whose scheme must not be used here.
    #[error("{url} is not https, and nothing but the connection could vouch for what it serves")]
    NotHttps {
        /// The URL.
        url: String,
    },
    /// The configured credentials could not be made into headers.
    #[error("cannot use the configured credentials for {host}: {reason}")]
    Credentials {
        /// The host they are for.
        host: String,
        /// Why not.
        reason: String,
    },
    /// A proxy of the environment is of no use.
    #[error("proxy {proxy:?} of the environment variable {variable} cannot be used: {reason}")]
    Proxy {
        /// `HTTP_PROXY` or `HTTPS_PROXY`.
        variable: &'static str,
        /// Its value, without a password.
        proxy: String,
        /// Why not.
        reason: String,
    },
    /// The body ended too soon.
    #[error("download is truncated: got {found} of {expected} bytes")]
    Truncated {
        /// Bytes announced.
        expected: u64,
        /// Bytes received.
        found: u64,
    },
    /// The body keeps coming, but not fast enough.
    #[error("download is too slow: it is not complete after {seconds} seconds")]
    TooSlow {
        /// The limit in seconds.
        seconds: u64,
    },
    /// The body is larger than it may be.
    #[error("download is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
}

impl HttpError {
    /// Why there is no usable answer, in words that say what to do where there is something to do.
    pub(super) fn transport(error: &ureq::Error) -> Self {
        let ureq::Error::Io(cause) = error else { return Self::Transport(error.to_string()) };
        let tls = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(why)) = tls else {
            return Self::Transport(cause.to_string());
        };
        Self::Transport(match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate of the server has expired".to_owned()
            }
            CertificateError::UnknownIssuer => {
                "the certificate of the server is from nobody that this host trusts (the \
                 variable SSL_CERT_FILE names a file with a private authority's certificate)"
                    .to_owned()
            }
            why => format!("the certificate of the server is not accepted: {why}"),
        })
    }
}
