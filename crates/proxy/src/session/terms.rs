//! What the door grants a client beyond letting it in: what of the protocol it may use, and how long it may take.

use std::time::Duration;

use wire::Capabilities;

/// The terms of a client's stay; those of the moment when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether `LOAD DATA LOCAL` may be used, if the server allows it too.
    pub local_infile: bool,
    /// Whether clients that ask for compression (zlib or zstd) get it, on their side of the door.
    pub compression: bool,
    /// How long a client may be idle outside a transaction; zero is no limit. Whole seconds.
    pub idle_max: Duration,
    /// The same, inside a transaction, with tables locked or a cursor open.
    pub transaction_idle_max: Duration,
    /// How long a statement may run before the server is told to end it; zero is no limit. Whole seconds.
    pub statement_max: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            local_infile: false,
            compression: true,
            idle_max: Duration::ZERO,
            transaction_idle_max: Duration::ZERO,
            statement_max: Duration::ZERO,
        }
    }
}

impl Terms {
    /// The capabilities that these terms add to what clients are offered.
    pub(crate) fn offered(&self) -> Capabilities {
        let mut offered = Capabilities(0);
        if self.local_infile {
            offered |= Capabilities::LOCAL_FILES;
        }
        if self.compression {
            offered |= Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION;
        }
        offered
    }
}
