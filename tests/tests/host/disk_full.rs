//! A disk that fills up while a layer is fetched or an image is rendered: the error says so, nothing half-stored is
//! believed, and what was finished is used. What happens to a single ACI is the subject of `store_crash`.

use nix::mount::{MsFlags, mount};
use rkt_tests::aci::{self, Aci};
use rkt_tests::cas;
use rkt_tests::oci::{Image, Layer, Layout};
use rkt_tests::random::Random;
use rkt_tests::registry::Registry;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::publisher::{self, run_arguments};

/// An rkt whose data directory has room for `mebibytes`.
fn rkt_with_room(mebibytes: u32) -> TestRkt {
    let rkt = publisher::rkt();
    room(&rkt, mebibytes, MsFlags::empty());
    rkt
}

/// Makes the data directory a file system of that size, or gives the one it is another size.
fn room(rkt: &TestRkt, mebibytes: u32, flags: MsFlags) {
    let options = format!("size={mebibytes}m,mode=0755");
    let (kind, data) = (Some("tmpfs"), rkt.data());
    mount(kind, &data, kind, flags, Some(options.as_str())).expect("mounting");
}

/// An ACI with one file that does not compress.
fn image(rkt: &TestRkt, name: &str, mebibytes: usize) -> String {
    let path = rkt.path(&format!("{name}.aci"));
    let content = Random::new().bytes(mebibytes << 20);
    let manifest = aci::manifest(&format!("example.com/{name}"));
    Aci::new(&manifest).file("rootfs/app", 0o755, &content).write(&path);
    path.to_str().expect("UTF-8").to_owned()
}

fn fetch(image: &str) -> [&str; 3] {
    ["fetch", "--insecure-options=image,http", image]
}

#[test]
fn a_layer_that_fills_the_disk_leaves_the_finished_ones_to_be_used() {
    let (rkt, registry) = (rkt_with_room(12), Registry::http());
    let layer = |mebibytes: usize| {
        Layer::new(&Aci::empty().file("file", 0o644, &Random::new().bytes(mebibytes << 20)))
    };
    let image = Image::new([layer(1), layer(20)]);
    registry.push(&Layout::of(&image).reference("latest"), "app:latest");
    let reference = registry.reference("app");

    let output = rkt.run(fetch(&reference));

    output.expect_code(RKT_FAILED).expect_err("No space left on device");
    cas::check(&rkt.data());
    assert!(!cas::layers(&rkt.data()).contains(&image.layers[1].diff_id()));
    room(&rkt, 64, MsFlags::MS_REMOUNT);
    rkt.run(fetch(&reference)).expect_code(0);
    let small = registry.blobs_sent().into_iter().filter(|digest| *digest == image.layers[0].digest());
    assert_eq!(small.count(), 1);
}

#[test]
fn a_rendering_that_fills_the_disk_says_so_and_is_done_again_from_the_start() {
    let rkt = rkt_with_room(20);
    let image = image(&rkt, "app", 12);

    let output = rkt.run(fetch(&image));

    output.expect_code(RKT_FAILED).expect_err("No space left on device").expect_err("rootfs/app");
    cas::check(&rkt.data());
    room(&rkt, 64, MsFlags::MS_REMOUNT);
    rkt.run(run_arguments(&["example.com/app"])).expect_code(0);
    let apps = rkt.data().join("cas/tree");
    let rendered = cas::files(&apps).into_iter().filter(|path| path.ends_with("rootfs/app"));
    let sizes: Vec<u64> = rendered.map(|path| path.metadata().expect("a file").len()).collect();
    assert!(
        sizes.contains(&(12 << 20)) && sizes.iter().all(|size| [11, 12 << 20].contains(size)),
        "{sizes:?}"
    );
}
