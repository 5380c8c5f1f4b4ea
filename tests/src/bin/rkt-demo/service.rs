//! A service: nginx from a registry, with a port of the host's.

use std::fs;
use std::net::TcpListener;
use std::time::Instant;

use rkt_tests::dist;
use rkt_tests::registry::Registry;
use serde_json::Value;

use crate::shown::{Background, Demo, Rkt, chapter};

/// Where the pod's UUID is.
const UUID_FILE: &str = "web";

/// A registry with container images of Debian's software.
pub struct Shop {
    registry: Registry,
    images: Vec<Value>,
}

impl Shop {
    /// Opens it on this host's loopback.
    pub fn open() -> Self {
        let storage = dist::image_registry();
        let list = fs::read(storage.join("images.json")).expect("the list of images");
        let images = serde_json::from_slice(&list).expect("the list is JSON");
        Self { registry: Registry::serving(&storage), images }
    }

    /// `docker://localhost:PORT/NAME:VERSION`.
    pub fn reference(&self, name: &str) -> String {
        let image = self.images.iter().find(|image| image["name"] == name);
        let reference = image.and_then(|image| image["reference"].as_str());
        self.registry.reference(reference.unwrap_or_else(|| panic!("no image {name} in the registry")))
    }
}

/// The service while it runs.
pub struct Web {
    pod: Option<Background>,
    uuid: String,
    /// The pod's own address.
    pub address: String,
    /// Its URL on this host.
    pub url: String,
}

impl Web {
    /// Starts it, and fetches its page.
    pub fn start(demo: &mut Demo, rkt: &Rkt, shop: &Shop) -> Self {
        chapter("A service: nginx from a registry, in a virtual machine, on a port of this host's");
        let port = free_port();
        let (save, port_flag) = (format!("--uuid-file-save={UUID_FILE}"), format!("--port=80-tcp:{port}"));
        let image = shop.reference("library/nginx");
        let fetch = ["fetch", "--insecure-options=image,http", &image];
        demo.command("fetch nginx", &mut rkt.command(&fetch), 0, &["sha512-"]);
        let started = Instant::now();
        let run = ["run", "--insecure-options=image,http", &save, &port_flag, &image];
        let pod = Some(demo.background(&mut rkt.command(&run)));
        let url = format!("http://127.0.0.1:{port}/");
        let mut web = Self { pod, uuid: String::new(), address: String::new(), url };
        demo.await_file(UUID_FILE);
        web.uuid = demo.read(UUID_FILE);
        let ready = ["status", "--wait-ready", &web.uuid];
        demo.command("until the pod is ready", &mut rkt.command(&ready), 0, &["state=running"]);
        // nginx may still be on its way.
        let patience = "--retry 60 --retry-delay 1 --retry-all-errors";
        let fetch = format!("curl --silent {patience} {} | grep h1", web.url);
        demo.shell("fetch its page with curl", &fetch, 0, &["Welcome to nginx!"]);
        println!("(from its start to its page: {:.1} s)", started.elapsed().as_secs_f64());

        let status = demo.command("status", &mut rkt.command(&["status", &web.uuid]), 0, &["state=running"]);
        let address = status.lines().find_map(|line| line.strip_prefix("networks=default:ip4="));
        web.address = address.expect("the pod is on the default network").to_owned();
        web
    }

    /// Stops it; returns the pod's UUID.
    pub fn stop(mut self, demo: &mut Demo, rkt: &Rkt) -> String {
        chapter("The service stops in order");
        let fetch = format!("curl --silent --show-error {} | grep h1", self.url);
        demo.shell("fetch the page again", &fetch, 0, &["Welcome to nginx!"]);
        demo.command("stop nginx", &mut rkt.command(&["stop", &self.uuid]), 0, &[&self.uuid]);
        let (status, said, _) = self.pod.take().expect("it was started").wait();
        assert!(status.success(), "the service's rkt run: {status}");
        assert!(said.contains("\"GET / HTTP/1.1\" 200"), "nginx did not log the requests");
        demo.command("status", &mut rkt.command(&["status", &self.uuid]), 0, &["app-nginx=0"]);
        std::mem::take(&mut self.uuid)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        if let Some(pod) = self.pod.take() {
            pod.interrupt();
            pod.wait();
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
