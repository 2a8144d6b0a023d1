//! A front door before one server, for trying things and for measuring: `door LISTEN HOST PORT [THREADS [BACKENDS [CERT
//! KEY]]]`; with 0 backends nothing is shared.

use std::time::Duration;

use proxy::{Backend, Door, DoorOptions, DoorTls, Entrance, Rules, Terms};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, host, port, rest @ ..] = args.as_slice() else {
        return Err("usage: door LISTEN HOST PORT [THREADS [BACKENDS [CERT KEY]]]".into());
    };
    let tls = match rest {
        [_, _, cert, key] => Some(DoorTls::new(cert.as_ref(), key.as_ref(), None)?),
        _ => None,
    };
    let backends_max = rest.get(1).map_or(Ok(200), |n| n.parse())?;
    let door = Door::start(DoorOptions {
        listen: listen.parse()?,
        threads: rest.first().map_or(Ok(0), |n| n.parse())?,
        writer: Backend {
            id: "main".into(),
            host: host.clone(),
            port: port.parse()?,
            server_key: mysql::ServerKey::FetchOnLoopback,
            tls: mysql::Tls::default(),
        },
        routes: proxy::Routes::default(),
        server_version: "9.7.4-highwater".into(),
        share: backends_max > 0,
        rules: Rules {
            hold_max: Duration::from_secs(30),
            clients_max: 20_000,
            entrance: Entrance { tls, ..Entrance::default() },
            backends_max,
            queue_max: Duration::from_secs(10),
            terms: Terms::default(),
            memory_max: usize::MAX,
            observe: proxy::Observe::default(),
        },
    })?;
    eprintln!("listening on {}", door.address());
    loop {
        std::thread::park();
    }
}
