use super::same_numbers::same_numbers;

#[test]
fn everybody_keeps_the_number_that_he_has_outside() {
    let of_the_host = "         0          0 4294967295\n";
    let of_a_container = "         0     100000      65536\n     70000          5          1\n";

    assert_eq!(same_numbers(of_the_host), "0 0 4294967295\n");
    assert_eq!(same_numbers(of_a_container), "0 0 65536\n70000 70000 1\n");
    assert_eq!(same_numbers(""), "");
}
