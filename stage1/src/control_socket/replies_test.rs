use guest_api::{AppExit, INITIAL_CREDIT_BYTES, MAX_OUTPUT_BYTES, StdioStream};

use super::protocol::Reply;
use super::replies::{Replies, UnreadCredit};

fn output(stream: StdioStream, data: &[u8]) -> Reply {
    Reply::Output { stream, data: data.to_vec() }
}

fn all(replies: &mut Replies) -> Vec<Reply> {
    std::iter::from_fn(|| replies.pop()).collect()
}

#[test]
fn last_word_comes_last_whatever_waits() {
    let mut replies = Replies::default();
    for reply in [
        Reply::Started,
        output(StdioStream::Stderr, b"e"),
        output(StdioStream::Stdout, b"out"),
        Reply::InputCredit(5),
        Reply::Exited(AppExit::Code(0)),
    ] {
        replies.push(reply).unwrap();
    }

    let sent = all(&mut replies);

    assert_eq!(sent.first(), Some(&Reply::Started));
    assert_eq!(sent.last(), Some(&Reply::Exited(AppExit::Code(0))));
    assert_eq!(sent.len(), 5);
    assert!(replies.is_empty());
}

#[test]
fn small_pieces_wait_as_one_and_large_ones_leave_in_pieces_that_fit() {
    let mut replies = Replies::default();
    for byte in 0..=u8::MAX {
        replies.push(output(StdioStream::Stdout, &[byte])).unwrap();
        replies.push(Reply::InputCredit(1)).unwrap();
    }
    let large = vec![b'x'; MAX_OUTPUT_BYTES];
    replies.push(output(StdioStream::Stdout, &large)).unwrap();

    let sent = all(&mut replies);

    assert_eq!(sent.len(), 3);
    assert_eq!(sent[0], Reply::InputCredit(256));
    let lengths: Vec<usize> = sent[1..]
        .iter()
        .map(|reply| match reply {
            Reply::Output { data, .. } => data.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lengths, [MAX_OUTPUT_BYTES, 256]);
}

#[test]
fn client_that_grants_credit_for_what_it_has_not_read_is_found_out() {
    let mut replies = Replies::default();
    let piece = vec![0; MAX_OUTPUT_BYTES];
    for _ in 0..INITIAL_CREDIT_BYTES as usize / MAX_OUTPUT_BYTES {
        replies.push(output(StdioStream::Stdout, &piece)).unwrap();
    }

    assert_eq!(replies.push(output(StdioStream::Stdout, b"x")), Err(UnreadCredit));
    assert_eq!(replies.push(output(StdioStream::Stderr, b"x")), Ok(()));
}
