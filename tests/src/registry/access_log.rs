//! The registry's access log, in Apache's combined format, as it stands on its standard output.

/// One request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// `GET`, `HEAD`, `PUT` …
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: u64,
}

impl Access {
    /// Reads `HOST - USER [TIME] "METHOD PATH PROTOCOL" STATUS BYTES "REFERRER" "AGENT"`.
    pub fn parse(line: &str) -> Option<Self> {
        let mut quoted = line.splitn(3, '"');
        let mut request = quoted.nth(1)?.split(' ');
        let (method, path) = (request.next()?, request.next()?);
        let mut numbers = quoted.next()?.split_whitespace();
        let (status, bytes) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some(Self { method: method.to_owned(), path: path.to_owned(), status, bytes })
    }

    /// The digest, when the path is a blob's.
    pub fn blob(&self) -> Option<&str> {
        let (_, digest) = self.path.split_once("/blobs/")?;
        digest.starts_with("sha256:").then_some(digest)
    }
}
