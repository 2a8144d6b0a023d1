//! A prepared statement with one BIGINT parameter, over raw packets: what most drivers send for a point select.
//!
//! Source: MySQL manual, "COM_STMT_PREPARE", "COM_STMT_EXECUTE", "Binary Protocol Resultset".

use mysql::{Capabilities, Connection, ErrPacket, Error, Result};
use wire::Reader;
use wire::command::Command;
use wire::response::{ERR, OK};

const TYPE_LONGLONG: u8 = 0x08;
const UNSIGNED: u8 = 0x80;

/// A prepared `SELECT` whose first column is an unsigned BIGINT.
#[derive(Debug, Clone, Copy)]
pub(super) struct PointSelect {
    id: u32,
}

impl PointSelect {
    pub(super) async fn prepare(conn: &mut Connection, sql: &str) -> Result<Self> {
        conn.send_command(Command::STMT_PREPARE, sql.as_bytes()).await?;
        let packet = conn.read_packet().await?;
        refuse_error(&packet)?;
        let mut r = Reader::new(&packet);
        if r.u8("prepare answer")? != OK {
            return Err(Error::Unexpected("to a prepare"));
        }
        let id = r.u32("statement id")?;
        let (columns, parameters) = (r.u16("columns")?, r.u16("parameters")?);
        for definitions in [parameters, columns] {
            skip_definitions(conn, u64::from(definitions)).await?;
        }
        match parameters {
            1 => Ok(Self { id }),
            _ => Err(Error::Unexpected("another number of parameters than was prepared")),
        }
    }

    /// The first column of the row, to tell whether it is the row that was asked for; `None` if there is none.
    pub(super) async fn execute(self, conn: &mut Connection, parameter: u64) -> Result<Option<u64>> {
        let mut body = Vec::with_capacity(22);
        body.extend_from_slice(&self.id.to_le_bytes());
        body.push(0); // no cursor
        body.extend_from_slice(&1u32.to_le_bytes());
        body.extend_from_slice(&[0, 1, TYPE_LONGLONG, UNSIGNED]); // not NULL; types follow; the type
        body.extend_from_slice(&parameter.to_le_bytes());
        conn.send_command(Command::STMT_EXECUTE, &body).await?;

        let head = conn.read_packet().await?;
        refuse_error(&head)?;
        let columns = Reader::new(&head).lenenc_int("column count")?;
        if columns == 0 {
            return Err(Error::Unexpected("no columns from a select"));
        }
        skip_definitions(conn, columns).await?;
        let mut first = None;
        while let Some(row) = conn.next_row().await? {
            let mut r = Reader::new(&row);
            r.u8("row header")?;
            let nulls = r.bytes(((columns + 9) / 8) as usize, "NULL bitmap")?;
            // Column 0 is bit 2 of the bitmap.
            if nulls[0] & 0b100 == 0 {
                first = Some(r.u64("first column")?);
            }
        }
        Ok(first)
    }
}

fn refuse_error(packet: &[u8]) -> Result<()> {
    match packet.first() {
        Some(&ERR) => Err(Error::Server(ErrPacket::parse(packet)?)),
        _ => Ok(()),
    }
}

async fn skip_definitions(conn: &mut Connection, count: u64) -> Result<()> {
    let eof = u64::from(count > 0 && !conn.capabilities().has(Capabilities::DEPRECATE_EOF));
    for _ in 0..count + eof {
        conn.read_packet().await?;
    }
    Ok(())
}
