//! Signed images: from a publisher's packages to a pod of two apps.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rkt_tests::authority::Authority;
use rkt_tests::dist;
use rkt_tests::gpg::Gpg;
use rkt_tests::server::{Answer, Server};

use crate::shown::{Demo, Rkt, chapter, typed};

/// Whose images these are.
const PUBLISHER: &str = "Redis packager <packager@example.com>";

/// The images, which are also the file names at the publisher's.
const IMAGES: [&str; 2] = ["redis-server", "redis-tools"];

/// Returns the pod's UUID.
pub fn play(demo: &mut Demo, rkt: &Rkt, authority: &Authority) -> String {
    chapter("The publisher builds images from Debian's packages, signs them and puts them on a server");
    let gpg = Gpg::new();
    let server = Server::https(authority);
    publish(demo, &gpg, &server);

    chapter("The user trusts the publisher's key for its images only");
    let trust = ["trust", "--prefix=example.com", "--skip-fingerprint-review", "packager.asc"];
    demo.command("trust the key", &mut rkt.command(&trust), 0, &["Added key for prefix"]);

    chapter("The user fetches the images; each signature is checked before the image enters the store");
    for name in IMAGES {
        let url = server.url(&format!("/{name}.aci"));
        let fetched = ["signature verified", "sha512-"];
        demo.command(&format!("fetch {name}"), &mut rkt.command(&["fetch", &url]), 0, &fetched);
    }

    chapter("A virtual machine with server and client: 1,000 keys written and read over the pod's loopback");
    let volume = "--volume=data,kind=empty,uid=101,gid=101";
    let pod = ["run", "--uuid-file-save=pod", volume, "example.com/redis-server", "example.com/redis-tools"];
    let said = ["Ready to accept connections", "wrote 1000 keys", "read 1000 keys back"];
    demo.command("run the pod", &mut rkt.command(&pod), 0, &said);
    let uuid = demo.read("pod");
    let codes = ["state=exited", "app-redis-server=0", "app-redis-tools=0"];
    demo.command("status", &mut rkt.command(&["status", &uuid]), 0, &codes);
    uuid
}

/// Makes the publisher's key, signs the images and serves all of it.
fn publish(demo: &mut Demo, gpg: &Gpg, server: &Server) {
    for name in IMAGES {
        let image = dist::image(name);
        fs::copy(&image, demo.path(&format!("{name}.aci"))).expect("copying an image");
    }
    let started = Instant::now();
    typed(&format!("gpg --quick-generate-key '{PUBLISHER}' ed25519 sign never"));
    let key = gpg.generate("ed25519", PUBLISHER);
    typed("gpg --armor --export packager@example.com >packager.asc");
    gpg.export(&key, &demo.path("packager.asc"));
    for name in IMAGES {
        typed(&format!("gpg --armor --detach-sign --output {name}.aci.asc {name}.aci"));
        let image = demo.path(&format!("{name}.aci"));
        let signature = gpg.sign(&key, &image);
        let read = |path: &Path| fs::read(path).expect("reading a file of ours");
        server.answer(&format!("/{name}.aci"), Answer::body(read(&image)));
        server.answer(&format!("/{name}.aci.asc"), Answer::body(read(&signature)));
    }
    println!("serving {}", server.url("/"));
    demo.done("sign and serve", started);
}
