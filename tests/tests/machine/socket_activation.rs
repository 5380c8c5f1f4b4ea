//! Sockets that a service manager passes to rkt: systemd-socket-activate(1) in front of a pod without a network.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::pod::{Pod, inspect_as, said};

/// Nobody else's in the machine.
const PORT: u16 = 8099;

/// systemd waits for the first connection, then starts rkt, which takes its time.
fn ask(address: &str, question: &str) -> String {
    let mut connection = loop {
        match TcpStream::connect((address, PORT)) {
            Ok(connection) => break connection,
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    };
    connection.write_all(question.as_bytes()).expect("asking");
    connection.shutdown(Shutdown::Write).expect("ending the question");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("the answer");
    answer
}

#[test]
fn connections_that_systemd_accepted_for_rkt_reach_the_app_which_has_no_network() {
    let image = inspect_as("example.com/activated", |manifest| {
        manifest["app"]["ports"] = json!([
            { "name": "shout", "protocol": "tcp", "port": PORT, "count": 1, "socketActivated": true },
            { "name": "quiet", "protocol": "tcp", "port": 8098, "count": 1, "socketActivated": true },
        ]);
    });
    let long = "long ".repeat(100_000);
    let asking = thread::spawn({
        let long = long.clone();
        move || [ask("127.0.0.1", "first"), ask("127.0.0.1", &long), ask("::1", "one"), ask("::1", "two")]
    });
    let script = format!("exec systemd-socket-activate -l 127.0.0.1:{PORT} -l '[::1]:{PORT}' \"$@\"");
    let arguments = [image.to_str().expect("UTF-8"), "--", "serve-passed", "2"];
    let mut pod = Pod::start_by_script(&script, &arguments);

    let answers = asking.join().expect("the clients");
    // What is mounted in the other name space is nothing that `rkt stop` could use.
    pod.running().send(Signal::SIGTERM);
    let output = pod.finish();

    assert_eq!(answers[0], "FIRST");
    assert!(answers[1] == long.to_uppercase(), "{} bytes", answers[1].len());
    assert_eq!(answers[2..], ["ONE", "TWO"]);
    let said = said(&output.stdout, "activated");
    assert_eq!(said[0], "sockets=3 names=shout:shout:quiet mine=true");
    assert_eq!(
        said[1..],
        ["listening on 127.0.0.1:8099", "listening on [::1]:8099", "listening on [::]:8098"]
    );
}
