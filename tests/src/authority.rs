//! A throw-away certificate authority, and a server certificate of it for the loopback, both made by openssl(1). Clients
//! trust it by `SSL_CERT_FILE`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// A certificate authority with one server certificate.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Makes the keys and certificates; they are valid for two days, for `localhost` and 127.0.0.1, and for the hosts behind
    /// [`Server::proxy`](crate::server::Server::proxy).
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("rkt-test-ca-").tempdir().expect("a directory");
        let make = |name: &str, subject: &str, extensions: &[&str], signer: Option<&str>| {
            let mut command = Command::new("openssl");
            command.args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ]);
            command.args(["-days", "2", "-subj", subject, "-keyout", &format!("{name}.key"), "-out"]);
            command.arg(format!("{name}.pem")).current_dir(directory.path());
            for extension in extensions {
                command.args(["-addext", extension]);
            }
            if let Some(signer) = signer {
                command.args(["-CA", &format!("{signer}.pem"), "-CAkey", &format!("{signer}.key")]);
            }
            let output = command.output().expect("openssl starts");
            assert!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr));
        };
        let usage = "keyUsage=critical,digitalSignature";
        make("ca", "/CN=rkt test authority", &["keyUsage=critical,keyCertSign"], None);
        let names =
            "subjectAltName=DNS:localhost,IP:127.0.0.1,DNS:example.com,DNS:*.example.com,DNS:example.org";
        make("server", "/CN=localhost", &["basicConstraints=critical,CA:FALSE", usage, names], Some("ca"));
        Self { directory }
    }

    /// The authority's certificate, for `SSL_CERT_FILE`.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The server's certificate, for servers that are programs of their own.
    pub fn server_certificate(&self) -> PathBuf {
        self.directory.path().join("server.pem")
    }

    /// The server's key.
    pub fn server_key(&self) -> PathBuf {
        self.directory.path().join("server.key")
    }

    /// The server's TLS configuration.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let certificate = certificate(&self.server_certificate());
        let key = PrivateKeyDer::from_pem_file(self.server_key()).expect("openssl writes PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows every protocol version")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("the key is the certificate's");
        Arc::new(config)
    }
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("openssl writes PEM")
}
