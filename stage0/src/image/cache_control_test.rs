use super::cache_control::max_age;

#[test]
fn only_max_age_grants_freshness_and_prohibitions_win() {
    assert_eq!(max_age(None), 0);
    assert_eq!(max_age(Some("public, Max-Age=\"60\"")), 60);
    assert_eq!(max_age(Some("max-age=60, no-cache")), 0);
    assert_eq!(max_age(Some("no-store")), 0);
    assert_eq!(max_age(Some("max-age=forever")), 0);
    assert_eq!(max_age(Some("max-age=99999999999")), 365 * 24 * 60 * 60);
}
