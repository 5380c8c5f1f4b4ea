//! Ten images of Debian software, run from a registry with `docker://`, each doing what it is for. They were built and
//! pushed by `cargo xtask images`; the registry serves them here, in the machine. What each did is a row of a table
//! that the runner prints.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;
use rkt_tests::authority::Authority;
use rkt_tests::command::{Finished, Stream, limit, run};
use rkt_tests::cosign::Cosign;
use rkt_tests::dist;
use rkt_tests::registry::Registry;
use serde_json::Value;

use crate::pod::{Pod, fresh_path, rkt, said};

/// The head of the table.
const HEAD: &str = "image                    layers     MiB  seconds  what it did";

/// The registry with the ten images, and one pod of them.
struct Shop {
    registry: Registry,
    images: Vec<Value>,
    opened: Instant,
}

impl Shop {
    fn open() -> Self {
        let storage = dist::image_registry();
        let list = fs::read(storage.join("images.json")).expect("the list of images");
        let images = serde_json::from_slice(&list).expect("the list is JSON");
        Self { registry: Registry::serving(&storage), images, opened: Instant::now() }
    }

    /// What the list says about an image.
    fn image(&self, name: &str) -> &Value {
        let found = self.images.iter().find(|image| image["name"] == name);
        found.unwrap_or_else(|| panic!("no image {name} in {:?}", self.images))
    }

    /// `docker://localhost:PORT/NAME:VERSION`.
    fn reference(&self, name: &str) -> String {
        self.registry.reference(self.image(name)["reference"].as_str().expect("a reference"))
    }

    /// Runs a pod of one image to its end. Returns what the app said.
    #[track_caller]
    fn run(&self, flags: &[&str], name: &str, arguments: &[&str]) -> Vec<String> {
        let image = self.reference(name);
        let output = Pod::start(&[flags, &[&image], arguments].concat()).finish_within(limit(34));
        self.said(output, name)
    }

    /// Runs a shell script in a pod of one image.
    #[track_caller]
    fn shell(&self, flags: &[&str], name: &str, script: &str) -> Vec<String> {
        self.run(flags, name, &["--exec=/bin/sh", "--", "-c", script])
    }

    /// What the app of an image said, after the pod ended well.
    #[track_caller]
    fn said(&self, output: Finished, name: &str) -> Vec<String> {
        let output = output.expect_code(0);
        let app = name.rsplit('/').next().unwrap_or(name);
        let said = said(&output.stdout, app);
        assert!(!said.is_empty(), "{app} said nothing: {output:?}");
        said
    }

    /// Adds a row to the table, and checks that the registry had to send nothing twice.
    #[track_caller]
    fn row(&self, name: &str, did: &str) {
        let image = self.image(name);
        let layers = image["layers"].as_array().map_or(0, Vec::len);
        let mebibytes = image["bytes"].as_f64().unwrap_or_default() / f64::from(1 << 20);
        let seconds = self.opened.elapsed().as_secs_f64();
        let reference = image["reference"].as_str().unwrap_or_default();
        println!("table: {HEAD}\t{reference:<24} {layers:>6} {mebibytes:>7.1} {seconds:>8.1}  {did}");

        let mut sent = self.registry.blobs_sent();
        let all = sent.len();
        sent.sort();
        sent.dedup();
        assert_eq!(sent.len(), all, "sent twice: {:?}", self.registry.accesses());
    }
}

#[test]
fn busybox_adds_the_numbers_to_a_hundred() {
    let shop = Shop::open();

    let said = shop.run(
        &[],
        "busybox",
        &["--exec=sh", "--", "-c", "seq 1 100 | awk '{ sum += $1 } END { print \"sum \" sum }'"],
    );

    assert_eq!(said, ["sum 5050"]);
    shop.row("busybox", "added the numbers to 100 in a pipe of seq and awk");
}

#[test]
fn sqlite3_joins_and_sums() {
    let shop = Shop::open();
    let sql = "create table fruit(name, price); insert into fruit values ('apple', 30), ('pear', 12); \
               select count(*), sum(price) from fruit";

    let said = shop.run(&[], "sqlite3", &["--", ":memory:", sql]);

    assert_eq!(said, ["2|42"]);
    shop.row("sqlite3", "summed a table of its own");
}

#[test]
fn python3_runs_a_script_that_uses_its_library() {
    let shop = Shop::open();
    let script = "import hashlib, json, statistics\n\
                  print(json.dumps({'median': statistics.median([1, 5, 3]), 'sha256': \
                  hashlib.sha256(b'rkt').hexdigest()[:12]}))";

    let said = shop.run(&[], "python", &["--", "-c", script]);

    assert_eq!(said, [r#"{"median": 3, "sha256": "76b7b2738f20"}"#]);
    shop.row("python", "ran a script with json, statistics and hashlib");
}

#[test]
fn gcc_compiles_a_program_that_runs() {
    let shop = Shop::open();
    let script = "cat >/tmp/six.c <<'END'\n\
                  #include <errno.h>\n#include <stdio.h>\n#include <stdlib.h>\n\
                  int main(int count, char **words) {\n\
                  printf(\"%d times %d\\n\", atoi(words[1]), 6 * 7);\nreturn errno;\n}\n\
                  END\n\
                  gcc -O1 -Wall -Werror -o /tmp/six /tmp/six.c && /tmp/six 6";

    let said = shop.shell(&[], "gcc", script);

    assert_eq!(said, ["6 times 42"]);
    shop.row("gcc", "compiled, linked and ran a C program");
}

#[test]
fn git_clones_a_repository_from_a_volume() {
    let (shop, repository) = (Shop::open(), fresh_path("repository"));
    commit_a_file(&repository);
    let volume = format!("--volume=source,kind=host,readOnly=true,source={}", repository.display());
    let script =
        "git clone --quiet /source /tmp/clone && cd /tmp/clone && git log --format='%an: %s' && cat greeting";

    let mount = "--mount=volume=source,target=/source";
    let said = shop.shell(&[&volume, mount], "git", script);

    assert_eq!(said, ["A. Uthor: say hello", "hello from the volume"]);
    shop.row("git", "cloned a repository from a host volume");
}

/// A repository with one commit, made by this machine's git.
fn commit_a_file(repository: &Path) {
    fs::create_dir(repository).expect("creating a directory");
    fs::write(repository.join("greeting"), "hello from the volume\n").expect("writing");
    let identity = ["-c", "user.name=A. Uthor", "-c", "user.email=author@example.com"];
    for arguments in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "-m", "say hello"]] {
        let mut git = Command::new("git");
        git.arg("-C").arg(repository).args(identity).args(arguments);
        run(&mut git, limit(20)).expect_code(0);
    }
}

#[test]
fn etcd_keeps_a_value_and_gives_it_back() {
    let shop = Shop::open();
    let script = "etcd --data-dir /var/lib/etcd/default >/var/lib/etcd/log 2>&1 &\n\
                  until etcdctl endpoint health >/dev/null 2>&1; do sleep 1; done\n\
                  etcdctl put colour blue && etcdctl get colour";

    let volume = "--volume=volume-var-lib-etcd,kind=empty,mode=0700,uid=998,gid=998";
    let said = shop.shell(&[volume], "etcd", script);

    assert_eq!(said, ["OK", "colour", "blue"]);
    shop.row("etcd", "put and got a key through its own client");
}

#[test]
fn redis_counts_and_saves() {
    let shop = Shop::open();
    let script = "redis-server --dir /data >/data/log & until redis-cli ping; do sleep 1; done >/dev/null 2>&1\n\
                  redis-cli set count 41 && redis-cli incr count && redis-cli save && ls /data/dump.rdb";

    let volume = "--volume=volume-data,kind=empty,mode=0755,uid=999,gid=999";
    let said = shop.shell(&[volume], "redis", script);

    assert_eq!(said, ["OK", "42", "OK", "/data/dump.rdb"]);
    shop.row("redis", "counted, and saved to its volume");
}

#[test]
fn postgres_makes_a_cluster_and_answers_a_query() {
    let shop = Shop::open();
    let script = "initdb --no-sync --no-locale --encoding=UTF8 --auth=trust >/tmp/log 2>&1 || cat /tmp/log\n\
                  pg_ctl --wait --timeout=200 --log=/tmp/log -o '-F -c listen_addresses=' start >/dev/null || cat /tmp/log\n\
                  psql --quiet --no-align --tuples-only --command=\"create table t as select generate_series(1, 100) as n; \
                  select count(*), sum(n), substring(version() from '^[^ ]+ [0-9]+') from t\"";

    // In memory: the cluster's thousand files on virtio-fs take minutes in the emulated machine.
    let script = format!("export PGDATA=/dev/shm/data\n{script}");
    let said = shop.shell(&[], "library/postgres", &script);

    assert_eq!(said, ["100|5050|PostgreSQL 15"]);
    shop.row("library/postgres", "made a cluster, filled a table and answered a SELECT");
}

#[test]
fn curl_fetches_from_nginx_in_the_same_pod() {
    let shop = Shop::open();
    let (nginx, curl) = (shop.reference("library/nginx"), shop.reference("curl"));
    let options =
        ["--", "--silent", "--show-error", "--retry", "60", "--retry-delay", "1", "--retry-connrefused"];

    let mut pod = Pod::start(&[&[&*nginx, &curl], &options[..], &["http://127.0.0.1/"]].concat());
    pod.running().wait_for(Stream::Out, "</html>", limit(34));
    pod.running().send(Signal::SIGTERM);

    let output = pod.finish_within(limit(34));
    let page = said(&output.stdout, "curl");
    assert!(page.iter().any(|line| line.contains("<h1>Welcome to nginx!</h1>")), "{output:?}");
    let log = said(&output.stdout, "nginx");
    assert!(log.iter().any(|line| line.contains("\"GET / HTTP/1.1\" 200")), "{output:?}");
    shop.row("library/nginx", "served a page to curl in the same pod");
    shop.row("curl", "fetched nginx's page");
}

#[test]
fn a_signed_image_from_a_registry_with_tls_runs_without_insecure_options() {
    let (shop, authority, cosign) = (Shop::open(), Authority::new(), Cosign::new());
    let registry = Registry::https(&authority);
    let source = ["--all", "--preserve-digests", "--src-tls-verify=false", "--src-no-creds"];
    let digest = registry.push_with(&shop.reference("sqlite3"), "signed/sqlite3:1", &source);
    cosign.sign(&registry, "signed/sqlite3", &digest);
    let (prefix, key) = (registry.host().replace(':', "_") + "/signed", cosign.public_key());
    let trust = ["trust", "--skip-fingerprint-review", "--prefix", &prefix, key.to_str().expect("UTF-8")];
    rkt().run(trust).expect_code(0);

    let image = registry.reference("signed/sqlite3:1");
    let mut command = rkt().command(["run", "--net=none", &image, "--", ":memory:", "select 6 * 7"]);
    let output = run(command.env("SSL_CERT_FILE", authority.certificate()), limit(34));

    assert_eq!(shop.said(output, "sqlite3"), ["42"]);
}
