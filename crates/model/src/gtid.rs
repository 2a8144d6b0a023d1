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

/// One transaction's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gtid {
    /// The server (or group) it began on.
    pub uuid: Uuid,
    /// Its number there, from 1.
    pub number: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Hyphenated(&self.uuid), self.number)
    }
}

/// A set of transactions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GtidSet {
    /// For each UUID, half-open intervals: sorted, disjoint and not touching.
    intervals: BTreeMap<Uuid, Vec<(u64, u64)>>,
}

/// Why a text is not a GTID set this program can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GtidError {
    /// Not of the form `uuid:1-5:7,...`.
    #[error("not a GTID set: '{0}'")]
    Malformed(String),
    /// A tag (MySQL 8.3 and later) stands between UUID and number.
    #[error("tagged GTIDs are not supported: '{0}'")]
    Tagged(String),
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
        self.add_interval(gtid.uuid, gtid.number, gtid.number.saturating_add(1));
    }

    /// Adds every transaction of `other`.
    pub fn union(&mut self, other: &Self) {
        for (uuid, intervals) in &other.intervals {
            for &(start, end) in intervals {
                self.add_interval(*uuid, start, end);
            }
        }
    }

    /// Whether the set holds this transaction.
    pub fn has(&self, gtid: Gtid) -> bool {
        self.covers(&gtid.uuid, gtid.number, gtid.number.saturating_add(1))
    }

    /// Whether the set holds every transaction of `other`.
    pub fn contains(&self, other: &Self) -> bool {
        other
            .intervals
            .iter()
            .all(|(uuid, list)| list.iter().all(|&(start, end)| self.covers(uuid, start, end)))
    }

    fn covers(&self, uuid: &Uuid, start: u64, end: u64) -> bool {
        let Some(list) = self.intervals.get(uuid) else { return false };
        let after = list.partition_point(|&(s, _)| s <= start);
        after > 0 && list[after - 1].1 >= end
    }

    fn add_interval(&mut self, uuid: Uuid, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let list = self.intervals.entry(uuid).or_default();
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

    /// The form `COM_BINLOG_DUMP_GTID` takes.
    ///
    /// Source: `Gtid_set::encode` in `sql/rpl_gtid_set.cc`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = (self.intervals.len() as u64).to_le_bytes().to_vec();
        for (uuid, list) in &self.intervals {
            out.extend_from_slice(uuid);
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
            for range in ranges.split(':').map(str::trim) {
                if range.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    return Err(GtidError::Tagged(part.to_owned()));
                }
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let first: u64 = first.trim().parse().map_err(|_| malformed())?;
                let last: u64 = last.trim().parse().map_err(|_| malformed())?;
                if first == 0 || last < first || last == u64::MAX {
                    return Err(malformed());
                }
                set.add_interval(uuid, first, last + 1);
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
        for (i, (uuid, list)) in self.intervals.iter().enumerate() {
            write!(f, "{}{}", if i > 0 { "," } else { "" }, Hyphenated(uuid))?;
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
            s.add(Gtid { uuid: parse_uuid(A).unwrap(), number });
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
        assert!(matches!(format!("{A}:tag:1").parse::<GtidSet>(), Err(GtidError::Tagged(_))));
    }
}
