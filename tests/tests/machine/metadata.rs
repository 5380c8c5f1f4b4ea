//! The metadata service as an app sees it: from inside a pod without a network, with busybox's wget.

use nix::sys::signal::Signal;
use rkt_tests::command::{Stream, limit};

use crate::network;
use crate::pod::{Pod, rkt, said};

/// What the app does, until the test stops the service.
const SCRIPT: &str = r#"
for tool in wget head wc tr sed grep cat sleep; do eval "$tool() { busybox $tool \"\$@\"; }"; done
u=$AC_METADATA_URL/acMetadata/v1
get() { wget -qO- "$u/$1"; echo; }
get pod/uuid
get apps/$AC_APP_NAME/image/id
get apps/$AC_APP_NAME/image/manifest | tr -d ' \n' | grep -o '"acKind":"[A-Za-z]*"'
get pod/manifest | wc -c
get nonsense 2>&1 | head -n 1
s=$(wget -qO- --post-data content=hello $u/pod/hmac/sign)
e=$(echo "$s" | sed 's/+/%2B/g;s/=/%3D/g;s/\//%2F/g')
id=$(wget -qO- $u/pod/uuid)
wget -qO- --post-data "uuid=$id&content=hello&signature=$e" $u/pod/hmac/verify && echo valid
wget -qO- --post-data "uuid=$id&content=forged&signature=$e" $u/pod/hmac/verify 2>/dev/null || echo forged
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 \
         21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40; do
    wget -qO- $u/pod/uuid > /tmp/answer-$n &
done
wait
cat /tmp/answer-* | grep -o "$id" | wc -l
read a < /proc/uptime; wget -qO- $u/pod/uuid > /dev/null; read b < /proc/uptime; echo "took ${a%% *} to ${b%% *}"
echo signature $e
echo stop the service
while wget -qO- $u/pod/uuid > /dev/null 2>&1; do sleep 1; done
echo unreachable
"#;

/// Another pod, on a network: who it is, and whether the first one has signed.
const VERIFY: &str = r#"
u=$AC_METADATA_URL/acMetadata/v1
busybox wget -qO- $u/pod/uuid; echo
busybox wget -qO- --post-data "uuid=UUID&content=hello&signature=SIGNATURE" $u/pod/hmac/verify && echo valid
id=$(busybox wget -qO- $u/pod/uuid)
busybox wget -qO- --post-data "uuid=$id&content=hello&signature=SIGNATURE" $u/pod/hmac/verify 2>/dev/null || echo "not this pod's"
"#;

#[test]
fn an_app_without_a_network_asks_the_metadata_service() {
    let mut service = rkt().start(["metadata-service"]);
    service.wait_for(Stream::Err, "metadata service running...", limit(30));
    let mut pod = Pod::start(&["--mds-register", "example.com/busybox", "--", "-c", SCRIPT]);

    pod.wait_for("stop the service");
    {
        let _alone = network::alone();
        let so_far = pod.running().so_far(Stream::Out);
        let signature = so_far.lines().find_map(|line| line.split_once("signature ")).expect("a signature").1;
        let verify = VERIFY.replace("UUID", &pod.uuid).replace("SIGNATURE", signature.trim_end());
        let arguments = ["--mds-register", "example.com/busybox", "--", "-c", &verify];
        let mut on_network = Pod::start_on("default", &arguments);
        let finished = on_network.finish().expect_code(0);
        let said = said(&finished.stdout, "busybox");
        assert_eq!(said, [on_network.uuid.as_str(), "valid", "not this pod's"]);
    }
    service.send(Signal::SIGTERM);
    service.finish(limit(30)).expect_code(0);
    pod.wait_for("unreachable");
    let output = pod.finish().expect_code(0);

    let said = said(&output.stdout, "busybox");
    println!("{said:#?}");
    assert_eq!(said[0], pod.uuid);
    assert!(said[1].starts_with("sha512-") && said[1].len() == 71, "{}", said[1]);
    assert_eq!(said[2], r#""acKind":"ImageManifest""#);
    assert!(said[3].trim().parse::<usize>().expect("a number") > 100, "{}", said[3]);
    assert!(said[4].contains("404"), "{}", said[4]);
    assert_eq!(said[5..8], ["valid", "forged", "40"]);
}

/// More connections than a guest may have tunnels, and than the host makes at once, none of which says anything sensible.
const FLOOD: &str = r#"
for tool in head nc wget; do eval "$tool() { busybox $tool \"\$@\"; }"; done
address=${AC_METADATA_URL#http://}; address=${address%%/*}
echo flooding
n=0
while [ $n -lt 140 ]; do
    head -c 20000 /dev/zero | nc ${address%:*} ${address#*:} > /dev/null 2>&1 &
    n=$((n + 1))
done
wait
wget -qO- $AC_METADATA_URL/acMetadata/v1/pod/uuid; echo
"#;

#[test]
fn an_app_that_floods_the_metadata_service_with_connections_harms_nobody() {
    let mut service = rkt().start(["metadata-service"]);
    service.wait_for(Stream::Err, "metadata service running...", limit(30));
    // It asks for more processors than any machine has, too: it gets those of the host.
    let arguments = ["--mds-register", "example.com/busybox", "--cpu=64", "--", "-c", FLOOD];
    let mut pod = Pod::start(&arguments);
    pod.wait_for("flooding");

    let entered = rkt().run(["enter", &pod.uuid, "/bin/busybox", "echo", "meanwhile"]);
    let output = pod.finish_within(limit(120)).expect_code(0);

    service.send(Signal::SIGTERM);
    service.finish(limit(30)).expect_code(0);
    entered.expect_code(0).expect_out("meanwhile");
    assert_eq!(said(&output.stdout, "busybox"), ["flooding", pod.uuid.as_str()]);
}

/// What an added app asks.
const ADDED: &str = r#"
for tool in wget head tr grep; do eval "$tool() { busybox $tool \"\$@\"; }"; done
u=$AC_METADATA_URL/acMetadata/v1
wget -qO- "$u/apps/$AC_APP_NAME/image/id"; echo
wget -qO- "$u/apps/$AC_APP_NAME/image/manifest" | tr -d ' \n' | grep -o '"acKind":"[A-Za-z]*"'
wget -qO- "$u/apps/gone/image/manifest" 2>&1 | head -n 1
echo asked
"#;

#[test]
fn apps_that_are_added_to_a_registered_pod_are_known_to_the_service_and_forgotten_when_they_are_removed() {
    let mut service = rkt().start(["metadata-service"]);
    service.wait_for(Stream::Err, "metadata service running...", limit(30));
    let mut pod = Pod::sandbox_with(&["--mds-register"]);
    let app = |verb: &str, rest: &[&str]| rkt().run([&["app", verb, &pod.uuid], rest].concat());

    for name in ["gone", "web"] {
        let name = format!("--name={name}");
        app("add", &["example.com/busybox", &name, "--", "-c", ADDED]).expect_code(0);
    }
    app("rm", &["--app=gone"]).expect_code(0);
    app("start", &["--app=web"]).expect_code(0);
    pod.wait_for("asked");

    service.send(Signal::SIGTERM);
    service.finish(limit(30)).expect_code(0);
    // Without the service an app is an app all the same.
    let late = rkt().run(["app", "add", &pod.uuid, "example.com/busybox", "--name=late"]).expect_code(0);
    late.expect_err("warning: the metadata service does not know the pod's apps as they are now");
    rkt().run(["stop", &pod.uuid]).expect_code(0);
    let output = pod.finish().expect_code(0);
    let said = said(&output.stdout, "web");
    assert!(said[0].starts_with("sha512-") && said[0].len() == 71, "{said:?}");
    assert_eq!(said[1], r#""acKind":"ImageManifest""#, "{said:?}");
    assert!(said[2].contains("404"), "{said:?}");
}
