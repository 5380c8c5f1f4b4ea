//! The demo: what users do, command by command, on Debian's software. Run by `cargo xtask demo` where KVM works.
//!
//! It shows every command as it would be typed, lets its output through, says how long it took, and checks what came
//! out. Keys, servers, a registry and a certificate authority are made for the occasion and thrown away; rkt's own
//! directories are replaced by empty ones in a mount namespace of the demo's.
// A demo that meets something unexpected has nothing better to do than to end with a message.
#![allow(clippy::expect_used, clippy::panic)]

mod directories;
mod redis;
mod sandbox;
mod service;
mod shown;

use std::process::ExitCode;

use rkt_tests::authority::Authority;
use rkt_tests::leaks;

use directories::PrivateDirectories;
use service::{Shop, Web};
use shown::{Demo, Rkt, chapter};

fn main() -> ExitCode {
    // A check that fails panics, and the panic's message is the reason; all that is missing then is the verdict.
    match std::panic::catch_unwind(run) {
        Ok(()) => {
            println!("demo: ok");
            ExitCode::SUCCESS
        }
        Err(_) => {
            println!("demo: FAILED");
            ExitCode::FAILURE
        }
    }
}

fn run() {
    let work = tempfile::Builder::new().prefix("rkt-demo-").tempdir().expect("a directory");
    let mut demo = Demo::new(work.path());
    let _private = PrivateDirectories::mount();
    let authority = Authority::new();
    let rkt = Rkt::new(&authority);

    let mut pods = vec![redis::play(&mut demo, &rkt, &authority)];

    let shop = Shop::open();
    let web = Web::start(&mut demo, &rkt, &shop);
    pods.extend(sandbox::play(&mut demo, &rkt, &shop, &web));
    pods.push(web.stop(&mut demo, &rkt));

    chapter("What is left of them, until it is collected");
    let all = ["redis-server", "redis-tools", "nginx", "gcc", "exited"];
    demo.command("list", &mut rkt.command(&["list"]), 0, &all);
    let gc = ["gc", "--grace-period=0s"];
    demo.command("collect garbage", &mut rkt.command(&gc), 0, &["Garbage collecting pod"]);
    let list = demo.command("list again", &mut rkt.command(&["list", "--no-legend"]), 0, &[]);
    assert!(list.trim().is_empty(), "a pod is left after gc: {list}");
    let left: Vec<String> = pods.iter().flat_map(|uuid| leaks::of_pod(uuid)).collect();
    assert!(left.is_empty(), "left behind: {left:#?}");

    demo.summary();
}
