//! AES Key Wrap (RFC 3394). aws-lc-rs supports two of the three key sizes; this implementation supports all
//! three, on top of its AES.

use aws_lc_rs::cipher::{Algorithm, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

/// Half of an AES block, in bytes.
const HALF: usize = 8;

/// The initial value of the algorithm (section 2.2.3.1).
const INITIAL_VALUE: [u8; HALF] = [0xa6; HALF];

/// Unwraps the key in `wrapped` (section 2.2.2). Returns `None` if it was wrapped with another key or
/// modified.
pub(super) fn unwrap(
    cipher: &'static Algorithm,
    wrapping_key: &[u8],
    wrapped: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let aes = DecryptingKey::ecb(UnboundCipherKey::new(cipher, wrapping_key).ok()?).ok()?;
    let (first, rest) = wrapped.split_at_checked(HALF)?;
    // A key has at least two half blocks.
    if rest.len() < 2 * HALF || rest.len() % HALF != 0 {
        return None;
    }
    let mut register: [u8; HALF] = first.try_into().ok()?;
    let mut key = Zeroizing::new(rest.to_vec());
    let count = key.len() / HALF;
    let mut step = u64::try_from(6 * count).ok()?;
    for _ in 0..6 {
        for half in key.rchunks_exact_mut(HALF) {
            let counter = step.to_be_bytes();
            let mut block = Zeroizing::new([0; 2 * HALF]);
            let (left, right) = block.split_at_mut(HALF);
            for ((out, byte), count) in left.iter_mut().zip(register).zip(counter) {
                *out = byte ^ count;
            }
            right.copy_from_slice(half);
            aes.decrypt(block.as_mut_slice(), DecryptionContext::None).ok()?;
            let (left, right) = block.split_at(HALF);
            register.copy_from_slice(left);
            half.copy_from_slice(right);
            step -= 1;
        }
    }
    verify_slices_are_equal(&register, &INITIAL_VALUE).ok().map(|()| key)
}
