//! Framing: a 3-byte length, a sequence number, a payload; payloads of 2^24-1 bytes and more are split.

/// The largest payload one packet can carry; one of exactly this size is followed by another, perhaps empty, packet.
pub const PAYLOAD_MAX: usize = 0xFF_FFFF;

/// Bytes of a packet header.
pub const HEADER_LEN: usize = 4;

/// A packet's length and sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Payload length in bytes, without the header.
    pub len: usize,
    /// Sequence number: 0 for a command, then counting up within the exchange.
    pub seq: u8,
}

impl Header {
    /// Reads a header.
    pub fn parse(b: [u8; HEADER_LEN]) -> Self {
        Self { len: usize::from(b[0]) | usize::from(b[1]) << 8 | usize::from(b[2]) << 16, seq: b[3] }
    }

    /// The header's bytes. `len` must not exceed [`PAYLOAD_MAX`].
    pub fn encode(self) -> [u8; HEADER_LEN] {
        assert!(self.len <= PAYLOAD_MAX, "a packet of {} bytes must be split", self.len);
        let le = self.len.to_le_bytes();
        [le[0], le[1], le[2], self.seq]
    }
}

/// Appends `payload` to `out` as one or more packets, advancing `seq` past them.
pub fn frame(out: &mut Vec<u8>, seq: &mut u8, payload: &[u8]) {
    let mut rest = payload;
    loop {
        let (chunk, tail) = rest.split_at(rest.len().min(PAYLOAD_MAX));
        out.extend_from_slice(&Header { len: chunk.len(), seq: *seq }.encode());
        out.extend_from_slice(chunk);
        *seq = seq.wrapping_add(1);
        rest = tail;
        if chunk.len() < PAYLOAD_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths_of(payload_len: usize) -> Vec<usize> {
        let (mut out, mut seq) = (Vec::new(), 255);
        frame(&mut out, &mut seq, &vec![7; payload_len]);
        let (mut at, mut lengths) = (0, Vec::new());
        while at < out.len() {
            let header = Header::parse(out[at..at + 4].try_into().unwrap());
            assert_eq!(header.seq, 255u8.wrapping_add(lengths.len() as u8));
            at += 4 + header.len;
            lengths.push(header.len);
        }
        lengths
    }

    #[test]
    fn a_payload_of_exactly_the_maximum_is_followed_by_an_empty_packet() {
        assert_eq!(lengths_of(0), [0]);
        assert_eq!(lengths_of(PAYLOAD_MAX - 1), [PAYLOAD_MAX - 1]);
        assert_eq!(lengths_of(PAYLOAD_MAX), [PAYLOAD_MAX, 0]);
        assert_eq!(lengths_of(PAYLOAD_MAX + 1), [PAYLOAD_MAX, 1]);
    }
}
