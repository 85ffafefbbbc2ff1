//! Both ends of HTTP, as small as a test needs: a client, and a service that can be broken and that keeps what it gets.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::program::PATIENCE;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// One request on a connection of its own.
pub(crate) fn request(address: &str, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
    let body = body.map(Value::to_string).unwrap_or_default();
    send(address, (method, path), token, "application/json", body.as_bytes())
}

/// A POST of something that is not JSON.
pub(crate) fn request_raw(address: &str, path: &str, token: &str, media_type: &str, body: &str) -> Answer {
    request_bytes(address, path, token, media_type, body.as_bytes())
}

/// A POST of something that is not text.
pub(crate) fn request_bytes(address: &str, path: &str, token: &str, media_type: &str, body: &[u8]) -> Answer {
    send(address, ("POST", path), Some(token), media_type, body)
}

fn send(address: &str, (method, path): (&str, &str), token: Option<&str>, media_type: &str, body: &[u8]) -> Answer {
    let auth = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{auth}Content-Type: {media_type}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let Ok(text) = exchange() else { return Answer { status: 0, body: String::new() } };
    let status = text.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Answer { status, body }
}

/// An HTTP service on loopback.
pub(crate) struct Service {
    pub(crate) address: String,
    status: Arc<AtomicU16>,
    stop: Arc<AtomicBool>,
    posts: Mutex<Receiver<(String, Value)>>,
}

impl Service {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let (status, stop) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicBool::new(false)));
        let (sender, posts) = sync_channel(65_536);
        let (theirs, end) = (Arc::clone(&status), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (status, sender) = (Arc::clone(&theirs), sender.clone());
                std::thread::spawn(move || serve(stream, &status, &sender));
            }
        });
        Self { address, status, stop, posts: Mutex::new(posts) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Answers with this status from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Waits for the next post that it took.
    pub(crate) fn post(&self) -> Value {
        self.posts.lock().expect("not poisoned").recv_timeout(PATIENCE).expect("a post comes").1
    }

    /// Returns the posts that came by now.
    pub(crate) fn posts(&self) -> Vec<Value> {
        self.keyed_posts().into_iter().map(|(_, post)| post).collect()
    }

    /// The same, each with its idempotency key.
    pub(crate) fn keyed_posts(&self) -> Vec<(String, Value)> {
        self.posts.lock().expect("not poisoned").try_iter().collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(stream: TcpStream, status: &AtomicU16, posts: &SyncSender<(String, Value)>) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut key) = (0, String::new());
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("idempotency-key")
            {
                value.trim().clone_into(&mut key);
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let code = status.load(Ordering::SeqCst);
        if code == 200
            && let Ok(json) = serde_json::from_slice(&body)
        {
            let _ = posts.try_send((key, json));
        }
        let answer = format!(
            "HTTP/1.1 {code} x\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{{\"status\": \"up\"}}"
        );
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
