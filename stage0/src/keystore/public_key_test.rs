//! The keys and signatures were made by openssl(1): `openssl ecparam -name prime256v1 -genkey`, `genrsa`, `genpkey
//! -algorithm ed25519`; `dgst -sha256 -sign` and `pkeyutl -sign -rawin` over `message`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{PublicKey, PublicKeyError};

const MESSAGE: &[u8] = b"message";

const P256: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAExA2qwCW1BtD8aeSpgUhDmrcmhlbd\n\
    xatt0/EOvehMcx4G34KQdkNCf5X6hKrL4aghyEgeqcFTcnL4bsZYqhvpZw==\n\
    -----END PUBLIC KEY-----\n";
const P384: &str = "-----BEGIN PUBLIC KEY-----\n\
    MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEhf23D/dZYspkOQyAtdlbSLtH9QUgKNXZ\n\
    yCo2ktQKyOsJ3aj6SNdcibCiUt9ypPj6y95t35bFFHtijImsLfuviYERwA34Avnk\n\
    7x3aQBvZuZl+7WjuPfVLNFNPnLueHKty\n\
    -----END PUBLIC KEY-----\n";
const P521: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQB35vQ7GaB8NqUtvQQ2sR11tlO7gKj\n\
    EiGT5RH/Dr4RnWueOsZrimcS+Aaikdk3NUxd8kMoxDkDzPICisvm/T5LRZ8BiAWK\n\
    e1mONZ+EMe5xaAVm96dFoxiOBF/EaCbOzkZfLHWlkFYnbN+UXomsvTsVA/7y+Zr5\n\
    wBEW4G/C0ZCjmMH0jCc=\n\
    -----END PUBLIC KEY-----\n";
const RSA: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAqpnreKYLh1Qje3LshVkl\n\
    d3zezuRyKjN+p+VFiqo3NOdEd9sA7jaJ5Fct1wT0U43LZ3/GdLYFNPWbYLuj1UMm\n\
    VBur2oJBStjcPsE639gSlbrslFE1UulYY7VPuAd7ozLfcjq9NhSI18+8DKFsxdn+\n\
    GQZ/0wNpyGQNBzDe7KdWAehIHfARNfzqE4OJ3lF8gbbGs1oRAnXFQtyozktGIXm3\n\
    YKfF+xof1eU/qCdZv7hnkTR9qWtYebpVYaSrEAquIdouxcuuxobSbnbuZEH216NZ\n\
    DkD5IEEuk8Bt4AZHXvQrzOAsxjmLkhy2r4kPnaUkNkzald3H+NT7esf6uga2BjZY\n\
    oQIDAQAB\n\
    -----END PUBLIC KEY-----\n";
const WEAK_RSA: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDfM/09UbOCoaUwNfeAIj0oFz3j\n\
    vrplzOV5d3WPmFI7nZcssav0vpDxxnePuqyFhi4Qni7RlAnibijOqStM+cvLeAi9\n\
    ZRcLI9p+VVJBg1FrhEwN8a8SDXiStPdJVSjT8TPIywkjVhe40SO++LgLUn4lhyc/\n\
    qagir9C/4PwJmwCHFQIDAQAB\n\
    -----END PUBLIC KEY-----\n";
const ED25519: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEATQEfDmJ/jmBlupLPVo9eKVh1Km4/wcEr4Mvl/3C2t7g=\n\
    -----END PUBLIC KEY-----\n";

/// Each key with its kind and a signature by it.
const SIGNED: [(&str, &str, &str); 5] = [
    (
        P256,
        "ECDSA P-256",
        "MEUCIQCJVYcP7xEh6b94C5cB3L+dHGtQy5y5s7hR9kH7DDyZ1QIgbg1lTEPUbC0GWUs1xSsK1HKrdKmhCcH4V9blgo\
         Kl6oI=",
    ),
    (
        P384,
        "ECDSA P-384",
        "MGUCMHYg41c3kD9XPFNQ2YM5MIwv0vr+tkif397oRukjHiewnniRbABpmNzJM7xjcN5IygIxALFVdGIJpZc/rTmFAw\
         SZI+Oc9QWdy/q9TG6+sl4jAZx7j+AcEvQzxJ/OU6bDmmjDNA==",
    ),
    (
        P384,
        "ECDSA P-384",
        "MGQCMAUdc3vYloKcuRPLwxQgnD8UHR+3pvn9jNViWvgR98dlzhQhrXdFt5OV3lV54vcgRgIwATcCWxYAl8dMB4ccW3\
         tg8rd6ps8ov3fUQSnEYs0trFJ1ERYzXMN7vRCZQgm269FS",
    ),
    (
        RSA,
        "RSA",
        "T2nK5hRqPK1hyse0Cik4X76j5L0tyyOHDXeP9yjnegJP2dgEMcBGltL4tE/NS2MRehO7kp6vvYFlvqq56BQ5nnB8zJ\
         dEaTvjHnwESWr0Nkg6FtHUIaeKhAlBsOu6i6Qu0LvWs3BIqtxcoNrsHbLc6hWZ8xNZzFqFWS6rxfB9awunqGXe2EI1\
         EugMU6OvMbebTbcdT+MoFn9HtSCQ1PIOgdn1l0lWGjSJ2KECCV2rRaetkyckWVKeL5MlhGhojA0VqjHdUJgg2FeZnK\
         KMibridt2lMdZw1D751vp6ZaIwI5Bnfb8WyahIq2GFbdcJFZKbNMeNqKR4DWYTWSF3e6XOZQ==",
    ),
    (
        ED25519,
        "Ed25519",
        "RR3krKYZpecm3vQ/1BtU+q0angCMJVBhZC4BpPStC8c1YTeRS/wcn261LUDOvdaaNT5nW8Q7Pdqa6QI92GjxBQ==",
    ),
];

fn only(pem: &str) -> PublicKey {
    let keys = PublicKey::from_pem(pem.as_bytes()).unwrap();
    assert_eq!(keys.len(), 1);
    keys.into_iter().next().unwrap()
}

#[test]
fn every_kind_of_key_verifies_what_openssl_signed() {
    for (pem, kind, signature) in SIGNED {
        let (key, signature) = (only(pem), STANDARD.decode(signature).unwrap());
        assert_eq!(key.kind(), kind);
        assert!(key.verifies(MESSAGE, &signature), "{kind}");
        assert!(!key.verifies(b"massage", &signature), "{kind}");
        assert!(!key.verifies(MESSAGE, b""), "{kind}");
    }
}

#[test]
fn signature_of_another_kind_of_key_is_refused() {
    let (_, _, signature) = SIGNED[0];
    for other in [P384, RSA, ED25519] {
        assert!(!only(other).verifies(MESSAGE, &STANDARD.decode(signature).unwrap()));
    }
}

#[test]
fn fingerprint_is_openssls() {
    // openssl pkey -pubin -outform DER | sha256sum
    let wanted = "14a76b9928ee3f4112100d8c41297473d585f0c0d0069aa3acf7399e81d35373";
    assert_eq!(only(P256).fingerprint(), wanted);
}

#[test]
fn pem_is_written_as_openssl_writes_it() {
    for pem in [P256, P384, RSA, ED25519] {
        assert_eq!(only(pem).to_pem(), pem);
    }
}

#[test]
fn file_may_hold_several_keys_and_text_around_them() {
    let file = format!("our keys:\n{P256}and the old one:\n{RSA}");
    assert_eq!(PublicKey::from_pem(file.as_bytes()).unwrap(), [only(P256), only(RSA)]);
}

#[test]
fn keys_that_cannot_be_used_are_refused_with_the_reason() {
    let refused = |pem: &str| PublicKey::from_pem(pem.as_bytes()).unwrap_err();
    assert_eq!(refused(WEAK_RSA), PublicKeyError::Weak(1024));
    assert!(matches!(refused(P521), PublicKeyError::Unsupported(_)));
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(refused(private), PublicKeyError::Private);
    for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert_eq!(refused(text), PublicKeyError::NotPem, "{text}");
    }
    let many = P256.repeat(65);
    assert!(matches!(refused(&many), PublicKeyError::TooMany(_)));
}

#[test]
fn no_changed_byte_of_the_structure_makes_a_panic_or_another_file_of_the_same_key() {
    for pem in [P256, RSA, ED25519] {
        let key = only(pem);
        let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(lines).unwrap();
        for at in 0..der.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = der.clone();
                changed[at] ^= change;
                if let Ok(other) = PublicKey::from_der(&changed) {
                    assert_ne!(other.fingerprint(), key.fingerprint());
                }
            }
            assert!(PublicKey::from_der(&der[..at]).is_err());
        }
        let longer = [der.as_slice(), &[0]].concat();
        assert!(PublicKey::from_der(&longer).is_err());
    }
}
