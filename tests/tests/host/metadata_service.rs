//! `rkt metadata-service`: what apps are told, with the real rkt that registers pods and the real curl that asks.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rkt_tests::aci::{self, Aci};
use rkt_tests::command::{self, Finished, Running, Stream, limit};
use rkt_tests::metadata_service::with_run_rkt;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use serde_json::{Value, json};

use crate::api_listen::activated;
use crate::publisher::{self, run_arguments};

const TEXT: &str = "text/plain; charset=us-ascii";
const JSON: &str = "application/json";
const UUID: &str = "5bc080ca-5a6f-4d4b-8f26-2c6b1b0b7a11";

/// The real service, in a `/run/rkt` of its own.
struct Service {
    running: Running,
    sockets: PathBuf,
    url: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    kind: String,
    body: String,
}

fn sockets(rkt: &TestRkt) -> PathBuf {
    let directory = rkt.path("run-rkt");
    fs::create_dir_all(&directory).expect("a directory");
    directory
}

impl Service {
    fn start(rkt: &TestRkt) -> Self {
        let sockets = sockets(rkt);
        let command = rkt.command(["--debug", "metadata-service", "--listen-port=0"]);
        let mut running = Running::start(&mut with_run_rkt(&sockets, &command));
        running.wait_for(Stream::Err, "metadata-service: metadata service running...", limit(30));
        let said = running.so_far(Stream::Err);
        let line = said.lines().find_map(|line| line.split_once("listening on ")).expect("an address").1;
        let port = line.rsplit(':').next().expect("a port");
        let url = format!("http://127.0.0.1:{port}");
        Self { running, sockets, url }
    }

    /// rkt where this service is the host's.
    #[track_caller]
    fn rkt(&self, rkt: &TestRkt, arguments: &[&str]) -> Finished {
        command::run(&mut with_run_rkt(&self.sockets, &rkt.command(arguments)), limit(60))
    }

    fn register(&self, method: &str, path: &str, body: &str) -> Answer {
        let socket = self.sockets.join("metadata-svc.sock");
        let url = format!("http://metadata{path}");
        let socket = socket.to_str().expect("UTF-8");
        curl(&["--unix-socket", socket, "-X", method, "--data-binary", body, &url])
    }

    fn get(&self, path: &str) -> Answer {
        curl(&[&format!("{}/{path}", self.url)])
    }

    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let url = format!("{}/{path}", self.url);
        let mut arguments = vec![url.as_str(), "-X", "POST"];
        fields.iter().for_each(|field| arguments.extend(["--data-urlencode", field]));
        curl(&arguments)
    }

    fn stop(self) -> Finished {
        self.running.send(Signal::SIGTERM);
        self.running.finish(limit(60))
    }
}

fn curl(arguments: &[&str]) -> Answer {
    let format = "\n%{http_code} %{content_type}";
    let mut command = Command::new("curl");
    let output = command.args(["-sS", "--max-time", "60", "-w", format]).args(arguments).output();
    let output = output.expect("curl runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let (body, rest) = said.rsplit_once('\n').expect("what was asked for");
    let (status, kind) = rest.split_once(' ').expect("what was asked for");
    Answer { status: status.parse().expect("a number"), kind: kind.to_owned(), body: body.to_owned() }
}

fn ok(kind: &str, body: &str) -> Answer {
    Answer { status: 200, kind: kind.to_owned(), body: body.to_owned() }
}

fn pod_manifest() -> String {
    let id = format!("sha512-{}", "0123456789abcdef".repeat(4));
    json!({
        "acVersion": "0.8.11",
        "acKind": "PodManifest",
        "annotations": [{"name": "example.com/ip-address", "value": "10.1.2.3"}],
        "apps": [{
            "name": "web",
            "image": {"name": "example.com/web", "id": id},
            "annotations": [{"name": "colour", "value": "of the pod"}, {"name": "only-pod", "value": "p"}],
        }],
    })
    .to_string()
}

fn image_manifest() -> String {
    let mut manifest = aci::manifest("example.com/web");
    manifest["annotations"] =
        json!([{"name": "colour", "value": "of the image"}, {"name": "only-image", "value": "i"}]);
    // Not as a program would write it.
    serde_json::to_string_pretty(&manifest).expect("JSON") + "\n"
}

fn with_pod(rkt: &TestRkt) -> Service {
    let service = Service::start(rkt);
    let path = format!("/pods/{UUID}?token=tok");
    assert_eq!(service.register("PUT", &path, &pod_manifest()).status, 200);
    assert_eq!(service.register("PUT", &format!("/pods/{UUID}/web"), &image_manifest()).status, 200);
    service
}

#[test]
fn every_path_answers_with_the_type_of_the_specification() {
    let rkt = TestRkt::new();
    let service = with_pod(&rkt);
    let get = |path: &str| service.get(&format!("tok/acMetadata/v1{path}"));
    let annotations = |pairs: &[(&str, &str)]| {
        let list: Vec<Value> =
            pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        ok(JSON, &Value::from(list).to_string())
    };
    let web = [("colour", "of the pod"), ("only-image", "i"), ("only-pod", "p")];
    let id = format!("sha512-{}", "0123456789abcdef".repeat(4));

    assert_eq!(get("/pod/uuid"), ok(TEXT, UUID));
    assert_eq!(get("/pod/manifest"), ok(JSON, &pod_manifest()));
    assert_eq!(get("/pod/annotations"), annotations(&[("example.com/ip-address", "10.1.2.3")]));
    assert_eq!(get("/pod/annotations/example.com/ip-address"), ok(TEXT, "10.1.2.3"));
    assert_eq!(get("/apps/web/annotations"), annotations(&web));
    for (name, value) in web {
        assert_eq!(get(&format!("/apps/web/annotations/{name}")), ok(TEXT, value));
    }
    assert_eq!(get("/apps/web/image/manifest"), ok(JSON, &image_manifest()));
    assert_eq!(get("/apps/web/image/id"), ok(TEXT, &id));

    for missing in ["/pod/annotations/none", "/apps/web/annotations/none", "/apps/db/image/id", "/pod/else"] {
        assert_eq!(get(missing).status, 404, "{missing}");
    }
    assert_eq!(get("/pod/annotations/NOT_VALID").status, 400);
    assert_eq!(get("/pod/hmac/sign").status, 405);
    assert_eq!(service.post("tok/acMetadata/v1/pod/uuid", &[]).status, 405);
    for path in ["pod/uuid", "pod/manifest", "pod/annotations", "apps/web/image/id", "apps/db/annotations"] {
        assert_eq!(service.get(&format!("other/acMetadata/v1/{path}")).status, 401, "{path}");
    }
    assert_eq!(service.get("").status, 404);

    let output = service.stop().expect_code(0).expect_err("metadata service exiting...");
    assert!(output.err().contains("GET /…/acMetadata/v1/pod/uuid - 200"), "{}", output.err());
    assert!(!output.err().contains("tok/"), "a token in the log: {}", output.err());
}

#[test]
fn registrations_are_checked_and_can_be_taken_back() {
    let rkt = TestRkt::new();
    let service = with_pod(&rkt);
    let path = format!("/pods/{UUID}?token=tok");
    let pod = pod_manifest();

    for (method, path, body, status) in [
        ("PUT", "/pods/nonsense?token=x", pod.as_str(), 400),
        ("PUT", "/pods/00000000-0000-4000-8000-000000000000", &pod, 404),
        ("PUT", &format!("/pods/{UUID}"), "{", 400),
        ("PUT", &format!("/pods/{UUID}?token="), &pod, 400),
        ("PUT", &format!("/pods/{UUID}?token=a&token=b"), &pod, 400),
        ("PUT", &path, "{", 400),
        ("PUT", "/pods/00000000-0000-4000-8000-000000000000?token=tok", &pod, 400),
        ("PUT", &format!("/pods/{UUID}/NOT_VALID"), &image_manifest(), 400),
        ("PUT", &format!("/pods/{UUID}/web"), &pod, 400),
        ("PUT", "/pods/00000000-0000-4000-8000-000000000000/web", &image_manifest(), 404),
        ("DELETE", "/pods/00000000-0000-4000-8000-000000000000", "", 404),
        ("DELETE", "/pods/nonsense", "", 400),
        ("POST", &path, &pod, 405),
        ("PUT", "/", &pod, 404),
    ] {
        assert_eq!(service.register(method, path, body).status, status, "{method} {path}");
    }
    assert_eq!(service.get("tok/acMetadata/v1/pod/uuid"), ok(TEXT, UUID), "nothing has changed");

    assert_eq!(service.register("DELETE", &format!("/pods/{UUID}"), "").status, 200);
    assert_eq!(service.get("tok/acMetadata/v1/pod/uuid").status, 401);
    service.stop().expect_code(0);
}

#[test]
fn signatures_are_the_pods_own() {
    let rkt = TestRkt::new();
    let service = with_pod(&rkt);
    let other = "00000000-0000-4000-8000-000000000002";
    service.register("PUT", &format!("/pods/{other}?token=two"), &pod_manifest());
    let content = "who am I? 100% + a&b=c\nfi\u{fb}";
    let sign =
        |token: &str| service.post(&format!("{token}/acMetadata/v1/pod/hmac/sign"), &[("content", content)]);
    let verify = |fields: &[(&str, &str)]| service.post("two/acMetadata/v1/pod/hmac/verify", fields);

    let answer = sign("tok");
    let signature = answer.body.as_str();

    assert_eq!((answer.status, answer.kind.as_str(), signature.len()), (200, TEXT, 88));
    let valid = [("uuid", UUID), ("content", content), ("signature", signature)];
    assert_eq!(verify(&valid).status, 200);
    assert_eq!(verify(&[("uuid", other), valid[1], valid[2]]).status, 403, "another pod");
    assert_eq!(verify(&[valid[0], ("content", "forged"), valid[2]]).status, 403);
    assert_eq!(verify(&[valid[0], valid[1], ("signature", &sign("two").body)]).status, 403);
    assert_eq!(verify(&[valid[0], valid[1], ("signature", "AAAA")]).status, 403, "too short");
    for malformed in [
        vec![valid[1], valid[2]],
        vec![valid[0], valid[2]],
        vec![valid[0], valid[1]],
        vec![("uuid", "nonsense"), valid[1], valid[2]],
        vec![valid[0], valid[1], ("signature", "not base64!")],
    ] {
        assert_eq!(verify(&malformed).status, 400, "{malformed:?}");
    }
    assert_eq!(service.post("tok/acMetadata/v1/pod/hmac/sign", &[("content", "")]).status, 400);
    for path in ["sign", "verify"] {
        let path = format!("none/acMetadata/v1/pod/hmac/{path}");
        assert_eq!(service.post(&path, &valid).status, 401);
    }
    service.stop().expect_code(0);
}

#[test]
fn pods_that_rkt_runs_see_themselves_and_nobody_else() {
    let rkt = publisher::rkt();
    let service = Service::start(&rkt);
    let mut manifest = aci::manifest("example.com/web");
    manifest["annotations"] = json!([{"name": "authors", "value": "somebody"}]);
    Aci::new(&manifest).file("rootfs/app", 0o755, b"#!/bin/sh\n").write(&rkt.path("web.aci"));
    let mut pods = Vec::new();
    for name in ["one", "two"] {
        let save = format!("--uuid-file-save={name}");
        let arguments = run_arguments(&["--mds-register", "--net=none", &save, "./web.aci"]);
        service.rkt(&rkt, &arguments).expect_code(0);
        let uuid = rkt.uuid(name);
        let directory = rkt.data().join("pods/run").join(&uuid);
        let arguments = fs::read_to_string(directory.join("stub-arguments")).expect("the stub wrote it");
        let token = arguments.lines().find_map(|line| line.strip_prefix("--mds-token=")).expect("a token");
        pods.push((uuid, token.to_owned(), directory));
    }

    for (uuid, token, directory) in &pods {
        let get = |path: &str| service.get(&format!("{token}/acMetadata/v1/{path}"));
        let read = |file: &str| fs::read_to_string(directory.join(file)).expect("a manifest");
        assert_eq!(get("pod/uuid"), ok(TEXT, uuid));
        assert_eq!(get("pod/manifest"), ok(JSON, &read("pod")));
        assert_eq!(get("apps/web/image/manifest"), ok(JSON, &read("appsinfo/web/manifest")));
        assert_eq!(get("apps/web/annotations/authors"), ok(TEXT, "somebody"));
    }
    service.rkt(&rkt, &["gc", "--grace-period=0s"]).expect_code(0);
    for (_, token, _) in &pods {
        assert_eq!(service.get(&format!("{token}/acMetadata/v1/pod/uuid")).status, 401);
    }
    service.stop().expect_code(0);
}

#[test]
fn fifty_clients_at_once_are_all_answered() {
    let rkt = TestRkt::new();
    let service = with_pod(&rkt);
    let url = format!("{}/tok/acMetadata/v1/pod/uuid", service.url);
    let began = Instant::now();
    assert_eq!(curl(&[&url]), ok(TEXT, UUID));
    println!("one request with curl: {:?}", began.elapsed());

    let clients: Vec<_> = (0..50)
        .map(|_| {
            thread::spawn({
                let url = url.clone();
                move || curl(&[&url, &url])
            })
        })
        .collect();

    for client in clients {
        let answer = client.join().expect("nobody panics");
        assert!(answer.status == 200 && answer.body.contains(UUID), "{answer:?}");
    }
    service.stop().expect_code(0);
}

#[test]
fn clients_that_stall_or_talk_nonsense_harm_nobody() {
    let rkt = TestRkt::new();
    let service = with_pod(&rkt);
    let address = service.url.trim_start_matches("http://").to_owned();
    let connect = || {
        let stream = TcpStream::connect(&address).expect("a connection");
        stream.set_read_timeout(Some(limit(60))).expect("a socket");
        stream
    };
    let silent: Vec<TcpStream> = (0..200).map(|_| connect()).collect();
    let mut slow = connect();
    slow.write_all(b"POST /tok/acMetadata/v1/pod/hmac/sign HTTP/1.1\r\nContent-Length: 100\r\n\r\ncontent=")
        .expect("writing");
    let long_header =
        format!("GET /tok/acMetadata/v1/pod/uuid HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(10_000));
    for nonsense in [b"\0\xff\r\n\r\n".as_slice(), long_header.as_bytes(), many_headers.as_bytes()] {
        let mut stream = connect();
        // The service may close before it has read everything.
        let _ = stream.write_all(nonsense);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&said));
    }
    let large = rkt.path("large");
    fs::write(&large, vec![b'x'; 2 * 1024 * 1024]).expect("writing");
    let large = format!("content@{}", large.display());
    let url = format!("{}/tok/acMetadata/v1/pod/hmac/sign", service.url);
    assert_eq!(curl(&["--data-urlencode", &large, &url]).status, 413);

    assert_eq!(service.get("tok/acMetadata/v1/pod/uuid"), ok(TEXT, UUID));
    // Both lose the service's patience.
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    for mut stream in silent {
        let _ = stream.read(&mut [0; 100]).expect("the end, or 408");
    }
    service.stop().expect_code(0);
}

#[test]
fn a_service_that_is_started_again_knows_no_pods() {
    let rkt = TestRkt::new();
    let mut first = with_pod(&rkt);
    let file = first.sockets.join("metadata-svc.sock");
    let mode =
        |name: &str| fs::metadata(first.sockets.join(name)).expect("a socket").permissions().mode() & 0o777;
    assert_eq!((mode("metadata-svc.sock"), mode("metadata-svc-public.sock")), (0o660, 0o660));
    let public = first.sockets.join("metadata-svc-public.sock");
    let url = "http://metadata/tok/acMetadata/v1/pod/uuid";
    assert_eq!(curl(&["--unix-socket", public.to_str().expect("UTF-8"), url]), ok(TEXT, UUID));
    first.running.send(Signal::SIGKILL);
    while !first.running.has_ended() {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(file.exists(), "nobody removed it");

    let second = Service::start(&rkt);

    assert_eq!(second.get("tok/acMetadata/v1/pod/uuid").status, 401);
    second.stop().expect_code(0);
    assert!(!file.exists() && !public.exists());
}

#[test]
fn sockets_of_the_service_manager_are_used_each_for_what_it_is() {
    let rkt = TestRkt::new();
    let sockets = sockets(&rkt);
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", port.local_addr().expect("an address"));
    let bind = |name: &str| UnixListener::bind(sockets.join(name)).expect("a socket");
    let passed = vec![bind("metadata-svc-public.sock").into(), port.into(), bind("metadata-svc.sock").into()];
    let command = with_run_rkt(&sockets, &rkt.command(["metadata-service"]));
    let mut running = Running::start(&mut activated(&command, passed));
    running.wait_for(Stream::Err, "metadata service running...", limit(30));
    let service = Service { running, sockets: sockets.clone(), url };

    let path = format!("/pods/{UUID}?token=tok");
    assert_eq!(service.register("PUT", &path, &pod_manifest()).status, 200);
    assert_eq!(service.get("tok/acMetadata/v1/pod/uuid"), ok(TEXT, UUID));
    service.stop().expect_code(0);
    assert!(sockets.join("metadata-svc.sock").exists(), "it is the manager's");

    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let command = with_run_rkt(&sockets, &rkt.command(["metadata-service", "--listen-port=0"]));
    let both = Running::start(&mut activated(&command, vec![port.into()]));
    both.finish(limit(30)).expect_code(RKT_FAILED).expect_err("--listen-port cannot be used together");
}

#[test]
fn a_port_that_cannot_be_had_is_named() {
    let rkt = TestRkt::new();
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let listen = format!("--listen-port={port}");
    let command = rkt.command(["metadata-service", &listen]);

    let output = command::run(&mut with_run_rkt(&sockets(&rkt), &command), limit(30));

    let expected = format!("metadata-service: error listening on port {port}: ");
    output.expect_code(RKT_FAILED).expect_err(&expected);
    for port in ["-1", "65536", "http"] {
        rkt.run(["metadata-service", &format!("--listen-port={port}")]).expect_code(RKT_FAILED);
    }
}
