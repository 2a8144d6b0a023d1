//! A wire to a server that a test can hold up: what a client's connection has sent stays in it until the test lets it go on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A port that leads to a server. Bytes to the server in which `stop_at` occurs go no further while the wire is held.
pub struct Wire {
    pub port: u16,
    held: watch::Sender<bool>,
    caught: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Wire {
    /// Opens one, on this thread's tasks.
    pub async fn to(server: SocketAddr, stop_at: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (held, caught) = (watch::Sender::new(false), Arc::<Mutex<Vec<Vec<u8>>>>::default());
        let (holds, catches) = (held.clone(), Arc::clone(&caught));
        tokio::task::spawn_local(async move {
            while let Ok((client, _)) = listener.accept().await {
                let to_server = TcpStream::connect(server).await.unwrap();
                client.set_nodelay(true).unwrap();
                to_server.set_nodelay(true).unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = to_server.into_split();
                tokio::task::spawn_local(async move {
                    let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                });
                let (mut held, caught) = (holds.subscribe(), Arc::clone(&catches));
                tokio::task::spawn_local(async move {
                    let mut bytes = vec![0; 64 * 1024];
                    while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
                        let bytes = &bytes[..n];
                        if *held.borrow() && bytes.windows(stop_at.len()).any(|part| part == stop_at) {
                            caught.lock().unwrap().push(bytes.to_vec());
                            let _ = held.wait_for(|held| !held).await;
                        }
                        if to_server.write_all(bytes).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { port, held, caught }
    }

    /// From now on what is to be stopped is stopped.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets everything go on.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// How many have been stopped so far.
    pub fn caught(&self) -> usize {
        self.caught.lock().unwrap().len()
    }
}
