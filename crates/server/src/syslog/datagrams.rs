//! Syslog over UDP: one task-half reads as fast as the network brings, the other makes durable what waits.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use intake::syslog::Message;
use model::limits::{SYSLOG_GATHER_MAX, SYSLOG_MESSAGE_BYTES_MAX, SYSLOG_QUEUE_BYTES_MAX, SYSLOG_QUEUE_MAX};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::{Group, Way, halt};

/// How often what was dropped is told: each datagram alone would be a flood of its own.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// What the kernel is asked to hold while this process is not running; it gives what it is allowed to.
const KERNEL_BUFFER_BYTES: usize = 4 << 20;
/// Where the kernel says how many datagrams it dropped.
const TABLES: [&str; 2] = ["/proc/net/udp", "/proc/net/udp6"];

/// Takes datagrams until `halted` says so.
pub(super) async fn serve(socket: UdpSocket, way: &Way, halted: watch::Receiver<bool>) {
    if let Err(error) = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, KERNEL_BUFFER_BYTES) {
        debug!(error = %error, "the kernel's buffer for datagrams keeps its size");
    }
    let (queue, waiting) = mpsc::channel(SYSLOG_QUEUE_MAX);
    let bytes = AtomicUsize::new(0);
    tokio::join!(read(socket, way, queue, &bytes, halted.clone()), deliver(way, waiting, &bytes, halted));
}

/// Puts datagrams in the queue, or counts them where it is full. The queue ends when this does.
async fn read(
    socket: UdpSocket,
    way: &Way,
    queue: mpsc::Sender<Message>,
    waiting: &AtomicUsize,
    mut halted: watch::Receiver<bool>,
) {
    let inode = rustix::fs::fstat(socket.as_fd()).map(|stat| stat.st_ino).ok();
    let mut tell = tokio::time::interval(TELL_EVERY);
    tell.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The largest datagram that IP can carry.
    let mut buffer = vec![0; 65_536];
    let (mut dropped, mut dropped_by_kernel) = (0, 0);
    let mut tell_all = |dropped: &mut u64| {
        if *dropped > 0 {
            way.lose("syslog_queue_full", std::mem::take(dropped));
        }
        let by_kernel = inode.and_then(dropped_of).unwrap_or(dropped_by_kernel);
        if by_kernel > dropped_by_kernel {
            way.lose("syslog_kernel_full", by_kernel - dropped_by_kernel);
            dropped_by_kernel = by_kernel;
        }
    };
    loop {
        tokio::select! {
            received = socket.recv(&mut buffer) => match received {
                Ok(count) => {
                    let Some(message) = message(buffer.get(..count).unwrap_or_default()) else { continue };
                    let len = message.bytes.len();
                    let is_room = waiting.load(Ordering::Relaxed) + len <= SYSLOG_QUEUE_BYTES_MAX;
                    if is_room && queue.try_send(message).is_ok() {
                        waiting.fetch_add(len, Ordering::Relaxed);
                    } else {
                        dropped += 1;
                    }
                }
                // An ICMP answer to something that was never sent by us, as a rule.
                Err(error) => {
                    debug!(error = %error, "could not receive a datagram");
                    tokio::time::sleep(SYSLOG_GATHER_MAX).await;
                }
            },
            _ = tell.tick() => tell_all(&mut dropped),
            () = halt(&mut halted) => break,
        }
    }
    tell_all(&mut dropped);
}

fn message(datagram: &[u8]) -> Option<Message> {
    let is_cut = datagram.len() > SYSLOG_MESSAGE_BYTES_MAX;
    let bytes = datagram.get(..SYSLOG_MESSAGE_BYTES_MAX).unwrap_or(datagram);
    (!bytes.trim_ascii().is_empty()).then(|| Message { bytes: Bytes::copy_from_slice(bytes), is_cut })
}

async fn deliver(
    way: &Way,
    mut queue: mpsc::Receiver<Message>,
    waiting: &AtomicUsize,
    mut halted: watch::Receiver<bool>,
) {
    while let Some(first) = queue.recv().await {
        let mut group = Group::default();
        group.add(first);
        let gather = async {
            while !group.is_full()
                && let Some(message) = queue.recv().await
            {
                group.add(message);
            }
        };
        // What has come when the time is over goes; `recv` loses nothing when it is given up.
        let _ = tokio::time::timeout(SYSLOG_GATHER_MAX, gather).await;
        let bytes = group.bytes;
        way.deliver(&mut group, &mut halted).await;
        waiting.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Returns how many datagrams the kernel has dropped for a socket.
fn dropped_of(inode: u64) -> Option<u64> {
    TABLES.iter().find_map(|table| dropped_in(&std::fs::read_to_string(table).ok()?, inode))
}

/// Finds a socket in a table of the kernel: the inode is the tenth column, the drops are the last.
fn dropped_in(table: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    let row = table.lines().map(str::split_whitespace).find(|row| row.clone().nth(9) == Some(inode.as_str()))?;
    row.last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_says_what_was_dropped() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             2067: 0100007F:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 17\n";
        assert_eq!((dropped_in(table, 4711), dropped_in(table, 4712)), (Some(17), None));
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
        let inode = rustix::fs::fstat(&socket).expect("is open").st_ino;
        assert_eq!(dropped_of(inode), Some(0), "the kernel of this machine writes it like that");
    }

    #[test]
    fn datagrams_are_messages_within_bounds() {
        assert_eq!(message(b" \n"), None);
        assert!(message(b"<1>x").is_some_and(|message| !message.is_cut));
        let long = vec![b'x'; SYSLOG_MESSAGE_BYTES_MAX + 1];
        assert!(
            message(&long).is_some_and(|message| message.is_cut && message.bytes.len() == SYSLOG_MESSAGE_BYTES_MAX)
        );
    }
}
