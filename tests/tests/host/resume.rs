//! Downloads that were interrupted, by a broken connection or by kill -9, and what the next one does with what is left.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rkt_tests::aci::Aci;
use rkt_tests::command::limit;
use rkt_tests::gpg::{Gpg, Key};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::server::{Answer, Delivery, Server, header};

use crate::publisher::{blobs, files_below, image_id, small_image, trusted_key};

/// Enough that half of it is not in some buffer.
const CONTENT_BYTES: usize = 4 << 20;
const YESTERDAY: &str = "Sat, 21 Nov 2026 12:00:00 GMT";

/// A server that has an image, and an rkt that trusts its signer.
struct Download {
    rkt: TestRkt,
    server: Server,
    gpg: Gpg,
    key: Key,
    image: Aci,
    bytes: Vec<u8>,
}

/// An image whose compressed form is as large as its content.
fn large_image(seed: u32) -> Aci {
    let mut state = seed;
    let content = std::iter::repeat_with(|| {
        // xorshift32 (Marsaglia 2003): gzip finds nothing in it.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    });
    small_image().file("rootfs/data", 0o644, &content.take(CONTENT_BYTES).collect::<Vec<u8>>())
}

impl Download {
    fn new() -> Self {
        let (rkt, gpg) = (TestRkt::new(), Gpg::new());
        let key = trusted_key(&rkt, &gpg);
        let image = large_image(1);
        let bytes = image.gzip();
        let download = Self { rkt, server: Server::http(), gpg, key, image, bytes };
        download.sign(&download.bytes);
        download
    }

    /// Serves the signature over these bytes.
    fn sign(&self, bytes: &[u8]) {
        let file = self.rkt.path("to-be-signed");
        fs::write(&file, bytes).expect("writing an image");
        let signature = fs::read(self.gpg.sign(&self.key, &file)).expect("gpg wrote a signature");
        self.server.answer("/app.aci.asc", Answer::body(signature));
    }

    fn half(&self) -> usize {
        self.bytes.len() / 2
    }

    fn whole(&self) -> Answer {
        Answer::body(self.bytes.clone())
    }

    /// What is kept of interrupted downloads, but the notes on them.
    fn kept(&self) -> Vec<PathBuf> {
        let mut files = files_below(&self.rkt.data().join("cas/tmp/downloads"));
        files.retain(|path| path.extension().is_none());
        files
    }

    /// Starts a fetch, and kills it when half of the image is there.
    fn kill_half_way(&self, answer: Answer) {
        let half = self.half();
        self.server.answer("/app.aci", answer.delivered(Delivery::StallAfter(half)));
        let mut fetch = self.rkt.start(["fetch", &self.server.url("/app.aci")]);
        let deadline = Instant::now() + limit(30);
        let arrived = || {
            self.kept().iter().any(|path| fs::metadata(path).is_ok_and(|found| found.len() == half as u64))
        };
        while !arrived() {
            assert!(!fetch.has_ended() && Instant::now() < deadline, "half of the image did not arrive");
            std::thread::sleep(Duration::from_millis(10));
        }
        fetch.send(Signal::SIGKILL);
        assert_eq!(fetch.finish(limit(30)).code(), 128 + 9);
        assert!(blobs(&self.rkt).is_empty(), "half an image is in the store");
        self.server.forget();
    }

    fn fetch(&self) -> rkt_tests::command::Finished {
        self.rkt.run(["fetch", &self.server.url("/app.aci")])
    }

    /// `Range` of every request for the image.
    fn ranges(&self) -> Vec<Option<String>> {
        let heads = self.server.heads();
        let of_image = heads.iter().filter(|head| head.starts_with("GET /app.aci "));
        of_image.map(|head| header(head, "range").map(str::to_owned)).collect()
    }

    fn range_from_half(&self) -> Option<String> {
        Some(format!("bytes={}-", self.half()))
    }
}

#[test]
fn killed_download_is_continued_where_it_stopped() {
    let download = Download::new();
    download.kill_half_way(download.whole().etag("\"one\""));
    download.server.answer("/app.aci", download.whole().etag("\"one\""));

    let output = download.fetch().expect_code(0).expect_out(&image_id(&download.image));

    output.expect_err("signature verified:");
    assert_eq!(download.ranges(), [download.range_from_half()]);
    let heads = download.server.heads();
    assert!(heads.iter().any(|head| header(head, "if-range") == Some("\"one\"")), "{heads:?}");
    assert_eq!(download.kept(), [""; 0].map(PathBuf::from));
}

#[test]
fn date_of_the_last_change_does_as_well_as_an_entity_tag() {
    let download = Download::new();
    download.kill_half_way(download.whole().last_modified(YESTERDAY));
    download.server.answer("/app.aci", download.whole().last_modified(YESTERDAY));

    download.fetch().expect_code(0).expect_out(&image_id(&download.image));

    assert_eq!(download.ranges(), [download.range_from_half()]);
}

#[test]
fn changed_image_is_downloaded_from_the_start() {
    let mut download = Download::new();
    download.kill_half_way(download.whole().etag("\"one\""));
    download.image = large_image(2);
    download.bytes = download.image.gzip();
    download.sign(&download.bytes);
    download.server.answer("/app.aci", download.whole().etag("\"two\""));

    let output = download.fetch().expect_code(0).expect_out(&image_id(&download.image));

    output.expect_err("starting over");
}

#[test]
fn server_that_does_not_or_wrongly_continue_is_asked_for_everything() {
    let ways: [fn(Answer) -> Answer; 3] =
        [Answer::ignoring_ranges, Answer::with_wrong_ranges, Answer::refusing_ranges];
    for way in ways {
        let download = Download::new();
        download.kill_half_way(download.whole().etag("\"one\""));
        download.server.answer("/app.aci", way(download.whole().etag("\"one\"")));

        let output = download.fetch().expect_code(0).expect_out(&image_id(&download.image));

        output.expect_err("starting over");
    }
}

#[test]
fn connection_that_breaks_is_made_again_by_the_same_command() {
    let download = Download::new();
    let cut = Delivery::CutAfter(download.half());
    let (first, second) = (download.whole().etag("\"one\"").delivered(cut), download.whole().etag("\"one\""));
    download.server.answers("/app.aci", [first, second]);

    let output = download.fetch().expect_code(0).expect_out(&image_id(&download.image));

    output.expect_err("interrupted after");
    assert_eq!(download.ranges(), [None, download.range_from_half()]);
}

#[test]
fn download_that_cannot_be_continued_is_not_kept() {
    let download = Download::new();
    let cut = Delivery::CutAfter(download.half());
    for answer in [download.whole(), download.whole().etag("W/\"weak\"").ignoring_ranges()] {
        download.server.answer("/app.aci", answer.delivered(cut.clone()));

        download.fetch().expect_code(RKT_FAILED).expect_err("truncated");

        assert_eq!(download.kept(), [""; 0].map(PathBuf::from));
    }
}

#[test]
fn download_that_goes_on_breaking_is_kept_for_the_next_command() {
    let download = Download::new();
    let whole = || download.whole().etag("\"one\"");
    let piece = Delivery::CutAfter(download.bytes.len() / 8);
    download.server.answer("/app.aci", whole().delivered(piece));

    download.fetch().expect_code(RKT_FAILED).expect_err("truncated");
    let attempts = download.ranges().len();
    download.server.answer("/app.aci", whole());
    download.fetch().expect_code(0).expect_out(&image_id(&download.image));

    assert_eq!(attempts, 4);
    assert_eq!(download.ranges()[4], Some(format!("bytes={}-", download.bytes.len() / 8 * 4)));
}

#[test]
fn beginning_that_somebody_changed_is_refused_and_forgotten() {
    let download = Download::new();
    download.kill_half_way(download.whole().etag("\"one\""));
    let kept = download.kept().remove(0);
    let mut bytes = fs::read(&kept).expect("reading the beginning");
    let at = bytes.len() - 1000;
    bytes[at] ^= 1;
    fs::write(&kept, bytes).expect("changing the beginning");
    download.server.answer("/app.aci", download.whole().etag("\"one\""));

    download.fetch().expect_code(RKT_FAILED);

    assert!(blobs(&download.rkt).is_empty(), "a changed image is in the store");
    assert_eq!(download.kept(), [""; 0].map(PathBuf::from));
    download.fetch().expect_code(0).expect_out(&image_id(&download.image));
}

#[test]
fn two_fetches_of_one_image_at_once_download_it_once() {
    let download = Download::new();
    let slowly = Delivery::Slow { piece: download.bytes.len() / 20, pause: Duration::from_millis(100) };
    download.server.answer("/app.aci", download.whole().delivered(slowly));
    let url = download.server.url("/app.aci");

    let fetches = [download.rkt.start(["fetch", &url]), download.rkt.start(["fetch", &url])];
    let outputs = fetches.map(|fetch| fetch.finish(limit(60)).expect_code(0));

    for output in &outputs {
        assert!(output.out().contains(&image_id(&download.image)), "{output:?}");
    }
    let waited = outputs.iter().filter(|output| output.err().contains("another rkt instance is downloading"));
    assert_eq!(waited.count(), 1);
    assert_eq!(download.ranges().len(), 1, "{:?}", download.server.requests());
}

#[test]
fn full_disk_ends_a_download_with_the_file_it_could_not_write_and_leaves_nothing() {
    let download = Download::new();
    download.server.answer("/app.aci", download.whole().etag("\"one\""));
    let small = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), &download.rkt.data(), Some("tmpfs"), small, Some("size=3m"))
        .expect("mounting a small disk");

    let output = download.fetch().expect_code(RKT_FAILED);

    output.expect_err("cas/tmp").expect_err("No space left on device");
    assert!(blobs(&download.rkt).is_empty(), "part of an image is in the store");
    assert_eq!(files_below(&download.rkt.data().join("cas/tmp")), [""; 0].map(PathBuf::from));
    nix::mount::umount(&download.rkt.data()).expect("unmounting the small disk");
    download.fetch().expect_code(0).expect_out(&image_id(&download.image));
}
