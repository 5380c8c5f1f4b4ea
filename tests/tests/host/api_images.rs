//! `rkt api-service`: what it says of images.

use std::fs;

use rkt_tests::aci::{self, Aci};
use rkt_tests::rkt::TestRkt;
use serde_json::json;
use tonic::Code;

use crate::api_client::wire::{ImageFilter, ImageType};
use crate::api_client::{Api, pair};
use crate::publisher;

/// An rkt with two images in its store.
fn rkt_with_images() -> TestRkt {
    let rkt = TestRkt::new();
    let mut labelled = aci::manifest("example.com/team/etcd");
    labelled["annotations"] = json!([{ "name": "homepage", "value": "https://example.com" }]);
    Aci::new(&labelled).write(&rkt.path("etcd.aci"));
    let mut plain = aci::manifest("example.org/redis");
    plain["labels"] = json!([{ "name": "os", "value": "linux" }, { "name": "arch", "value": "amd64" }]);
    Aci::new(&plain).write(&rkt.path("redis.aci"));
    rkt.run(["fetch", "--insecure-options=image", "./etcd.aci", "./redis.aci"]).expect_code(0);
    rkt
}

#[test]
fn images_are_told_with_and_without_their_manifests() {
    let rkt = rkt_with_images();
    let api = Api::start(&rkt);

    let (brief, full) = (api.images(&[], false), api.images(&[], true));

    assert_eq!(full.len(), 2);
    for (brief, full) in brief.iter().zip(&full) {
        assert_eq!(full, &api.image(&full.id).expect("the image"));
        assert!(brief.manifest.is_empty());
        let text = serde_json::from_slice::<serde_json::Value>(&full.manifest).expect("JSON");
        assert_eq!(text["name"], json!(full.name));
        let format = full.base_format.as_ref().expect("a format");
        assert_eq!((format.r#type(), format.version.as_str()), (ImageType::Appc, "0.8.11"));
        assert!(full.import_timestamp > 1_600_000_000 && full.size > 1024);
    }
    let image = |name: &str| full.iter().find(|image| image.name.ends_with(name)).expect("an image");
    assert_eq!((image("etcd").version.as_str(), image("redis").version.as_str()), ("1.0.0", "latest"));
    assert_eq!(image("etcd").annotations, [pair("homepage", "https://example.com")]);
    assert_eq!(image("redis").labels, [pair("arch", "amd64"), pair("os", "linux")]);
    let listed = rkt.run(["image", "list", "--full", "--fields=id", "--no-legend"]).expect_code(0).out();
    let mut listed: Vec<_> = listed.lines().map(str::trim).collect();
    listed.sort_unstable();
    assert_eq!(full.iter().map(|image| image.id.as_str()).collect::<Vec<_>>(), listed);
}

#[test]
fn an_image_is_named_by_its_whole_id() {
    let rkt = rkt_with_images();
    let api = Api::start(&rkt);

    let cases = [
        (format!("sha512-{}", "0".repeat(64)), Code::NotFound),
        ("sha512-00".to_owned(), Code::InvalidArgument),
        ("example.com/team/etcd".to_owned(), Code::InvalidArgument),
        (String::new(), Code::InvalidArgument),
    ];

    for (id, code) in cases {
        assert_eq!(api.image(&id).expect_err("no such image").code(), code, "{id:?}");
    }
}

#[test]
fn filters_choose_images_by_name_label_and_time() {
    let rkt = rkt_with_images();
    let api = Api::start(&rkt);
    let etcd = api.images(&[], false).into_iter().find(|image| image.name.ends_with("etcd")).expect("etcd");
    let redis =
        api.images(&[], false).into_iter().find(|image| image.name.ends_with("redis")).expect("redis");
    let text = |value: &str| vec![value.to_owned()];
    let none = ImageFilter::default();

    let only_etcd = [
        ImageFilter { ids: text(&etcd.id), ..none.clone() },
        ImageFilter { prefixes: vec!["nothing".to_owned(), "example.com/".to_owned()], ..none.clone() },
        ImageFilter { base_names: text("etcd"), ..none.clone() },
        ImageFilter { keywords: text("com/te"), ..none.clone() },
        ImageFilter { full_names: text("example.com/team/etcd"), ..none.clone() },
        ImageFilter { labels: vec![pair("version", "1.0.0"), pair("os", "linux")], ..none.clone() },
        ImageFilter { annotations: vec![pair("homepage", "https://example.com")], ..none.clone() },
        ImageFilter { keywords: text("e"), labels: vec![pair("version", "1.0.0")], ..none.clone() },
    ];
    for filter in only_etcd {
        let found: Vec<_> =
            api.images(std::slice::from_ref(&filter), false).into_iter().map(|image| image.id).collect();
        assert_eq!(found, [etcd.id.as_str()], "{filter:?}");
    }
    let nothing = [
        ImageFilter { base_names: text("team"), ..none.clone() },
        ImageFilter { full_names: text("etcd"), ..none.clone() },
        ImageFilter { labels: vec![pair("version", "1.0.0"), pair("os", "plan9")], ..none.clone() },
        ImageFilter { ids: text(&etcd.id), keywords: text("redis"), ..none.clone() },
        ImageFilter { imported_before: etcd.import_timestamp, ..none.clone() },
        ImageFilter { imported_after: redis.import_timestamp, ..none.clone() },
    ];
    for filter in nothing {
        assert_eq!(api.images(std::slice::from_ref(&filter), false), [], "{filter:?}");
    }
    let bounds = ImageFilter {
        imported_after: etcd.import_timestamp - 1,
        imported_before: redis.import_timestamp + 1,
        ..none.clone()
    };
    assert_eq!(api.images(&[bounds], false).len(), 2);
    let either = [
        ImageFilter { base_names: text("etcd"), ..none.clone() },
        ImageFilter { base_names: text("redis"), ..none },
    ];
    assert_eq!(api.images(&either, false).len(), 2);
}

#[test]
fn an_image_that_is_broken_hides_no_others() {
    let rkt = rkt_with_images();
    let api = Api::start(&rkt);
    let images = api.images(&[], false);
    let manifests = publisher::files_below(&rkt.data().join("cas/imageManifest"));
    let broken = manifests.iter().find(|path| path.ends_with(&images[0].id)).expect("a manifest");
    fs::write(broken, "{ half").expect("writing");

    let left = api.images(&[], true);

    assert_eq!(left.iter().map(|image| &image.id).collect::<Vec<_>>(), [&images[1].id]);
    assert_eq!(api.image(&images[0].id).expect_err("half a manifest").code(), Code::Internal);
    api.stop().expect_code(0).expect_err(&images[0].id);
}
