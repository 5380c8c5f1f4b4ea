//! `rkt trust`: keys from files, servers and discovery, and the person who is asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rkt_tests::cosign::Cosign;
use rkt_tests::gpg::Gpg;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::terminal::Terminal;

use crate::publisher::{USER, files_below};
use crate::site::Site;

const QUESTION: &str = "Are you sure you want to trust this key (yes/no)?";

#[test]
fn trust_keeps_the_key_for_a_prefix_under_its_fingerprint() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    let key = gpg.generate("ed25519", USER);
    gpg.export(&key, &rkt.path("key.asc"));

    let output = rkt.run(["trust", "--skip-fingerprint-review", "--prefix=example.com/app", "key.asc"]);

    output.expect_code(0);
    let file = format!("trustedkeys/prefix.d/example.com/app/{}", key.fingerprint.to_lowercase());
    let metadata = fs::metadata(rkt.local_config().join(file)).expect("the key is where rkt keeps keys");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o644);
}

#[test]
fn trust_shows_the_fingerprint_and_the_identity() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    let key = gpg.generate("ed25519", USER);
    gpg.export(&key, &rkt.path("key.asc"));

    let output = rkt.run(["trust", "--skip-fingerprint-review", "--root", "key.asc"]).expect_code(0);

    let said = format!("{}{}", output.out(), output.err()).replace(' ', "").to_uppercase();
    assert!(said.contains(&key.fingerprint), "{output:?}");
    assert!(said.contains("PUBLISHER@EXAMPLE.COM"), "{output:?}");
    let file = format!("trustedkeys/root.d/{}", key.fingerprint.to_lowercase());
    assert!(rkt.local_config().join(file).exists());
}

#[test]
fn trust_for_everything_must_be_asked_for() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    gpg.export(&gpg.generate("ed25519", USER), &rkt.path("key.asc"));

    let output = rkt.run(["trust", "--skip-fingerprint-review", "key.asc"]);

    output.expect_code(RKT_FAILED).expect_err("--root");
    assert!(files_below(&rkt.local_config()).is_empty());
}

#[test]
fn trust_needs_a_terminal_to_review_a_fingerprint() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    gpg.export(&gpg.generate("ed25519", USER), &rkt.path("key.asc"));

    let output = rkt.run(["trust", "--root", "key.asc"]);

    output.expect_code(RKT_FAILED);
    assert!(files_below(&rkt.local_config()).is_empty());
}

#[test]
fn trust_refuses_both_a_prefix_and_the_root() {
    let rkt = TestRkt::new();

    let output = rkt.run(["trust", "--root", "--prefix=example.com", "key.asc"]);

    output.expect_code(RKT_FAILED).expect_err("--root and --prefix usage mutually exclusive");
}

#[test]
fn trust_names_a_file_that_is_not_there() {
    let rkt = TestRkt::new();

    let output = rkt.run(["trust", "--skip-fingerprint-review", "--root", "/nowhere/key.asc"]);

    output.expect_code(RKT_FAILED).expect_err("/nowhere/key.asc");
}

#[test]
fn trust_names_a_file_that_is_not_a_key() {
    let rkt = TestRkt::new();
    fs::write(rkt.path("key.asc"), "this is not a key\n").expect("writing");

    let output = rkt.run(["trust", "--skip-fingerprint-review", "--root", "key.asc"]);

    output.expect_code(RKT_FAILED).expect_err("key.asc");
    assert!(files_below(&rkt.local_config()).is_empty());
}

/// Where the key of this fingerprint is trusted for `example.com`.
fn trusted(rkt: &TestRkt, name: &str) -> bool {
    rkt.local_config().join("trustedkeys/prefix.d/example.com").join(name).exists()
}

#[test]
fn person_who_answers_yes_trusts_the_key() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    let key = gpg.generate("ed25519", USER);
    let subkey = gpg.add_signing_subkey(&key, "never", &[]);
    gpg.export(&key, &rkt.path("key.asc"));

    let mut terminal = Terminal::start(rkt.command(["trust", "--prefix=example.com", "key.asc"]));
    terminal.wait_for(QUESTION, 1);
    let shown = terminal.screen();
    terminal.type_line("perhaps");
    terminal.wait_for("Please enter 'yes' or 'no'", 1);
    terminal.wait_for(QUESTION, 2);
    terminal.type_line("yes");
    let (code, screen) = terminal.finish();

    assert_eq!(code, 0, "{screen}");
    assert!(shown.contains("prefix: \"example.com\"\nkey: \"key.asc\"\n"), "{shown}");
    assert!(shown.contains(&format!("gpg key fingerprint is: {}", grouped(&key.fingerprint))), "{shown}");
    assert!(shown.contains(&format!("    Subkey fingerprint: {}", grouped(&subkey))), "{shown}");
    assert!(shown.contains(USER), "{shown}");
    let trusting = "Trusting \"key.asc\" for prefix \"example.com\" after fingerprint review.";
    assert!(screen.contains(trusting), "{screen}");
    let name = key.fingerprint.to_lowercase();
    let file = rkt.local_config().join("trustedkeys/prefix.d/example.com").join(&name);
    assert!(screen.contains(&format!("Added key for prefix \"example.com\" at {file:?}")), "{screen}");
    assert!(trusted(&rkt, &name));
}

/// As gpg and rkt print it.
fn grouped(fingerprint: &str) -> String {
    let groups: Vec<&str> = (0..10).map(|at| &fingerprint[4 * at..4 * at + 4]).collect();
    format!("{}  {}", groups[..5].join(" "), groups[5..].join(" "))
}

#[test]
fn person_who_answers_no_trusts_nothing() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    gpg.export(&gpg.generate("ed25519", USER), &rkt.path("key.asc"));

    let mut terminal = Terminal::start(rkt.command(["trust", "--root", "key.asc"]));
    terminal.wait_for(QUESTION, 1);
    terminal.type_line("no");
    let (code, screen) = terminal.finish();

    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("not trusting \"key.asc\"") && !screen.contains("Trusting"), "{screen}");
    assert!(files_below(&rkt.local_config()).is_empty());
}

#[test]
fn each_key_of_a_file_is_asked_about() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    let (alice, bob) = (gpg.generate("ed25519", "Alice"), gpg.generate("ed25519", "Bob"));
    // Two armored blocks, as cat makes them.
    let mut file = Vec::new();
    for key in [&alice, &bob] {
        gpg.export(key, &rkt.path("one.asc"));
        file.extend(fs::read(rkt.path("one.asc")).expect("a key"));
    }
    fs::write(rkt.path("keys.asc"), file).expect("writing");

    let mut terminal = Terminal::start(rkt.command(["trust", "--prefix=example.com", "keys.asc"]));
    terminal.wait_for(QUESTION, 1);
    terminal.type_line("no");
    terminal.wait_for(QUESTION, 2);
    terminal.type_line("yes");
    let (code, screen) = terminal.finish();

    assert_eq!(code, 0, "{screen}");
    assert!(!trusted(&rkt, &alice.fingerprint.to_lowercase()), "{screen}");
    assert!(trusted(&rkt, &bob.fingerprint.to_lowercase()), "{screen}");
}

#[test]
fn identity_cannot_write_over_the_screen() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    gpg.export(&gpg.generate("ed25519", "Eve \u{1b}[2J\u{1b}[1;1H"), &rkt.path("key.asc"));

    let output = rkt.run(["trust", "--skip-fingerprint-review", "--root", "key.asc"]).expect_code(0);

    assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{output:?}");
}

#[test]
fn cosign_key_is_shown_and_kept_under_its_fingerprint() {
    let (rkt, key) = (TestRkt::new(), Cosign::new());
    let file = key.public_key();
    let file = file.to_str().expect("a path");

    let mut terminal = Terminal::start(rkt.command(["trust", "--prefix=example.com", file]));
    terminal.wait_for(QUESTION, 1);
    terminal.type_line("yes");
    let (code, screen) = terminal.finish();

    assert_eq!(code, 0, "{screen}");
    let shown = screen.replace(' ', "").to_lowercase();
    assert!(shown.contains(&key.fingerprint()), "{screen}");
    assert!(
        screen.contains("cosign key fingerprint is: SHA256 ") && screen.contains("ECDSA P-256"),
        "{screen}"
    );
    let kept =
        rkt.local_config().join(format!("trustedkeys/prefix.d/example.com/cosign-{}.pub", key.fingerprint()));
    assert_eq!(fs::read(kept).expect("the key is kept"), fs::read(key.public_key()).expect("a key"));
}

#[test]
fn private_and_weak_cosign_keys_are_refused() {
    let (rkt, key) = (TestRkt::new(), Cosign::new());
    let weak = Cosign::generate(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    for (file, why) in [(key.private(), "private key"), (weak.public_key(), "1024 bits")] {
        let file = file.to_str().expect("a path");
        let output = rkt.run(["trust", "--skip-fingerprint-review", "--root", file]);
        output.expect_code(RKT_FAILED).expect_err(why).expect_err(file);
    }
    assert!(files_below(&rkt.local_config()).is_empty());
}

#[test]
fn key_is_downloaded_over_https_and_reviewed_unless_https_is_enough() {
    let site = Site::new();
    site.public_key("keys.example.com/key.asc");
    let url = "https://keys.example.com/key.asc";
    let name = site.key.fingerprint.to_lowercase();

    let output = site.rkt.run(["trust", "--prefix=example.com", url]);
    output.expect_code(RKT_FAILED).expect_err("unable to ask user to review fingerprint due to lack of tty");
    assert!(!trusted(&site.rkt, &name));

    let output = site.rkt.run(["--trust-keys-from-https", "trust", "--prefix=example.com", url]);
    let trusting = format!("Trusting {url:?} for prefix \"example.com\" without fingerprint review.");
    output.expect_code(0).expect_out(&trusting);
    assert!(trusted(&site.rkt, &name));
}

#[test]
fn key_is_downloaded_over_http_only_when_asked_for() {
    let site = Site::new();
    site.public_key("http://keys.example.com/key.asc");
    site.public_key("keys.example.com/key.asc");
    let url = "http://keys.example.com/key.asc";
    let trust = ["--trust-keys-from-https", "trust", "--prefix=example.com", url];

    let output = site.rkt.run(trust);
    output.expect_code(RKT_FAILED).expect_err("--insecure-allow-http required for http URLs");
    let output = site.rkt.run([trust.as_slice(), &["--insecure-allow-http"]].concat());
    // However it came, https did not vouch for it.
    output.expect_code(RKT_FAILED).expect_err("lack of tty");

    let flags = ["--insecure-allow-http", "--skip-fingerprint-review"];
    site.rkt.run([trust.as_slice(), &flags].concat()).expect_code(0);
    assert!(trusted(&site.rkt, &site.key.fingerprint.to_lowercase()));
}

#[test]
fn keys_of_a_prefix_are_discovered() {
    let site = Site::new();
    site.public_key("keys.example.com/key.asc");
    site.page("example.com", &[("ac-discovery-pubkeys", "example.com https://keys.example.com/key.asc")]);

    let output = site.rkt.run(["--trust-keys-from-https", "trust", "--prefix=example.com"]);

    output
        .expect_code(0)
        .expect_out("Trusting \"https://keys.example.com/key.asc\" for prefix \"example.com\"");
    assert!(trusted(&site.rkt, &site.key.fingerprint.to_lowercase()));
}

#[test]
fn prefix_without_discoverable_keys_is_an_error() {
    let site = Site::new();
    site.page("example.com", &[("ac-discovery", "example.com https://example.com/{name}.{ext}")]);

    let output = site.rkt.run(["--trust-keys-from-https", "trust", "--prefix=example.com"]);

    output
        .expect_code(RKT_FAILED)
        .expect_err("error determining key location")
        .expect_err("ac-discovery-pubkeys");
    site.rkt.run(["trust", "--root"]).expect_code(RKT_FAILED).expect_err("empty prefix");
}
