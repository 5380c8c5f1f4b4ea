//! Damages to inputs, without guidance: what every test run does to the corpora.
//!
//! Responsible for: a sequence of numbers that a seed repeats, and inputs out of other inputs. Must not know: targets.

/// A reproducible sequence (SplitMix64).
#[derive(Debug)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The next number, below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from(z ^ (z >> 31)).unwrap_or_default().checked_rem(end).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }
}

/// Numbers at which limits are.
const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

/// A copy of `input` with a few damages, or none; `other` may become a part of it.
pub fn damaged(input: &[u8], other: &[u8], sequence: &mut Sequence) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=sequence.below(4) {
        let at = sequence.below(bytes.len() + 1);
        match sequence.below(7) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = sequence.byte()),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << sequence.below(8)),
            2 => {
                let edge = EDGES.get(sequence.below(EDGES.len())).copied().unwrap_or_default();
                let count = 1 << sequence.below(4);
                bytes.iter_mut().skip(at).take(count).for_each(|byte| *byte = edge);
            }
            3 => bytes.truncate(at),
            4 => bytes.insert(at, sequence.byte()),
            5 => {
                let piece: Vec<u8> = bytes.iter().take(at).skip(at / 2).copied().collect();
                bytes.splice(at..at, piece);
            }
            _ => {
                let from = sequence.below(other.len());
                let count = sequence.below(64);
                let piece: Vec<u8> = other.iter().skip(from).take(count).copied().collect();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}
