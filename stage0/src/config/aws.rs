//! Requests to Amazon S3 and to what speaks its protocol.
//!
//! Responsible for: signing one request. Must not know: how it is sent. Follows "AWS Signature Version 4 for API requests"
//! of the IAM user guide and rkt-reference.md 2.8.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};
use url::Url;

use super::auth::is_header_text;
use super::secret::Secret;
use crate::hex;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "s3";
const DEFAULT_REGION: &str = "us-east-1";
/// Ends every credential scope.
const TERMINATOR: &str = "aws4_request";

/// A pair of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct AwsCredentials {
    /// Names the secret key.
    #[serde(rename = "accessKeyID")]
    pub access_key_id: String,
    /// Signs requests.
    #[serde(rename = "secretAccessKey")]
    pub secret_access_key: Secret,
    /// Where the service is; guessed from the host if empty.
    #[serde(rename = "awsRegion", skip_serializing_if = "String::is_empty")]
    pub region: String,
}

impl AwsCredentials {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.access_key_id.is_empty() {
            return Err("no AWS Access Key ID specified".to_owned());
        }
        if self.secret_access_key.is_empty() {
            return Err("no AWS Secret Access Key specified".to_owned());
        }
        if !is_header_text(&self.access_key_id) || !is_header_text(&self.region) {
            return Err("AWS Access Key ID or region has characters that no HTTP header may have".to_owned());
        }
        Ok(())
    }
}

/// The header fields of a request without a body, signed at `now`.
pub(super) fn sign(
    credentials: &AwsCredentials,
    method: &str,
    url: &Url,
    now: SystemTime,
) -> Result<Vec<(String, String)>, jiff::Error> {
    let host = url.host_str().unwrap_or_default();
    let region = match credentials.region.as_str() {
        "" => guess_region(host),
        region => region,
    };
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let time = Timestamp::try_from(now)?.strftime("%Y%m%dT%H%M%SZ").to_string();
    let body_hash = hex::lower(digest::digest(&digest::SHA256, b"").as_ref());
    let headers = BTreeMap::from([
        ("host", host.as_str()),
        ("x-amz-content-sha256", &body_hash),
        ("x-amz-date", &time),
    ]);
    let request = Request { method, url, headers: &headers, body_hash: &body_hash };
    let authorization = request.authorization(credentials, region, SERVICE, &time);
    Ok(vec![
        ("x-amz-content-sha256".to_owned(), body_hash.clone()),
        ("x-amz-date".to_owned(), time.clone()),
        ("Authorization".to_owned(), authorization),
    ])
}

/// What is signed.
pub(super) struct Request<'a> {
    pub method: &'a str,
    pub url: &'a Url,
    /// Lower-case names and trimmed values.
    pub headers: &'a BTreeMap<&'a str, &'a str>,
    pub body_hash: &'a str,
}

impl Request<'_> {
    /// The value of `Authorization`. `time` is in ISO 8601 basic format.
    pub fn authorization(
        &self,
        credentials: &AwsCredentials,
        region: &str,
        service: &str,
        time: &str,
    ) -> String {
        let date = time.split('T').next().unwrap_or_default();
        let scope = format!("{date}/{region}/{service}/{TERMINATOR}");
        let request_hash = digest::digest(&digest::SHA256, self.canonical().as_bytes());
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex::lower(request_hash.as_ref()));
        let mut key = hmac(format!("AWS4{}", credentials.secret_access_key.reveal()).as_bytes(), date);
        for part in [region, service, TERMINATOR] {
            key = hmac(key.as_ref(), part);
        }
        let signature = hex::lower(hmac(key.as_ref(), &to_sign).as_ref());
        format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
            credentials.access_key_id,
            self.signed_headers(),
        )
    }

    fn canonical(&self) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let path = encode(&decode(self.url.path(), false), true);
        let mut query: Vec<(String, String)> = self
            .url
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (encode(&decode(name, true), false), encode(&decode(value, true), false)))
            .collect();
        query.sort();
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!(
            "{}\n{path}\n{}\n{headers}\n{}\n{}",
            self.method,
            query.join("&"),
            self.signed_headers(),
            self.body_hash
        )
    }

    fn signed_headers(&self) -> String {
        self.headers.keys().copied().collect::<Vec<_>>().join(";")
    }
}

fn hmac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

/// Percent-decodes; in a query `+` means a space.
fn decode(text: &str, is_query: bool) -> Vec<u8> {
    let text = if is_query { text.replace('+', " ") } else { text.to_owned() };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits
            .filter(|digits| *first == b'%' && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(value.unwrap_or(*first));
        rest = if value.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    bytes
}

/// Encodes everything but RFC 3986's unreserved characters, the only form that both sides agree on.
fn encode(bytes: &[u8], keep_slash: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if unreserved || (keep_slash && byte == b'/') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// `bucket.s3.eu-west-1.amazonaws.com`, `s3-eu-west-1.amazonaws.com` and the like name their region.
pub(super) fn guess_region(host: &str) -> &str {
    let Some(name) = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))
    else {
        return DEFAULT_REGION;
    };
    let labels: Vec<&str> = name.rsplit('.').collect();
    match labels.as_slice() {
        ["s3" | "s3-external-1", ..] => DEFAULT_REGION,
        [last, ..] if last.starts_with("s3-") => last.trim_start_matches("s3-"),
        [region, "s3" | "dualstack", ..] => region,
        _ => DEFAULT_REGION,
    }
}
