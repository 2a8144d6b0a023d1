//! The compressed protocol: packets as one stream of bytes, cut into frames that are compressed one by one.
//!
//! A frame has a header of seven bytes: how many bytes follow, a sequence number, and how many they are when unpacked; 0
//! there says that they are not compressed. Packets and frames know nothing of each other: a packet may begin in one
//! frame and end in another, and a frame may hold several. Source: MySQL manual, "Compression".
//!
//! What a frame unpacks to is bounded by the three bytes that announce it, and must be exactly that.

use std::cell::RefCell;
use std::io::Read;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::{Capabilities, Result, WireError};

/// Bytes of a frame's header.
pub const FRAME_HEADER_LEN: usize = 7;
/// The most that one frame may hold, packed or not, in bytes.
pub const FRAME_MAX: usize = 0xFF_FFFF;
/// Servers and clients leave less than this as it is (`MIN_COMPRESS_LENGTH` in `include/my_compress.h`).
const COMPRESSED_FROM: usize = 50;
/// The most that zlib can make of a byte is 1,032 (zlib's own documentation); a frame that announces more is refused
/// before room is made for it.
const ZLIB_RATIO_MAX: usize = 1032;

thread_local! {
    // Some hundred KiB, of which a thread needs one whatever number of connections it has.
    static DEFLATE: RefCell<Option<Box<Compress>>> = const { RefCell::new(None) };
}

/// How frames are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// zlib.
    Zlib,
    /// zstd.
    Zstd,
}

impl Algorithm {
    /// What two ends with these capabilities in common use, as the server chooses it: zlib if both are there.
    pub fn of(common: Capabilities) -> Option<Self> {
        match common {
            c if c.has(Capabilities::COMPRESS) => Some(Self::Zlib),
            c if c.has(Capabilities::ZSTD_COMPRESSION) => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes that follow.
    pub len: usize,
    /// Sequence number: 0 for the first frame of a command, then counting up, whoever sends.
    pub seq: u8,
    /// Bytes they unpack to; 0 if they are not compressed.
    pub unpacked_len: usize,
}

impl FrameHeader {
    /// Reads a header.
    pub fn parse(b: &[u8; FRAME_HEADER_LEN]) -> Self {
        let three =
            |at: usize| usize::from(b[at]) | usize::from(b[at + 1]) << 8 | usize::from(b[at + 2]) << 16;
        Self { len: three(0), seq: b[3], unpacked_len: three(4) }
    }

    /// The header's bytes. Neither length may exceed [`FRAME_MAX`].
    pub fn encode(self) -> [u8; FRAME_HEADER_LEN] {
        assert!(self.len <= FRAME_MAX && self.unpacked_len <= FRAME_MAX, "a frame holds less than 16 MiB");
        let (len, unpacked) = (self.len.to_le_bytes(), self.unpacked_len.to_le_bytes());
        [len[0], len[1], len[2], self.seq, unpacked[0], unpacked[1], unpacked[2]]
    }

    /// Appends what the bytes behind this header unpack to.
    ///
    /// # Errors
    /// If they are not compressed like that, or to another length than the header says.
    pub fn unpack(self, body: &[u8], algorithm: Algorithm, out: &mut Vec<u8>) -> Result<()> {
        const MALFORMED: WireError = WireError::Malformed("compressed frame");
        if body.len() != self.len {
            return Err(WireError::Truncated("compressed frame"));
        }
        if self.unpacked_len == 0 {
            out.extend_from_slice(body);
            return Ok(());
        }
        if algorithm == Algorithm::Zlib && self.unpacked_len / ZLIB_RATIO_MAX > body.len() {
            return Err(MALFORMED);
        }
        let start = out.len();
        let exact = match algorithm {
            Algorithm::Zlib => {
                out.resize(start + self.unpacked_len, 0);
                let mut inflate = Decompress::new(true);
                let ended = inflate.decompress(body, &mut out[start..], FlushDecompress::Finish);
                matches!(ended, Ok(Status::StreamEnd)) && inflate.total_out() == self.unpacked_len as u64
            }
            Algorithm::Zstd => {
                let mut decoder = FrameDecoder::new();
                // Whatever level the client uses: it needs no more history than there are bytes.
                decoder.set_max_window_size(FRAME_MAX as u64 + 1);
                let mut source = StreamingDecoder::new_with_decoder(body, decoder).map_err(|_| MALFORMED)?;
                let read = source.by_ref().take(self.unpacked_len as u64 + 1).read_to_end(out);
                read.is_ok_and(|n| n == self.unpacked_len) && source.get_ref().is_empty()
            }
        };
        if exact { Ok(()) } else { Err(MALFORMED) }
    }
}

/// Appends `plain` to `out` as one frame; compressed if that makes it smaller. `plain` may have [`FRAME_MAX`] bytes.
pub fn pack(out: &mut Vec<u8>, seq: u8, plain: &[u8], algorithm: Algorithm) {
    let packed = match plain.len() < COMPRESSED_FROM {
        true => None,
        false => compress(plain, algorithm).filter(|packed| packed.len() < plain.len()),
    };
    let (body, unpacked_len) = match &packed {
        Some(packed) => (packed.as_slice(), plain.len()),
        None => (plain, 0),
    };
    out.reserve(FRAME_HEADER_LEN + body.len());
    out.extend_from_slice(&FrameHeader { len: body.len(), seq, unpacked_len }.encode());
    out.extend_from_slice(body);
}

/// `None` if that would take more than the bytes themselves.
fn compress(plain: &[u8], algorithm: Algorithm) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::Zlib => DEFLATE.with_borrow_mut(|deflate| {
            let deflate = deflate.get_or_insert_with(|| Box::new(Compress::new(Compression::fast(), true)));
            deflate.reset();
            let mut packed = Vec::with_capacity(plain.len());
            let ended = deflate.compress_vec(plain, &mut packed, FlushCompress::Finish);
            matches!(ended, Ok(Status::StreamEnd)).then_some(packed)
        }),
        Algorithm::Zstd => Some(compress_to_vec(plain, CompressionLevel::Fastest)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Algorithm; 2] = [Algorithm::Zlib, Algorithm::Zstd];

    fn split(frame: &[u8]) -> (FrameHeader, &[u8]) {
        let (header, body) = frame.split_first_chunk().unwrap();
        (FrameHeader::parse(header), body)
    }

    fn there_and_back(plain: &[u8], algorithm: Algorithm) -> FrameHeader {
        let mut frame = Vec::new();
        pack(&mut frame, 7, plain, algorithm);
        let (header, body) = split(&frame);
        let mut unpacked = b"before".to_vec();
        header.unpack(body, algorithm, &mut unpacked).unwrap();
        assert!(unpacked.strip_prefix(b"before").unwrap() == plain, "{algorithm:?}, {} bytes", plain.len());
        assert_eq!(header.seq, 7);
        header
    }

    #[test]
    fn frames_of_every_size_unpack_to_what_they_were() {
        for algorithm in BOTH {
            for n in [0, 1, 49, 50, 51, 1000, 131_071, 131_072, 131_073, FRAME_MAX] {
                let header = there_and_back(&vec![b'x'; n], algorithm);
                assert_eq!(header.unpacked_len, if n < 50 { 0 } else { n }, "{n}");
            }
            // What does not get smaller is left as it is.
            let mut seed = 1u64;
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .take(300_000)
            .collect();
            assert_eq!(there_and_back(&noise, algorithm).unpacked_len, 0);
        }
    }

    #[test]
    fn a_frame_that_is_not_what_it_says_is_refused() {
        for algorithm in BOTH {
            let mut frame = Vec::new();
            pack(&mut frame, 0, &vec![b'x'; 100_000], algorithm);
            let (header, body) = split(&frame);
            let unpack = |header: FrameHeader, body: &[u8]| header.unpack(body, algorithm, &mut Vec::new());
            assert_eq!(unpack(header, body), Ok(()));
            for unpacked_len in [1, 99_999, 100_001, FRAME_MAX] {
                assert!(unpack(FrameHeader { unpacked_len, ..header }, body).is_err(), "{unpacked_len}");
            }
            for n in 0..body.len() {
                assert!(unpack(FrameHeader { len: n, ..header }, &body[..n]).is_err(), "{n}");
                assert!(unpack(header, &body[..n]).is_err(), "{n}");
            }
        }
    }

    #[test]
    fn a_zstd_frame_that_asks_for_more_history_than_a_frame_can_have_is_refused() {
        // A window of 2^27 bytes, then one empty block.
        let body = [0x28, 0xB5, 0x2F, 0xFD, 0, 17 << 3, 1, 0, 0];
        let header = FrameHeader { len: body.len(), seq: 0, unpacked_len: 60 };
        assert!(header.unpack(&body, Algorithm::Zstd, &mut Vec::new()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn rows_of_any_kind_unpack_to_what_they_were(
            words in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 1usize..200), 0..60),
        ) {
            let plain: Vec<u8> = words.iter().flat_map(|(word, times)| word.repeat(*times)).collect();
            for algorithm in BOTH {
                there_and_back(&plain, algorithm);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), unpacked_len in 0usize..4000) {
            let zstd = [&[0x28, 0xB5, 0x2F, 0xFD][..], &body].concat();
            let zlib = [&[0x78, 0x9C][..], &body].concat();
            for (algorithm, body) in [(Algorithm::Zstd, zstd), (Algorithm::Zlib, zlib)] {
                let header = FrameHeader { len: body.len(), seq: 0, unpacked_len };
                let _ = header.unpack(&body, algorithm, &mut Vec::new());
            }
        }
    }
}
