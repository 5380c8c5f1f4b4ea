use std::path::PathBuf;

use super::packages::Package;

fn package(file_name: &str) -> Package {
    Package { file_name: file_name.to_owned(), path: PathBuf::new() }
}

#[test]
fn the_version_of_an_image_has_neither_epoch_nor_debian_revision() {
    let redis = package("redis-server_5%3a7.0.15-1~deb12u10_amd64.deb");
    let zlib = package("zlib1g_1%3a1.2.13.dfsg-1_amd64.deb");
    let native = package("adduser_3.134_all.deb");

    assert_eq!(redis.name(), "redis-server");
    assert_eq!(redis.upstream_version(), "7.0.15");
    assert_eq!(zlib.upstream_version(), "1.2.13.dfsg");
    assert_eq!(native.upstream_version(), "3.134");
}
