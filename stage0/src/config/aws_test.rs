//! Signatures, compared with the examples that AWS publishes: "Signature Calculations for the Authorization Header" of the
//! S3 API reference, and the Signature Version 4 test suite.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;
use url::Url;

use super::aws::{AwsCredentials, Request, guess_region, sign};

fn at(time: &str) -> SystemTime {
    time.parse::<Timestamp>().unwrap().into()
}

/// The key pair of the S3 API reference.
fn reference_credentials() -> AwsCredentials {
    AwsCredentials {
        access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        region: String::new(),
    }
}

fn signature(headers: &[(String, String)]) -> &str {
    let (_, value) = headers.iter().find(|(name, _)| name == "Authorization").unwrap();
    value.rsplit("Signature=").next().unwrap()
}

#[test]
fn requests_have_the_signatures_of_the_s3_reference() {
    let cases = [
        (
            "https://examplebucket.s3.amazonaws.com/?lifecycle",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
        (
            "https://examplebucket.s3.amazonaws.com/?prefix=J&max-keys=2",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ];

    for (url, expected) in cases {
        let headers =
            sign(&reference_credentials(), "GET", &Url::parse(url).unwrap(), at("2013-05-24T00:00:00Z"))
                .unwrap();

        assert_eq!(signature(&headers), expected, "{url}");
    }
}

#[test]
fn a_ranged_request_has_the_signature_of_the_s3_reference() {
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let headers = BTreeMap::from([
        ("host", "examplebucket.s3.amazonaws.com"),
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", EMPTY),
        ("x-amz-date", "20130524T000000Z"),
    ]);
    let url = Url::parse("https://examplebucket.s3.amazonaws.com/test.txt").unwrap();
    let request = Request { method: "GET", url: &url, headers: &headers, body_hash: EMPTY };

    let authorization =
        request.authorization(&reference_credentials(), "us-east-1", "s3", "20130524T000000Z");

    assert_eq!(
        authorization,
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
         SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
         Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    );
}

#[test]
fn the_test_suite_has_the_same_signatures() {
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let credentials = AwsCredentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        region: String::new(),
    };
    let headers = BTreeMap::from([("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")]);
    let cases = [
        ("GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        ("GET", "/\u{1234}", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    ];

    for (method, path, expected) in cases {
        let url = Url::parse(&format!("https://example.amazonaws.com{path}")).unwrap();
        let request = Request { method, url: &url, headers: &headers, body_hash: EMPTY };

        let authorization = request.authorization(&credentials, "us-east-1", "service", "20150830T123600Z");

        assert!(authorization.ends_with(expected), "{method} {path}: {authorization}");
    }
}

#[test]
fn the_region_is_read_from_the_host_unless_it_is_configured() {
    let cases = [
        ("s3.amazonaws.com", "us-east-1"),
        ("bucket.s3.amazonaws.com", "us-east-1"),
        ("s3-eu-west-1.amazonaws.com", "eu-west-1"),
        ("bucket.s3-eu-west-1.amazonaws.com", "eu-west-1"),
        ("bucket.s3.eu-central-1.amazonaws.com", "eu-central-1"),
        ("bucket.s3.dualstack.eu-central-1.amazonaws.com", "eu-central-1"),
        ("bucket.s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("s3-external-1.amazonaws.com", "us-east-1"),
        ("s3.example.com", "us-east-1"),
        ("minio", "us-east-1"),
    ];

    for (host, expected) in cases {
        assert_eq!(guess_region(host), expected, "{host}");
    }
}

#[test]
fn a_port_of_its_own_is_part_of_the_signed_host() {
    let now = at("2013-05-24T00:00:00Z");
    let with =
        sign(&reference_credentials(), "GET", &Url::parse("https://minio:9000/a").unwrap(), now).unwrap();
    let without =
        sign(&reference_credentials(), "GET", &Url::parse("https://minio/a").unwrap(), now).unwrap();

    assert_ne!(signature(&with), signature(&without));
}
