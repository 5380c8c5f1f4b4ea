use super::console_tail::ConsoleTail;

#[test]
fn what_was_written_is_kept_in_its_order() {
    let tail = ConsoleTail::default();

    tail.push(b"Kernel ");
    tail.push(b"panic");

    assert_eq!(tail.bytes(), b"Kernel panic");
}

#[test]
fn the_latest_bytes_take_the_places_of_the_oldest() {
    let tail = ConsoleTail::default();

    tail.push(&vec![b'a'; 16 << 10]);
    tail.push(b"the end");

    let kept = tail.bytes();
    assert_eq!(kept.len(), 16 << 10);
    assert!(kept.starts_with(b"aaa") && kept.ends_with(b"athe end"));
}
