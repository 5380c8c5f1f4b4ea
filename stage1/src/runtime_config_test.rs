use super::flags::RunFlags;
use super::runtime_config::text;

#[test]
fn flags_are_found_under_rkts_names() {
    let uuid = "0e5d3c6e-7e5d-4f6a-9a53-6f2f4d6e3c11";
    let flags =
        ["--net=none,lan:IP=10.0.0.1", "--private-users=4000:1000", "--hostname=web", "--disable-seccomp"];
    let flags = RunFlags::parse(flags.into_iter().chain([uuid]).map(str::to_owned)).unwrap();

    let config: serde_json::Value = serde_json::from_str(&text(&flags)).unwrap();

    assert_eq!(config["NetList"], "none,lan:IP=10.0.0.1");
    assert_eq!(config["PrivateUsers"], "4000:1000");
    assert_eq!(config["Hostname"], "web");
    assert_eq!(config["Debug"], false);
    assert_eq!(config["InsecureOptions"]["DisableSeccomp"], true);
    assert_eq!(config["InsecureOptions"]["DisablePaths"], false);
    assert_eq!(config["IPCMode"], "private");
}
