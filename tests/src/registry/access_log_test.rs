use super::access_log::Access;

#[test]
fn a_line_of_the_log_is_read() {
    let line = "127.0.0.1 - - [22/Nov/2026:13:45:55 +0000] \"GET /v2/a/b/blobs/sha256:00ff HTTP/1.1\" 200 1234 \"\" \
                \"Go-http-client/1.1\"";

    let access = Access::parse(line).expect("a line of the log");

    assert_eq!((access.method.as_str(), access.status, access.bytes), ("GET", 200, 1234));
    assert_eq!(access.blob(), Some("sha256:00ff"));
    assert_eq!(Access::parse("time=\"…\" level=info msg=\"listening on 127.0.0.1:1\""), None);
}
