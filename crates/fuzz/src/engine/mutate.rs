//! How an input becomes another one.

use super::random::Random;

/// The longest input that is made, in bytes.
pub const INPUT_MAX: usize = 4096;

/// Numbers at which decoders change their minds.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    9,
    15,
    16,
    18,
    19,
    31,
    32,
    63,
    64,
    65,
    127,
    128,
    250,
    251,
    252,
    253,
    254,
    255,
    256,
    257,
    511,
    512,
    1000,
    4095,
    4096,
    32_767,
    32_768,
    65_535,
    65_536,
    0xFF_FFFF,
    0x100_0000,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x1_0000_0000,
    0x7FFF_FFFF_FFFF_FFFF,
    0x8000_0000_0000_0000,
    0xFFFF_FFFF_FFFF_FFFE,
    0xFFFF_FFFF_FFFF_FFFF,
];

/// Bytes that begin, end or escape something in most formats.
const MARKS: &[u8] = b"\0\x01\xFF\xFE\xFB\xFC'\"`\\/*-#;,.:()[]{}=@$\n\r \t0919aAzZ_";

/// Changes `input` a few times. `other` is another input, `words` what the target's format is made of.
pub fn mutate(random: &mut Random, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    for _ in 0..1 << random.below(4) {
        once(random, input, other, words);
    }
    input.truncate(INPUT_MAX);
}

fn once(random: &mut Random, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    let at = random.below(input.len() + 1);
    let long = 1 << random.below(7);
    let len = 1 + random.below(long);
    let end = (at + len).min(input.len());
    match random.below(13) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next() as u8,
        2 if at < input.len() => {
            let by = random.below(35) as u8;
            input[at] =
                if random.below(2) == 0 { input[at].wrapping_add(by) } else { input[at].wrapping_sub(by) };
        }
        3 => drop(input.drain(at..end)),
        4 => {
            let copy = input[at..end].to_vec();
            let to = random.below(input.len() + 1);
            input.splice(to..to, copy);
        }
        5 => {
            let fill = if random.below(2) == 0 { 0 } else { random.next() as u8 };
            input.splice(at..at, std::iter::repeat_n(fill, len));
        }
        6 | 7 if !words.is_empty() => {
            let word = random.of(words).copied().unwrap_or_default();
            let until = if random.below(2) == 0 { at } else { (at + word.len()).min(input.len()) };
            input.splice(at..until, word.iter().copied());
        }
        8 => {
            let number = number(random, input.len() - at);
            let width = [1, 2, 3, 4, 8][random.below(5)];
            let mut bytes = number.to_le_bytes()[..width].to_vec();
            if random.below(4) == 0 {
                bytes.reverse();
            }
            let until = if random.below(4) == 0 { at } else { (at + width).min(input.len()) };
            input.splice(at..until, bytes);
        }
        9 => {
            let from = random.below(other.len() + 1);
            let piece = &other[from..(from + len).min(other.len())];
            let until = if random.below(2) == 0 { at } else { end };
            input.splice(at..until, piece.iter().copied());
        }
        10 => {
            // The front of this one, the back of that one.
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        11 => {
            let text = number(random, input.len()).to_string();
            let digits = input[at..].iter().take_while(|b| b.is_ascii_digit()).count();
            input.splice(at..at + digits, text.bytes());
        }
        _ => {
            let mark = random.of(MARKS).copied().unwrap_or_default();
            let until = if random.below(2) == 0 { at } else { (at + 1).min(input.len()) };
            input.splice(at..until, [mark]);
        }
    }
}

fn number(random: &mut Random, left: usize) -> u64 {
    match random.below(4) {
        // A length that fits, or nearly.
        0 => (left as u64).wrapping_add(random.below(5) as u64).wrapping_sub(2),
        1 => random.next() >> random.below(64),
        _ => random.of(NUMBERS).copied().unwrap_or_default(),
    }
}

/// Takes out of an input what `still` does not need.
pub fn shrink(input: &[u8], mut still: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = input.to_vec();
    let mut piece = best.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < best.len() {
            let mut less = best.clone();
            less.drain(at..(at + piece).min(best.len()));
            if still(&less) { best = less } else { at += piece }
        }
        piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_remains_and_nothing_else() {
        let needed = |input: &[u8]| input.contains(&b'x') && input.ends_with(b"y");
        assert_eq!(shrink(b"abcxdefghijklmnopqy", needed), b"xy");
        assert_eq!(shrink(b"", |_| true), b"");
    }

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_none_is_too_long() {
        let inputs = |seed| {
            let mut random = Random::new(seed, "a");
            let mut input = vec![7; 100];
            let all: Vec<Vec<u8>> = (0..5000)
                .map(|_| {
                    mutate(&mut random, &mut input, b"another", &[b"word"]);
                    input.clone()
                })
                .collect();
            all
        };
        assert_eq!(inputs(5), inputs(5));
        assert_ne!(inputs(5), inputs(6));
        assert!(inputs(5).iter().all(|i| i.len() <= INPUT_MAX));
    }
}
