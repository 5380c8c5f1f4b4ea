use std::fs;

use super::layer::{Packing, blob, digest, ensure};
use super::tree::Tree;

fn tree() -> Tree {
    let mut tree = Tree::layer();
    tree.add_file("/usr/bin/true", 0o755, (0, 0), b"#!/bin/sh\n".to_vec());
    tree
}

#[test]
fn a_layer_is_known_by_the_digests_of_its_archive_and_of_its_file() {
    let directory = tempfile::tempdir().expect("a directory");

    for (name, packing) in [("gzip", Packing::Gzip), ("zstd", Packing::Zstd)] {
        let directory = directory.path().join(name);
        let layer = ensure(&directory, packing, || Ok(tree())).expect("a layer");

        let file = fs::read(blob(&directory)).expect("the layer's file");
        let mut archive = Vec::new();
        match packing {
            Packing::Gzip => {
                std::io::copy(&mut flate2::read::GzDecoder::new(&*file), &mut archive).expect("gzip");
            }
            Packing::Zstd => archive = zstd::decode_all(&*file).expect("zstd"),
        }
        assert_eq!((layer.digest, layer.size), (digest(&file), file.len() as u64));
        assert_eq!(layer.diff_id, digest(&archive));
    }
}

#[test]
fn a_layer_that_is_in_the_cache_is_not_made_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = ensure(directory.path(), Packing::Gzip, || Ok(tree())).expect("a layer");

    let second = ensure(directory.path(), Packing::Gzip, || panic!("made again")).expect("the same layer");

    assert_eq!(first.digest, second.digest);
}
