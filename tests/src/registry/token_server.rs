//! A token server as large registries have one: it tells who may do what in JSON web tokens that the registry believes
//! because of their certificate. Keys and signatures are openssl(1)'s. Follows distribution's token authentication
//! specification (`docs/spec/auth/{token,jwt,oauth}.md`) and RFC 7519.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::{PASSWORD, PUBLIC, USER};
use crate::authority::Authority;

/// What [`USER`] may give instead of a password (an "identity token" in docker's configuration).
pub const REFRESH_TOKEN: &str = "refresh-swordfish";

/// Name of the registry in tokens.
const SERVICE: &str = "rkt test registry";

/// Name of the token server in tokens.
const ISSUER: &str = "rkt test token server";

/// How long a token is good for, in seconds.
const LIFETIME: u64 = 300;

/// More than any client sends.
const LARGEST_REQUEST: u64 = 1 << 16;

/// A running token server; it ends with the process.
#[derive(Debug)]
pub(super) struct TokenServer {
    address: SocketAddr,
    certificate: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
}

/// What tokens are signed with.
struct Signer {
    key: PathBuf,
    certificate: CertificateDer<'static>,
}

impl TokenServer {
    /// Makes a signing key in `directory` and starts the server with a certificate of `authority`.
    pub(super) fn start(authority: &Authority, directory: &Path) -> Self {
        let (key, certificate) = (directory.join("token.key"), directory.join("token.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl starts");
        assert!(made.status.success(), "openssl failed: {}", String::from_utf8_lossy(&made.stderr));
        let der = CertificateDer::from_pem_file(&certificate).expect("openssl writes PEM");
        let signer = Arc::new(Signer { key, certificate: der });

        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (tls, seen) = (authority.server_config(), Arc::clone(&requests));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (tls, signer, seen) = (Arc::clone(&tls), Arc::clone(&signer), Arc::clone(&seen));
                // A client that goes away in the middle is no failure of the server's.
                thread::spawn(move || drop(serve(connection, tls, &signer, &seen)));
            }
        });
        Self { address, certificate, requests }
    }

    /// The `auth.token` section of the registry's configuration.
    pub(super) fn registry_configuration(&self) -> Value {
        json!({
            "realm": format!("https://localhost:{}/token", self.address.port()),
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": self.certificate,
        })
    }

    /// Every request so far, as `METHOD TARGET`.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no thread panics with the lock").clone()
    }
}

/// Who asks.
enum Caller {
    Nobody,
    User,
    Impostor,
}

fn serve(
    connection: TcpStream,
    tls: Arc<ServerConfig>,
    signer: &Signer,
    requests: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let session = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(session, connection));
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if (&mut reader).take(LARGEST_REQUEST).read_until(b'\n', &mut head)? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    requests.lock().expect("no thread panics with the lock").push(format!("{method} {target}"));

    let (caller, parameters) = match method {
        "GET" => (by_header(&head), target.split_once('?').map_or("", |(_, query)| query).to_owned()),
        _ => {
            let length = header(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
            let mut form = String::new();
            (&mut reader).take(LARGEST_REQUEST.min(length)).read_to_string(&mut form)?;
            (by_form(&form), form)
        }
    };
    let (status, body) = match caller {
        Caller::Impostor => {
            (401, json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "wrong password" }] }))
        }
        Caller::User => (200, answer(signer, &parameters, true)),
        Caller::Nobody => (200, answer(signer, &parameters, false)),
    };
    let body = body.to_string();
    let mut stream = reader.into_inner();
    write!(stream, "HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Type: application/json\r\n")?;
    write!(stream, "Content-Length: {}\r\n\r\n{body}", body.len())?;
    stream.conn.send_close_notify();
    stream.flush()?;
    stream.sock.shutdown(Shutdown::Write)?;
    io::copy(&mut stream.sock, &mut io::sink())?;
    Ok(())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

fn by_header(head: &str) -> Caller {
    let Some(value) = header(head, "authorization") else { return Caller::Nobody };
    let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    if value == expected { Caller::User } else { Caller::Impostor }
}

fn by_form(form: &str) -> Caller {
    let is = |name: &str, expected: &str| parameter(form, name).as_deref() == Some(expected);
    let by_refresh = is("grant_type", "refresh_token") && is("refresh_token", REFRESH_TOKEN);
    let by_password = is("grant_type", "password") && is("username", USER) && is("password", PASSWORD);
    if by_refresh || by_password { Caller::User } else { Caller::Impostor }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// A token for the scopes asked for, as far as the caller may have them.
fn answer(signer: &Signer, parameters: &str, known: bool) -> Value {
    let pairs = url::form_urlencoded::parse(parameters.as_bytes());
    // In a form, scopes are separated by blanks; in a query, the parameter is repeated.
    let scopes: Vec<String> = pairs
        .filter(|(key, _)| key == "scope")
        .flat_map(|(_, value)| value.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let access: Vec<Value> = scopes.iter().filter_map(|scope| grant(scope, known)).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let claims = json!({
        "iss": ISSUER,
        "sub": if known { USER } else { "" },
        "aud": SERVICE,
        "nbf": now - 10,
        "iat": now,
        "exp": now + LIFETIME,
        "jti": format!("{now}"),
        "access": access,
    });
    let token = signer.sign(&claims);
    json!({ "token": token, "access_token": token, "expires_in": LIFETIME })
}

/// What of `TYPE:NAME:ACTION,…` the caller may do.
fn grant(scope: &str, known: bool) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let may = |action: &str| known || (action == "pull" && name.starts_with(PUBLIC));
    let actions: Vec<&str> = actions.split(',').filter(|action| may(action)).collect();
    Some(json!({ "type": kind, "name": name, "actions": actions }))
}

impl Signer {
    /// A JSON web token, signed with RS256; its certificate travels in the header (RFC 7515, section 4.1.6).
    fn sign(&self, claims: &Value) -> String {
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [STANDARD.encode(&self.certificate)] });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let message = self.key.with_extension(format!("{:?}", thread::current().id()));
        fs::write(&message, &signed).expect("writing what is to be signed");
        let output = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .arg(&self.key)
            .arg(&message)
            .stdin(Stdio::null())
            .output()
            .expect("openssl starts");
        assert!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(output.stdout))
    }
}
