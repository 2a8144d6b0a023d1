//! A compressed transaction: one event that holds all others of it but the GTID.
//!
//! The events within have no checksum of their own; the outer one covers them. Invariant: memory goes to what has
//! really been decompressed, an event at a time, never to a size that a field declares.
//!
//! Source: `Transaction_payload_event` in `libs/mysql/binlog/event/control_events.h`, `codecs/binary.cpp` beside it.

use std::io::Read;

use bytes::Bytes;
use ruzstd::decoding::StreamingDecoder;

use super::event::{HEADER_LEN, RawEvent};
use crate::{Reader, Result, WireError};

/// The largest event within: the server itself takes none above its largest packet, 1 GiB.
const EVENT_MAX: usize = 1 << 30;

/// `TRANSACTION_PAYLOAD_EVENT`.
#[derive(Debug, Clone)]
pub struct Payload {
    compression: Compression,
    bytes: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Zstd,
    None,
}

impl Payload {
    /// Reads the fields before the payload: type, length, value each, until type 0.
    pub(super) fn parse(body: &Bytes) -> Result<Self> {
        const WHAT: &str = "compressed transaction";
        let mut r = Reader::new(body);
        let (mut size, mut compression) = (None, None);
        loop {
            let field = r.lenenc_int(WHAT)?;
            if field == 0 {
                break;
            }
            let value = r.lenenc_bytes(WHAT)?;
            match field {
                1 => size = Some(Reader::new(value).lenenc_int(WHAT)?),
                2 => compression = Some(compression_type(Reader::new(value).lenenc_int(WHAT)?)?),
                // The size before compression is for information only, says the server's own decoder.
                _ => {}
            }
        }
        let (Some(size), Some(compression)) = (size, compression) else {
            return Err(WireError::Malformed("compressed transaction without size or type"));
        };
        let begin = body.len() - r.len();
        let size = usize::try_from(size).map_err(|_| WireError::Truncated(WHAT))?;
        r.bytes(size, WHAT)?;
        Ok(Self { compression, bytes: body.slice(begin..begin + size) })
    }

    /// Hands each event within, in order, to `visit`.
    ///
    /// # Errors
    /// If the payload is damaged or ends within an event, or `visit` fails.
    pub fn for_each_event<E: From<WireError>>(
        &self,
        mut visit: impl FnMut(RawEvent) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut source: Box<dyn Read + '_> = match self.compression {
            Compression::None => Box::new(&self.bytes[..]),
            Compression::Zstd => Box::new(Frames { compressed: &self.bytes, decoder: None }),
        };
        while let Some(event) = next_event(&mut *source)? {
            visit(event)?;
        }
        Ok(())
    }
}

fn compression_type(number: u64) -> Result<Compression> {
    match number {
        0 => Ok(Compression::Zstd),
        255 => Ok(Compression::None),
        other => Err(WireError::Unsupported(format!("transaction compressed by method {other}"))),
    }
}

fn next_event(source: &mut dyn Read) -> Result<Option<RawEvent>> {
    let mut event = Vec::with_capacity(1024);
    read_up_to(source, HEADER_LEN, &mut event)?;
    if event.is_empty() {
        return Ok(None);
    }
    let size = RawEvent::size(&event)?;
    if !(HEADER_LEN..=EVENT_MAX).contains(&size) {
        return Err(WireError::Malformed("size of an event in a compressed transaction"));
    }
    read_up_to(source, size - HEADER_LEN, &mut event)?;
    RawEvent::parse_within_payload(&Bytes::from(event)).map(Some)
}

/// Appends `n` bytes, or what is left.
fn read_up_to(source: &mut dyn Read, n: usize, out: &mut Vec<u8>) -> Result<()> {
    source.take(n as u64).read_to_end(out).map_err(|_| WireError::Malformed("zstd data"))?;
    Ok(())
}

/// One zstd frame after another, decompressed as it is read.
struct Frames<'a> {
    /// What no frame has taken yet.
    compressed: &'a [u8],
    decoder: Option<StreamingDecoder<&'a [u8], ruzstd::decoding::FrameDecoder>>,
}

impl Read for Frames<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if let Some(decoder) = &mut self.decoder {
                match decoder.read(out)? {
                    0 => self.compressed = decoder.get_ref(),
                    n => return Ok(n),
                }
            }
            if self.compressed.is_empty() {
                self.decoder = None;
                return Ok(0);
            }
            // The decoder refuses a frame that asks for more than 128 MiB of history, which is the most that the
            // server's highest level uses.
            self.decoder = Some(StreamingDecoder::new(self.compressed).map_err(std::io::Error::other)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `BEGIN`, a table map, one row of `(7, 'q')` and the XID, as MySQL 9.7.4 compressed them.
    pub(crate) const SAMPLE: &[u8] = include_bytes!("payload_sample.bin");

    fn types(payload: &Payload) -> Result<Vec<u8>> {
        let mut types = Vec::new();
        payload.for_each_event(|event| {
            types.push(event.header.event_type);
            event.decode().map(drop)
        })?;
        Ok(types)
    }

    #[test]
    fn a_compressed_transaction_is_read_event_by_event() {
        let payload = Payload::parse(&Bytes::from_static(SAMPLE)).unwrap();
        assert_eq!(types(&payload), Ok(vec![2, 19, 30, 16]));
    }

    #[test]
    fn a_transaction_that_ends_early_is_an_error_wherever_it_ends() {
        for n in 0..SAMPLE.len() {
            let cut = Bytes::from_static(&SAMPLE[..n]);
            assert!(Payload::parse(&cut).and_then(|p| types(&p)).is_err(), "{n}");
        }
    }

    #[test]
    fn an_uncompressed_payload_is_read_and_an_unknown_method_is_named() {
        let mut event = vec![0; HEADER_LEN];
        event[4] = 16;
        event[9] = HEADER_LEN as u8;
        let mut body = vec![2, 3, 0xFC, 255, 0, 1, 1, HEADER_LEN as u8, 0];
        body.extend_from_slice(&event);
        let payload = Payload::parse(&Bytes::from(body.clone())).unwrap();
        assert_eq!(types(&payload), Ok(vec![16]));
        body[3] = 7;
        let unknown = Payload::parse(&Bytes::from(body)).unwrap_err();
        assert_eq!(unknown, WireError::Unsupported("transaction compressed by method 7".into()));
    }
}
