//! GTID sets: which transactions a server has, as MySQL writes them.
//!
//! Invariant: a position is a set, never a maximum. Gaps are real (group replication, several writers), and a set with
//! a gap says "this one is missing" where a maximum would lose it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A server's UUID.
pub type Uuid = [u8; 16];

/// The name between UUID and number that MySQL 8.3 and later can give to transactions; most have none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Tag {
    /// Padded with zero bytes, so that tags sort as their texts do, and no tag comes first.
    text: [u8; Tag::LEN_MAX],
}

impl Tag {
    /// Source: `tag_max_length` in `libs/mysql/gtid/tag.h`.
    const LEN_MAX: usize = 32;

    /// Reads a tag: a letter or underscore, then letters, digits and underscores, 32 at most. The server keeps them
    /// in lower case. No text is no tag.
    ///
    /// # Errors
    /// If it is not one.
    pub fn new(text: &[u8]) -> Result<Self, GtidError> {
        let malformed = || GtidError::Malformed(String::from_utf8_lossy(text).into_owned());
        let mut tag = Self::default();
        let begins_well = text.first().is_none_or(|b| !b.is_ascii_digit());
        if !begins_well || text.len() > Self::LEN_MAX {
            return Err(malformed());
        }
        for (to, from) in tag.text.iter_mut().zip(text) {
            if !from.is_ascii_alphanumeric() && *from != b'_' {
                return Err(malformed());
            }
            *to = from.to_ascii_lowercase();
        }
        Ok(tag)
    }

    /// Its text; empty for none.
    pub fn as_str(&self) -> &str {
        let len = self.text.iter().position(|&b| b == 0).unwrap_or(Self::LEN_MAX);
        // Nothing but ASCII is ever put in.
        std::str::from_utf8(&self.text[..len]).unwrap_or_default()
    }

    fn is_none(&self) -> bool {
        self.text[0] == 0
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:?})", self.as_str())
    }
}

/// Whose numbers: a server's, and those of a tag apart from all others.
type Origin = (Uuid, Tag);

/// One transaction's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gtid {
    /// The server (or group) it began on.
    pub uuid: Uuid,
    /// The tag it was given.
    pub tag: Tag,
    /// Its number there, from 1.
    pub number: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", Hyphenated(&self.uuid))?;
        if !self.tag.is_none() {
            write!(f, "{}:", self.tag.as_str())?;
        }
        write!(f, "{}", self.number)
    }
}

/// A set of transactions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct GtidSet {
    /// For each origin, half-open intervals: sorted, disjoint and not touching.
    intervals: BTreeMap<Origin, Vec<(u64, u64)>>,
}

/// Why a text is not a GTID set this program can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GtidError {
    /// Not of the form `uuid:1-5:7:tag:1-3,...`.
    #[error("not a GTID set: '{0}'")]
    Malformed(String),
}

impl GtidSet {
    /// Whether the set holds no transaction.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// How many transactions the set holds.
    pub fn len(&self) -> u64 {
        self.intervals.values().flatten().map(|(start, end)| end - start).sum()
    }

    /// Adds one transaction.
    pub fn add(&mut self, gtid: Gtid) {
        self.add_interval((gtid.uuid, gtid.tag), gtid.number, gtid.number.saturating_add(1));
    }

    /// Adds every transaction of `other`.
    pub fn union(&mut self, other: &Self) {
        for (origin, intervals) in &other.intervals {
            for &(start, end) in intervals {
                self.add_interval(*origin, start, end);
            }
        }
    }

    /// Whether the set holds this transaction.
    pub fn has(&self, gtid: Gtid) -> bool {
        self.covers(&(gtid.uuid, gtid.tag), gtid.number, gtid.number.saturating_add(1))
    }

    /// Whether the set holds every transaction of `other`.
    pub fn contains(&self, other: &Self) -> bool {
        other
            .intervals
            .iter()
            .all(|(origin, list)| list.iter().all(|&(start, end)| self.covers(origin, start, end)))
    }

    fn covers(&self, origin: &Origin, start: u64, end: u64) -> bool {
        let Some(list) = self.intervals.get(origin) else { return false };
        let after = list.partition_point(|&(s, _)| s <= start);
        after > 0 && list[after - 1].1 >= end
    }

    fn add_interval(&mut self, origin: Origin, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let list = self.intervals.entry(origin).or_default();
        // Nearly always the next number of the last interval.
        if let Some(last) = list.last_mut()
            && last.0 <= start
            && start <= last.1
        {
            last.1 = last.1.max(end);
            return;
        }
        let from = list.partition_point(|&(_, e)| e < start);
        let to = list.partition_point(|&(s, _)| s <= end);
        let merged = list[from..to].iter().fold((start, end), |m, i| (m.0.min(i.0), m.1.max(i.1)));
        list.splice(from..to, [merged]);
    }

    /// The form `COM_BINLOG_DUMP_GTID` takes. A set with tags has another one, which servers before 8.3 do not know;
    /// but then they have no tags.
    ///
    /// Source: `Gtid_set::encode` in `sql/rpl_gtid_set.cc`, `Tag::encode_tag` in `libs/mysql/gtid/tag.cpp`.
    pub fn encode(&self) -> Vec<u8> {
        const TAGGED: u64 = 1;
        let tagged = self.intervals.keys().any(|(_, tag)| !tag.is_none());
        let count = self.intervals.len() as u64;
        let head = if tagged { TAGGED << 56 | count << 8 | TAGGED } else { count };
        let mut out = head.to_le_bytes().to_vec();
        for ((uuid, tag), list) in &self.intervals {
            out.extend_from_slice(uuid);
            if tagged {
                let text = tag.as_str();
                // A length of the serialization library: below 128 it is one byte, shifted by one.
                out.push((text.len() as u8) << 1);
                out.extend_from_slice(text.as_bytes());
            }
            out.extend_from_slice(&(list.len() as u64).to_le_bytes());
            for (start, end) in list {
                out.extend_from_slice(&start.to_le_bytes());
                out.extend_from_slice(&end.to_le_bytes());
            }
        }
        out
    }
}

impl FromStr for GtidSet {
    type Err = GtidError;

    fn from_str(text: &str) -> Result<Self, GtidError> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let malformed = || GtidError::Malformed(part.to_owned());
            let (uuid, ranges) = part.split_once(':').ok_or_else(malformed)?;
            let uuid = parse_uuid(uuid.trim()).ok_or_else(malformed)?;
            let mut tag = Tag::default();
            for range in ranges.split(':').map(str::trim) {
                if range.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    tag = Tag::new(range.as_bytes()).map_err(|_| malformed())?;
                    continue;
                }
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let first: u64 = first.trim().parse().map_err(|_| malformed())?;
                let last: u64 = last.trim().parse().map_err(|_| malformed())?;
                if first == 0 || last < first || last == u64::MAX {
                    return Err(malformed());
                }
                set.add_interval((uuid, tag), first, last + 1);
            }
        }
        Ok(set)
    }
}

fn parse_uuid(text: &str) -> Option<Uuid> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|&b| b != b'-')
        .map(|b| char::from(b).to_digit(16).map(|d| d as u8))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if digits.len() == 32 { bytes.try_into().ok() } else { None }
}

struct Hyphenated<'a>(&'a Uuid);

impl fmt::Display for Hyphenated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for ((uuid, tag), list) in &self.intervals {
            // As the server writes it: the tags of a UUID follow its untagged numbers.
            if last != Some(uuid) {
                write!(f, "{}{}", if last.is_some() { "," } else { "" }, Hyphenated(uuid))?;
                last = Some(uuid);
            }
            if !tag.is_none() {
                write!(f, ":{}", tag.as_str())?;
            }
            for (start, end) in list {
                match end - start {
                    1 => write!(f, ":{start}")?,
                    _ => write!(f, ":{start}-{}", end - 1)?,
                }
            }
        }
        Ok(())
    }
}

impl Serialize for GtidSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GtidSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().unwrap()
    }

    #[test]
    fn intervals_merge_when_they_touch_and_keep_their_gaps() {
        let mut s = set(&format!("{A}:1-3:7"));
        for number in [9, 5, 4, 6, 8] {
            s.add(Gtid { uuid: parse_uuid(A).unwrap(), tag: Tag::default(), number });
        }
        assert_eq!(s.to_string(), format!("{A}:1-9"));
        assert_eq!(set(&format!("{A}:5:1-2,\n{B}:4")).to_string(), format!("{A}:1-2:5,{B}:4"));
    }

    #[test]
    fn a_gap_is_not_contained() {
        let s = set(&format!("{A}:1-3:5-9"));
        assert!(s.contains(&set(&format!("{A}:2-3:6"))));
        assert!(!s.contains(&set(&format!("{A}:3-5"))));
        assert!(!s.contains(&set(&format!("{B}:1"))));
        assert!(s.contains(&GtidSet::default()));
        assert_eq!(s.len(), 8);
    }

    #[test]
    fn what_is_not_a_gtid_set_is_refused_by_name() {
        for text in ["x:1", "3e11:1", &format!("{A}:0"), &format!("{A}:5-4"), A] {
            assert!(matches!(text.parse::<GtidSet>(), Err(GtidError::Malformed(_))), "{text}");
        }
        for text in [&format!("{A}:0tag:1"), &format!("{A}:a-b:1"), &format!("{A}:{}:1", "x".repeat(33))] {
            assert!(matches!(text.parse::<GtidSet>(), Err(GtidError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn the_numbers_of_a_tag_are_its_own() {
        let text = format!("{A}:1-5:nightly:1-3:other_1:7,{B}:nightly:2");
        let mut s = set(&text);
        assert_eq!(s.to_string(), text);
        assert_eq!(set(&format!("{B}:NIGHTLY:2,{A}:other_1:7:nightly:1-3,{A}:1-5")), s);
        assert!(!s.contains(&set(&format!("{A}:nightly:4"))));
        assert!(s.contains(&set(&format!("{A}:4:nightly:2-3"))));
        let gtid = Gtid { uuid: parse_uuid(A).unwrap(), tag: Tag::new(b"nightly").unwrap(), number: 4 };
        assert_eq!(gtid.to_string(), format!("{A}:nightly:4"));
        s.add(gtid);
        assert!(s.has(gtid) && s.contains(&set(&format!("{A}:nightly:1-4"))));
    }

    #[test]
    fn sets_are_sent_in_the_form_the_server_itself_writes() {
        // The set of a PREVIOUS_GTIDS event of MySQL 9.7.4.
        let tagged = set("22a9cd56-e82a-11f1-9143-02fc00000001:1-7:nightly:1-2").encode();
        let uuid = [0x22, 0xA9, 0xCD, 0x56, 0xE8, 0x2A, 0x11, 0xF1, 0x91, 0x43, 0x02, 0xFC, 0, 0, 0, 1];
        let mut expected = vec![1, 2, 0, 0, 0, 0, 0, 1];
        for (tag, end) in [(&[0x00][..], 8u64), (&b"\x0Enightly"[..], 3)] {
            expected.extend_from_slice(&uuid);
            expected.extend_from_slice(tag);
            for number in [1, 1, end] {
                expected.extend_from_slice(&number.to_le_bytes());
            }
        }
        assert_eq!(tagged, expected);
        assert_eq!(set(&format!("{A}:1-7")).encode()[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    }
}
