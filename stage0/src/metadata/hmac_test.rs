use uuid::Uuid;

use super::hmac::Signer;

const POD: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

#[test]
fn a_signature_is_for_one_pod_one_content_and_one_service() {
    let signer = Signer::new().unwrap();
    let signature = signer.sign(POD, b"content");

    assert_eq!(signature.len(), 64);
    assert!(signer.verify(POD, b"content", &signature));
    assert!(!signer.verify(OTHER, b"content", &signature));
    assert!(!signer.verify(POD, b"content ", &signature));
    assert!(!signer.verify(POD, b"content", &signature[..63]));
    assert!(!signer.verify(POD, b"content", b""));
    assert!(!Signer::new().unwrap().verify(POD, b"content", &signature));
}
