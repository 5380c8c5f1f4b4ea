use super::missing_options;

#[test]
fn an_option_that_was_dropped_is_listed() {
    let result = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=64\n";

    assert_eq!(
        missing_options("# why\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n", result),
        ["CONFIG_B=y", "CONFIG_C=y"]
    );
    assert_eq!(missing_options("CONFIG_N=6\n", result), ["CONFIG_N=6"]);
}

#[test]
fn an_option_asked_to_be_off_may_be_absent_but_not_on() {
    let result = "CONFIG_ON=y\nCONFIG_ON_TOO=y\n";

    assert!(missing_options("# CONFIG_GONE is not set\n# CONFIG_O is not set\n", result).is_empty());
    assert_eq!(missing_options("# CONFIG_ON is not set\n", result), ["# CONFIG_ON is not set"]);
}
