//! Threads, each with a listener on the one address and the sessions the kernel gives it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysql::Stream;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::LocalSet;
use wire::packet;
use wire::response::ErrPacket;

use crate::Shared;
use crate::arrival::pace::Pace;
use crate::gate::routes::Lanes;
use crate::memory::{self, CLIENT, For};
use crate::session::clock;
use crate::session::{self, Kick};
use crate::trouble::no_room_for_client;

/// Connections the kernel keeps for a listener that has not accepted them yet.
const BACKLOG: i32 = 4096;
/// How often a thread looks for connections that nobody needs.
const SWEEPS: Duration = Duration::from_secs(10);
/// How long a shared connection stays open without being used.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Threads per runtime for RSA and host names.
const BLOCKING_MAX: usize = 2;

/// Opens one listener per thread, all on the same address; port 0 is resolved once.
pub(crate) fn bind(address: SocketAddr, threads: usize) -> io::Result<Vec<StdListener>> {
    let first = listen(address)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    while listeners.len() < threads {
        listeners.push(listen(address)?);
    }
    Ok(listeners)
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The idle sessions of a thread, to be woken when the gate turns.
type Kicks = Rc<RefCell<HashMap<u32, Arc<Kick>>>>;

/// Starts a thread that serves the clients of one listener until told to stop.
pub(crate) fn spawn(
    (shard, threads): (usize, usize),
    listener: StdListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_MAX)
        .build()?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener)?
    };
    std::thread::Builder::new().name(format!("door-{shard}")).spawn(move || {
        let local = LocalSet::new();
        local.block_on(&runtime, async move {
            memory::count_here(&shared.memory, shard);
            let lanes = Rc::new(Lanes::new(Arc::clone(&shared.routing), shard));
            let kicks = Kicks::default();
            let clock_of = Rc::clone(&kicks);
            let within = async {
                match shard {
                    0 => memory::keep_within(Arc::clone(&shared)).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = within => {}
                () = admit(listener, Arc::clone(&shared), Rc::clone(&lanes), Rc::clone(&kicks), threads) => {}
                () = clock::run(|due| clock_of.borrow().values().for_each(due)) => {}
                () = wake(Rc::clone(&lanes), kicks) => {}
                () = sweep(lanes) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
        // The local set is dropped here, and every session with it.
    })
}

/// Lets clients in until the entrance is closed, and then nobody.
async fn admit(listener: TcpListener, shared: Arc<Shared>, lanes: Rc<Lanes>, kicks: Kicks, threads: usize) {
    accept(listener, shared, lanes, kicks, threads).await;
    // Those who are in stay.
    std::future::pending::<()>().await;
}

/// Returns, and gives the listener up, when the entrance is closed. Whoever was accepted before is served.
async fn accept(listener: TcpListener, shared: Arc<Shared>, lanes: Rc<Lanes>, kicks: Kicks, threads: usize) {
    let watched = Arc::clone(&shared);
    let mut closed = std::pin::pin!(watched.exit.closed());
    let handshakes = Arc::new(Semaphore::new(0));
    let mut permits = 0;
    let mut paced = (0, Pace::of(0, threads));
    loop {
        let rules = shared.rules.get();
        let wanted = rules.entrance.handshakes_max.max(1);
        if permits < wanted {
            handshakes.add_permits(wanted - permits);
            permits = wanted;
        } else if permits > wanted {
            // Those in use are taken away one by one, as they come back.
            permits -= handshakes.forget_permits(permits - wanted);
        }
        if paced.0 != rules.entrance.logins_per_second {
            paced = (rules.entrance.logins_per_second, Pace::of(rules.entrance.logins_per_second, threads));
        }
        // Who has to wait does so in the kernel's queue, where it costs neither memory nor a timer.
        let accepted = tokio::select! {
            biased;
            () = &mut closed => return,
            accepted = next(&listener, &handshakes) => accepted,
        };
        let (handshake, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: sessions that end will free some. Without a pause this would
                // spin, since the connection stays in the backlog.
                tracing::warn!(%error, "a client could not be accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let wait = paced.1.next(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        // Without it small answers wait for acknowledgements; a socket that refuses is about to fail anyway.
        let _ = client.set_nodelay(true);
        if !shared.memory.grants(CLIENT, For::Client) {
            shared.memory.refused.fetch_add(1, Relaxed);
            tokio::task::spawn_local(turn_away(client, no_room_for_client()));
            continue;
        }
        let Some(seat) = shared.registry.sit(shared.rules.get().clients_max) else {
            let too_many = ErrPacket::new(1040, b"08004", "Too many connections");
            tokio::task::spawn_local(turn_away(client, too_many));
            continue;
        };
        let kick = Arc::new(Kick::default());
        kicks.borrow_mut().insert(seat.id, Arc::clone(&kick));
        seat.detail().kick = Some(Arc::clone(&kick));
        let leaving = Leaving { id: seat.id, shared: Arc::clone(&shared), kicks: Rc::clone(&kicks) };
        // Boxed, since a task that moves a future in and then waits for it has room for it twice.
        let session = Box::pin(session::run(
            Arc::clone(&shared),
            Rc::clone(&lanes),
            seat,
            kick,
            Stream::plain(client),
            handshake,
        ));
        tokio::task::spawn_local(async move {
            // Dropped also when the session panics, which ends its task alone.
            let _leaving = leaving;
            session.await;
        });
    }
}

/// The next client, with the permit to prove who it is. Giving up waiting loses none.
async fn next(
    listener: &TcpListener,
    handshakes: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, TcpStream)> {
    let handshake = Arc::clone(handshakes).acquire_owned().await.map_err(io::Error::other)?;
    let (client, _) = listener.accept().await?;
    Ok((handshake, client))
}

/// Tells one client too many.
async fn turn_away(mut client: TcpStream, error: ErrPacket) {
    let (mut out, mut seq) = (Vec::new(), 0);
    packet::frame(&mut out, &mut seq, &error.encode());
    // It may have left already.
    let _ = client.write_all(&out).await;
}

/// Wakes idle sessions whenever a gate turns, and closes the connections to a cluster that serves nothing any more.
async fn wake(lanes: Rc<Lanes>, kicks: Kicks) {
    let mut turns = lanes.routing.turns();
    while turns.changed().await.is_ok() {
        kicks.borrow().values().for_each(|kick| kick.kick());
        let table = lanes.table();
        for lane in lanes.all().iter().filter(|lane| !table.leads_to(&lane.gate)) {
            if let Some(_inside) = lane.enter() {
                lane.gate.pool.close_idle(Instant::now());
            }
        }
    }
}

/// Closes shared connections that nobody has needed for a while.
async fn sweep(lanes: Rc<Lanes>) {
    loop {
        tokio::time::sleep(SWEEPS).await;
        let Some(before) = Instant::now().checked_sub(IDLE_MAX) else { continue };
        for lane in lanes.all() {
            if let Some(_inside) = lane.enter() {
                lane.gate.pool.close_idle(before);
            }
        }
    }
}

/// Takes a session off the lists when it ends, however it ends.
struct Leaving {
    id: u32,
    shared: Arc<Shared>,
    kicks: Kicks,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.shared.registry.stand_up(self.id);
        self.shared.exit.left.notify_waiters();
        self.kicks.borrow_mut().remove(&self.id);
        if std::thread::panicking() {
            self.shared.registry.door_errors.fetch_add(1, Relaxed);
            tracing::error!(client = self.id, "a session panicked and was closed");
        }
    }
}
