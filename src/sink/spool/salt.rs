//! The number that makes the checksums of one file ours alone.

use std::io;

/// A salt that no client can guess.
pub(crate) fn draw() -> io::Result<u64> {
    let mut salt = [0; 8];
    let mut filled = 0;
    while filled < salt.len() {
        filled += rustix::rand::getrandom(&mut salt[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(u64::from_le_bytes(salt))
}
