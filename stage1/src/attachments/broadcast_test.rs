use super::ClientId;
use super::broadcast::Broadcast;

const ONE: ClientId = ClientId(1);
const TWO: ClientId = ClientId(2);

#[test]
fn what_everybody_has_taken_is_what_the_slowest_has() {
    let mut output = Broadcast::default();
    output.push(b"before");
    output.own_output_took(6);
    output.attach(ONE);
    output.attach(TWO);
    output.push(b"0123456789");

    assert_eq!(output.taken(), 6);
    output.own_output_took(10);
    output.took(ONE, 10);
    output.took(TWO, 4);
    assert_eq!(output.taken(), 4);
    output.took(TWO, 6);
    assert_eq!(output.taken(), 6);
    assert_eq!(output.taken(), 0);
}

#[test]
fn each_client_gets_what_came_since_it_attached() {
    let mut output = Broadcast::default();
    output.attach(ONE);
    output.push(b"abc");
    output.attach(TWO);
    output.push(b"def");
    output.took(ONE, 1);

    assert_eq!(output.waiting(ONE), b"bcdef");
    assert_eq!(output.waiting(TWO), b"def");
    output.close();
    output.took(TWO, 3);
    assert!(output.is_over_for(TWO) && !output.is_over_for(ONE));
}

#[test]
fn a_client_that_is_gone_holds_nobody_up() {
    let mut output = Broadcast::default();
    output.attach(ONE);
    output.push(b"abc");
    output.own_output_took(3);

    assert_eq!(output.taken(), 0);
    output.detach(ONE);

    assert_eq!(output.taken(), 3);
    output.push(b"def");
    output.attach(TWO);
    assert_eq!(output.waiting(TWO), b"");
}

#[test]
fn output_that_wraps_around_its_buffer_comes_in_order() {
    let mut output = Broadcast::default();
    output.attach(ONE);
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    for round in 0..1000_u32 {
        let piece = vec![u8::try_from(round % 251).unwrap(); 7];
        output.push(&piece);
        sent.extend(piece);
        let count = output.waiting(ONE).len().min(5);
        received.extend_from_slice(&output.waiting(ONE)[..count]);
        output.took(ONE, count);
    }
    while !output.waiting(ONE).is_empty() {
        let count = output.waiting(ONE).len();
        received.extend_from_slice(&output.waiting(ONE)[..count]);
        output.took(ONE, count);
    }

    assert!(sent == received);
}
