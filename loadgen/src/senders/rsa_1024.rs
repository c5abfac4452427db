//! RSA signatures with a key of 1,024 bits (RFC 8017 §8.2.1). aws-lc-rs makes none that short, so the
//! arithmetic is here: plain Montgomery multiplication. The key is public; nothing here hides its time.

/// Limbs of a number.
const LIMBS: usize = 16;

/// Octets of a number, and of a signature.
const BYTES: usize = LIMBS * 8;

/// A number of 1,024 bits, its least significant limb first.
type Number = [u64; LIMBS];

/// What stands before a SHA-256 hash in the padded form of it (RFC 8017 §9.2, note 1).
const SHA_256: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

/// A key, ready to sign.
#[derive(Debug)]
pub struct Key {
    modulus: Number,
    exponent: Number,
    /// `-modulus⁻¹` modulo 2⁶⁴.
    inverse: u64,
    /// `2²⁰⁴⁸` modulo the modulus.
    square: Number,
}

impl Key {
    /// Of modulus and private exponent, most significant octet first.
    pub fn new(modulus: &[u8; BYTES], exponent: &[u8; BYTES]) -> Self {
        let modulus = number(modulus);
        assert!(modulus[0] & 1 == 1 && modulus[LIMBS - 1] >> 63 == 1, "an odd modulus of 1,024 bits");
        // Newton's iteration doubles the bits that are right: 1 bit at first, then 2, 4, … 64.
        let inverse = (0..6).fold(1_u64, |inverse, _| {
            inverse.wrapping_mul(2_u64.wrapping_sub(modulus[0].wrapping_mul(inverse)))
        });
        let mut one = [0; LIMBS];
        one[0] = 1;
        let square = (0..2 * 64 * LIMBS).fold(one, |number, _| doubled(&number, &modulus));
        Self { modulus, exponent: number(exponent), inverse: inverse.wrapping_neg(), square }
    }

    /// The signature of what has this SHA-256 hash.
    pub fn sign(&self, hash: &[u8; 32]) -> [u8; BYTES] {
        let mut padded = [0xff; BYTES];
        padded[..2].copy_from_slice(&[0, 1]);
        let zero = BYTES - SHA_256.len() - hash.len() - 1;
        padded[zero] = 0;
        padded[zero + 1..BYTES - hash.len()].copy_from_slice(&SHA_256);
        padded[BYTES - hash.len()..].copy_from_slice(hash);
        let signature = self.power(&number(&padded));
        let mut octets = [0; BYTES];
        for (part, limb) in octets.chunks_exact_mut(8).zip(signature.iter().rev()) {
            part.copy_from_slice(&limb.to_be_bytes());
        }
        octets
    }

    /// The number to the private exponent, square and multiply.
    fn power(&self, base: &Number) -> Number {
        let mut one = [0; LIMBS];
        one[0] = 1;
        let base = self.multiply(base, &self.square);
        let mut result = self.multiply(&one, &self.square);
        for bit in (0..64 * LIMBS).rev() {
            result = self.multiply(&result, &result);
            if self.exponent[bit / 64] >> (bit % 64) & 1 == 1 {
                result = self.multiply(&result, &base);
            }
        }
        self.multiply(&result, &one)
    }

    /// `one · other / 2¹⁰²⁴` modulo the modulus. Both are below it, and so is the result.
    fn multiply(&self, one: &Number, other: &Number) -> Number {
        let mut sum = [0_u64; LIMBS + 2];
        for limb in one {
            let mut carry = 0;
            for (place, factor) in sum.iter_mut().zip(other) {
                (*place, carry) = add_product(*place, *limb, *factor, carry);
            }
            let (high, over) = sum[LIMBS].overflowing_add(carry);
            (sum[LIMBS], sum[LIMBS + 1]) = (high, u64::from(over));
            // What makes the lowest limb zero, so that it can be dropped.
            let times = sum[0].wrapping_mul(self.inverse);
            let mut carry = add_product(sum[0], times, self.modulus[0], 0).1;
            for index in 1..LIMBS {
                (sum[index - 1], carry) = add_product(sum[index], times, self.modulus[index], carry);
            }
            let (high, over) = sum[LIMBS].overflowing_add(carry);
            (sum[LIMBS - 1], sum[LIMBS]) = (high, sum[LIMBS + 1] + u64::from(over));
        }
        let mut result = [0; LIMBS];
        result.copy_from_slice(&sum[..LIMBS]);
        let (reduced, is_less) = subtracted(&result, &self.modulus);
        if sum[LIMBS] > 0 || !is_less { reduced } else { result }
    }
}

/// `start + limb · factor + carry`: its low limb, and the carry.
#[allow(clippy::cast_possible_truncation, reason = "the halves of a number of 128 bits")]
fn add_product(start: u64, limb: u64, factor: u64, carry: u64) -> (u64, u64) {
    let sum = u128::from(limb) * u128::from(factor) + u128::from(start) + u128::from(carry);
    (sum as u64, (sum >> 64) as u64)
}

/// Twice a number that is below the modulus.
fn doubled(number: &Number, modulus: &Number) -> Number {
    let mut double = [0; LIMBS];
    let mut carry = 0;
    for (place, limb) in double.iter_mut().zip(number) {
        *place = limb << 1 | carry;
        carry = limb >> 63;
    }
    let (reduced, is_less) = subtracted(&double, modulus);
    if carry > 0 || !is_less { reduced } else { double }
}

/// The difference modulo 2¹⁰²⁴, and whether the first number is the smaller one.
fn subtracted(one: &Number, other: &Number) -> (Number, bool) {
    let mut difference = [0; LIMBS];
    let mut borrow = false;
    for (place, (limb, less)) in difference.iter_mut().zip(one.iter().zip(other)) {
        let (partial, first) = limb.overflowing_sub(*less);
        let (whole, second) = partial.overflowing_sub(u64::from(borrow));
        (*place, borrow) = (whole, first || second);
    }
    (difference, borrow)
}

fn number(octets: &[u8; BYTES]) -> Number {
    let mut number = [0; LIMBS];
    for (limb, part) in number.iter_mut().rev().zip(octets.chunks_exact(8)) {
        *limb = part.iter().fold(0, |limb, octet| limb << 8 | u64::from(*octet));
    }
    number
}
