//! `rkt api-service`: what apps print.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};
use rkt_tests::rkt::TestRkt;
use serde_json::json;
use tonic::{Code, Status};

use crate::api_client::Api;
use crate::api_client::wire::GetLogsRequest;

const UUID: &str = "a1111111-1111-4111-8111-111111111111";

/// A pod that has run two apps, which printed something.
fn pod(rkt: &TestRkt) -> PathBuf {
    let pod = rkt.data().join("pods/run").join(UUID);
    fs::create_dir_all(pod.join("logs")).expect("a directory");
    let image = format!("sha512-{}", "a".repeat(64));
    let app = |name: &str| json!({ "name": name, "image": { "id": image } });
    let manifest = json!({ "acVersion": "1.30.0", "acKind": "PodManifest", "apps": [app("web"), app("db")] });
    fs::write(pod.join("pod"), manifest.to_string()).expect("writing");
    let lines = "2026-01-01T10:00:00Z stdout F one\n2026-01-01T10:00:10Z stderr F three\n\
                 2026-01-01T10:00:20Z stdout P fo\n2026-01-01T10:00:20Z stdout F ur\n";
    fs::write(pod.join("logs/web.log"), lines).expect("writing");
    fs::write(pod.join("logs/db.log"), "2026-01-01T10:00:05Z stdout F two\n").expect("writing");
    pod
}

/// Seconds since 1970 at that second after ten o'clock.
const fn at(second: i64) -> i64 {
    1_767_261_600 + second
}

fn request() -> GetLogsRequest {
    GetLogsRequest { pod_id: UUID[..4].to_owned(), ..GetLogsRequest::default() }
}

/// All lines of a request, without their times.
fn lines(api: &Api, request: GetLogsRequest) -> Result<Vec<String>, Status> {
    let mut client = api.client();
    api.wait(async {
        let mut stream = client.get_logs(request).await?.into_inner();
        let mut lines = Vec::new();
        while let Some(message) = stream.message().await? {
            lines.extend(message.lines.iter().map(|line| text(line)));
        }
        Ok(lines)
    })
}

/// A line without its time: date, time of day, offset, zone.
fn text(line: &str) -> String {
    line.splitn(5, ' ').nth(4).unwrap_or_else(|| panic!("no time in {line:?}")).to_owned()
}

#[test]
fn lines_are_chosen_by_app_number_and_time() {
    let rkt = TestRkt::new();
    pod(&rkt);
    let api = Api::start(&rkt);
    let request = request();

    let cases = [
        (request.clone(), vec!["one", "two", "three", "four"]),
        (GetLogsRequest { app_name: "web".to_owned(), ..request.clone() }, vec!["one", "three", "four"]),
        (GetLogsRequest { lines: 2, ..request.clone() }, vec!["three", "four"]),
        (GetLogsRequest { since_time: at(3), ..request.clone() }, vec!["two", "three", "four"]),
        (GetLogsRequest { until_time: at(7), ..request.clone() }, vec!["one", "two"]),
        (
            GetLogsRequest { since_time: at(3), until_time: at(12), lines: 1, ..request.clone() },
            vec!["three"],
        ),
        // Of a pod that has ended nothing is to come.
        (GetLogsRequest { follow: true, lines: 1, ..request }, vec!["four"]),
    ];

    for (request, expected) in cases {
        assert_eq!(lines(&api, request.clone()).expect("lines"), expected, "{request:?}");
    }
}

#[test]
fn a_line_begins_with_its_time() {
    let mut rkt = TestRkt::new();
    rkt.set_env("TZ", "UTC");
    pod(&rkt);
    let api = Api::start(&rkt);

    let mut client = api.client();
    let message = api.wait(async {
        let request = GetLogsRequest { app_name: "db".to_owned(), ..request() };
        client.get_logs(request).await?.into_inner().message().await
    });

    let lines = message.expect("an answer").expect("a message").lines;
    assert_eq!(lines, ["2026-01-01 10:00:05 +0000 UTC two"]);
}

#[test]
fn what_an_app_prints_is_followed_until_the_pod_ends() {
    let rkt = TestRkt::new();
    let pod = pod(&rkt);
    let lock = Flock::lock(File::open(&pod).expect("a directory"), FlockArg::LockExclusive);
    let lock = lock.map_err(|(_, error)| error).expect("a lock");
    let api = Api::start(&rkt);
    let mut client = api.client();
    let request = GetLogsRequest { follow: true, app_name: "db".to_owned(), ..request() };
    let mut stream = api.wait(client.get_logs(request)).expect("a stream").into_inner();
    let mut next = || {
        let message = api.wait(stream.message()).expect("no error");
        message.map(|message| message.lines.iter().map(|line| text(line)).collect::<Vec<_>>())
    };

    assert_eq!(next(), Some(vec!["two".to_owned()]));
    let mut log = OpenOptions::new().append(true).open(pod.join("logs/db.log")).expect("a log");
    log.write_all(b"2026-01-01T10:01:00Z stdout F five\n").expect("writing");
    assert_eq!(next(), Some(vec!["five".to_owned()]));
    drop(lock);
    assert_eq!(next(), None);
}

#[test]
fn logs_that_cannot_be_had_are_refused_by_name() {
    let rkt = TestRkt::new();
    pod(&rkt);
    let api = Api::start(&rkt);
    let refused = |request: GetLogsRequest| {
        let status = lines(&api, request).expect_err("there is no such log");
        (status.code(), status.message().to_owned())
    };

    let unknown = refused(GetLogsRequest { pod_id: "ffff".to_owned(), ..request() });
    assert_eq!(unknown, (Code::NotFound, "no matches found for \"ffff\"".to_owned()));
    let unknown = refused(GetLogsRequest { app_name: "cache".to_owned(), ..request() });
    assert_eq!(unknown, (Code::NotFound, format!("no app \"cache\" in pod {UUID:?}")));
    for wrong in [
        GetLogsRequest { lines: -1, ..request() },
        GetLogsRequest { since_time: -1, ..request() },
        GetLogsRequest { pod_id: String::new(), ..request() },
    ] {
        assert_eq!(refused(wrong).0, Code::InvalidArgument);
    }
}
