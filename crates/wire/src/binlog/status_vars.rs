//! The session a logged statement ran in, as far as its meaning depends on it.
//!
//! Source: MySQL source, `statement_events.h`, `Query_event_status_vars`. The codes have no common length, so what
//! follows an unknown one cannot be read; who replays the statement must know of that, and is told.

use crate::{Reader, Result};

/// What a statement's event says of its session; `None` where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusVars {
    /// Session flags: see [`StatusVars::foreign_key_checks`] and its like.
    pub flags: Option<u32>,
    /// `sql_mode`, by bits.
    pub sql_mode: Option<u64>,
    /// `auto_increment_increment` and `auto_increment_offset`, where not both are 1.
    pub auto_increment: Option<(u16, u16)>,
    /// Collation ids of `character_set_client`, `collation_connection` and `collation_server`.
    pub collations: Option<(u16, u16, u16)>,
    /// `time_zone`.
    pub time_zone: Option<String>,
    /// Number of the locale of `lc_time_names`.
    pub lc_time_names: Option<u16>,
    /// Microseconds of the time at which the statement began.
    pub micros: Option<u32>,
    /// `explicit_defaults_for_timestamp`.
    pub explicit_defaults_for_timestamp: Option<bool>,
    /// Collation id of `default_collation_for_utf8mb4`.
    pub default_collation_for_utf8mb4: Option<u16>,
    /// `sql_require_primary_key`.
    pub require_primary_key: Option<bool>,
    /// `default_table_encryption`.
    pub default_table_encryption: Option<bool>,
    /// The first code that is not known; what comes after it is not read.
    pub unknown: Option<u8>,
}

impl StatusVars {
    const AUTO_IS_NULL: u32 = 1 << 14;
    const NO_UNIQUE_CHECKS: u32 = 1 << 27;
    const ANSI_QUOTES: u64 = 1 << 2;
    const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut vars = Self::default();
        let mut r = Reader::new(bytes);
        while !r.is_empty() {
            let code = r.u8("status variable")?;
            if !vars.take(code, &mut r)? {
                vars.unknown = Some(code);
                break;
            }
        }
        Ok(vars)
    }

    /// Reads the value of a code; false if the code is not known.
    fn take(&mut self, code: u8, r: &mut Reader<'_>) -> Result<bool> {
        let what = "status variable";
        match code {
            0 => self.flags = Some(r.u32(what)?),
            1 => self.sql_mode = Some(r.u64(what)?),
            // The catalog with a closing zero byte, as MySQL 5.0 wrote it.
            2 => {
                let len = usize::from(r.u8(what)?);
                r.bytes(len + 1, what)?;
            }
            3 => self.auto_increment = Some((r.u16(what)?, r.u16(what)?)),
            4 => self.collations = Some((r.u16(what)?, r.u16(what)?, r.u16(what)?)),
            5 => self.time_zone = Some(String::from_utf8_lossy(short(r)?).into_owned()),
            // Catalog.
            6 => drop(short(r)?),
            7 => self.lc_time_names = Some(r.u16(what)?),
            // collation_database: follows from the default schema.
            8 => drop(r.bytes(2, what)?),
            // Tables of a multi-table update; bytes written by the original server.
            9 => drop(r.bytes(8, what)?),
            10 => drop(r.bytes(4, what)?),
            // Invoker: user and host.
            11 => {
                short(r)?;
                short(r)?;
            }
            12 => updated_schemas(r)?,
            13 => self.micros = Some(r.u24(what)?),
            16 => self.explicit_defaults_for_timestamp = Some(r.u8(what)? != 0),
            // Transaction number of the storage engines.
            17 => drop(r.bytes(8, what)?),
            18 => self.default_collation_for_utf8mb4 = Some(r.u16(what)?),
            19 => self.require_primary_key = Some(r.u8(what)? != 0),
            20 => self.default_table_encryption = Some(r.u8(what)? != 0),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn flag(&self, bit: u32) -> bool {
        self.flags.is_some_and(|flags| flags & bit != 0)
    }

    /// `sql_auto_is_null`.
    pub fn auto_is_null(&self) -> bool {
        self.flag(Self::AUTO_IS_NULL)
    }

    /// `unique_checks`.
    pub fn unique_checks(&self) -> bool {
        !self.flag(Self::NO_UNIQUE_CHECKS)
    }

    /// Whether `"` quotes names.
    pub fn ansi_quotes(&self) -> bool {
        self.sql_mode.is_some_and(|mode| mode & Self::ANSI_QUOTES != 0)
    }

    /// Whether a backslash in a text is a plain character.
    pub fn no_backslash_escapes(&self) -> bool {
        self.sql_mode.is_some_and(|mode| mode & Self::NO_BACKSLASH_ESCAPES != 0)
    }
}

fn short<'a>(r: &mut Reader<'a>) -> Result<&'a [u8]> {
    let len = usize::from(r.u8("status variable")?);
    r.bytes(len, "status variable")
}

/// The schemas a statement touches, each closed by a zero byte; 254 stands for "too many to name".
fn updated_schemas(r: &mut Reader<'_>) -> Result<()> {
    let count = r.u8("updated schemas")?;
    if count == 254 {
        return Ok(());
    }
    for _ in 0..count {
        while r.u8("updated schemas")? != 0 {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_read_and_an_unknown_one_ends_the_reading() {
        let mut bytes = vec![0, 0, 0, 0, 0x04, 1, 4, 0, 0x10, 0, 0, 0, 0, 0];
        bytes.extend([6, 3, b's', b't', b'd', 3, 2, 0, 1, 0, 4, 255, 0, 45, 0, 8, 0]);
        bytes.extend([5, 6, b'+', b'0', b'2', b':', b'0', b'0', 12, 2, b'a', 0, b'b', b'b', 0]);
        bytes.extend([13, 1, 2, 0, 16, 1, 17, 1, 2, 3, 4, 5, 6, 7, 8, 18, 255, 0, 19, 1, 20, 0]);
        let vars = StatusVars::parse(&bytes).unwrap();
        assert_eq!(vars.collations, Some((255, 45, 8)));
        assert_eq!((vars.time_zone.as_deref(), vars.micros), (Some("+02:00"), Some(513)));
        assert_eq!(vars.auto_increment, Some((2, 1)));
        assert!(vars.ansi_quotes() && vars.no_backslash_escapes() && vars.unique_checks());
        assert_eq!((vars.require_primary_key, vars.default_table_encryption), (Some(true), Some(false)));
        assert_eq!((vars.default_collation_for_utf8mb4, vars.unknown), (Some(255), None));
        bytes.extend([21, 9]);
        assert_eq!(StatusVars::parse(&bytes).unwrap().unknown, Some(21));
        for len in 0..bytes.len() {
            let _ = StatusVars::parse(&bytes[..len]);
        }
        assert!(StatusVars::parse(&[12, 1, b'a']).is_err());
    }
}
