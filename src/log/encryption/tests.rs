//! The bytes of an encrypted record, against vectors of others.
//!
//! Floor 4.

use super::*;

/// draft-irtf-cfrg-xchacha-03, A.3.1: so that a reader in another language finds the same.
#[test]
fn the_cipher_is_the_one_of_the_draft() {
    let key: [u8; 32] = std::array::from_fn(|n| 0x80 + n as u8);
    let nonce: [u8; 24] = std::array::from_fn(|n| 0x40 + n as u8);
    let data = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
    let mut text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
                     for the future, sunscreen would be it."
        .to_vec();
    let cipher = XChaCha20Poly1305::new(&key.into());
    cipher.encrypt_in_place(&XNonce::from(nonce), &data, &mut text).unwrap();
    let tag = [
        0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79, 0x47, 0xde, 0xaf, 0xd8, 0x78, 0x0a, 0xcf,
        0x49,
    ];
    assert_eq!(text[..4], [0xbd, 0x6d, 0x17, 0x9d]);
    assert_eq!(text[text.len() - 16..], tag);
}

/// No nonce comes twice on a thread, on two, or behind the end of what was drawn.
#[test]
fn nonces_do_not_repeat() {
    let draw = || (0..3 * NONCES).map(|_| draw_nonce().unwrap()).collect::<Vec<_>>();
    let mut all = draw();
    all.extend(std::thread::spawn(draw).join().unwrap());
    let distinct: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn at_most_sixteen_keys_are_ready_and_those_that_were_forgotten_are_not() {
    let encryption = Encryption::new(0, |number| Some([number as u8; 32])).unwrap();
    for number in 0..100 {
        encryption.use_key(number).unwrap();
    }
    let ready = || encryption.0.ready.read().iter().map(|(number, _)| *number).collect::<Vec<_>>();
    assert_eq!(ready(), (84..100).collect::<Vec<_>>());
    encryption.forget(90);
    encryption.forget(3);
    assert!(!ready().contains(&90) && ready().len() == 15);
}
