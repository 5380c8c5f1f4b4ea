use guest_api::{ListeningSocket, MAX_LISTENING_SOCKETS};

use crate::sockets::{make, variables};

fn socket(name: &str) -> ListeningSocket {
    ListeningSocket { name: name.to_owned(), address: "127.0.0.1:0".parse().unwrap(), number: Some(0) }
}

#[test]
fn an_app_is_told_how_many_sockets_it_has_and_what_they_are_called() {
    let told = variables(&[socket("http"), socket("admin")], 17);

    let expected = [("LISTEN_FDS", "2"), ("LISTEN_PID", "17"), ("LISTEN_FDNAMES", "http:admin")];
    assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(variables(&[], 17), []);
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();

    let error = make(&[ListeningSocket { address, ..socket("http") }]).unwrap_err();

    let text = crate::sentence(&error);
    assert!(text.contains("http") && text.contains(&address.to_string()), "{text}");
}

#[test]
fn more_sockets_than_there_are_numbers_for_are_refused() {
    assert!(make(&vec![socket("many"); MAX_LISTENING_SOCKETS + 1]).is_err());
}
