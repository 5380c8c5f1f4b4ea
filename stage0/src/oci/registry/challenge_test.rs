use super::challenge::Challenge;

fn schemes(header: &str) -> Vec<String> {
    Challenge::parse_all(header).into_iter().map(|challenge| challenge.scheme).collect()
}

#[test]
fn a_bearer_challenge_has_its_parameters() {
    let header = r#"Bearer realm="https://auth.example.com/token",service="registry, \"one\"",scope=x"#;

    let challenges = Challenge::parse_all(header);

    assert_eq!(schemes(header), ["bearer"]);
    assert_eq!(challenges[0].parameter("realm"), Some("https://auth.example.com/token"));
    assert_eq!(challenges[0].parameter("service"), Some("registry, \"one\""));
    assert_eq!(challenges[0].parameter("scope"), Some("x"));
    assert_eq!(challenges[0].parameter("error"), None);
}

#[test]
fn several_challenges_stand_in_one_header() {
    let header = "Negotiate, BASIC realm=r , , Bearer Realm = \"x\"";

    let challenges = Challenge::parse_all(header);

    assert_eq!(schemes(header), ["negotiate", "basic", "bearer"]);
    assert_eq!(challenges[1].parameter("realm"), Some("r"));
    assert_eq!(challenges[2].parameter("realm"), Some("x"));
}

#[test]
fn what_is_no_challenge_is_left_out() {
    let endless = "a=".repeat(100_000);
    for header in [
        "",
        ",,,",
        "=",
        "realm=\"x\"",
        "Bearer realm=\"open",
        "Bearer realm=\"open\\",
        "\u{0}\u{1}",
        &endless,
    ] {
        let challenges = Challenge::parse_all(header);

        assert!(challenges.iter().all(|challenge| challenge.parameter("realm").is_none()), "{header:?}");
    }
}
