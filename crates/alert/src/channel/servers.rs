//! Servers inside the test: they answer as they are told, and remember what they were sent.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// It takes the message.
    Success,
    /// It refuses for ever.
    Permanent,
    /// It refuses for now.
    Transient,
    /// It asks to come back in 7 seconds.
    Later,
    /// It accepts the connection and says nothing.
    Silence,
    /// It speaks another protocol.
    Garbage,
    /// It closes every connection at once.
    Closes,
    /// It answers with a body that has no end.
    Endless,
    /// It answers with a head that promises a body, and stalls.
    Stalls,
    /// It has moved, or wants to know who we are.
    Answers(&'static str),
    /// It takes the message, and refuses a command out of order.
    Strict,
}

/// A certificate for `localhost`, and the file that vouches for it.
pub(super) struct Identity {
    pub(super) acceptor: TlsAcceptor,
    pub(super) ca_file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Identity {
    pub(super) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("makes a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        let ca_file = directory.path().join("ca.pem");
        disk::write_atomic(&disk::OsDisk, &ca_file, made.cert.pem().as_bytes()).expect("writes");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("is a key");
        let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("knows versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("fits");
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca_file, _directory: directory }
    }
}

type Seen = Arc<Mutex<Vec<String>>>;

/// A server on a free port; it ends with the value.
pub(super) struct Server {
    pub(super) port: u16,
    seen: Seen,
    connections: Arc<Mutex<usize>>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Returns what it was sent: requests, or mails with their envelopes.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("whole").clone()
    }

    /// Returns how many connections it accepted.
    pub(super) fn connections(&self) -> usize {
        *self.connections.lock().expect("whole")
    }

    async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(TcpStream, Seen) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("is bound").port();
        let (seen, connections) = (Seen::default(), Arc::new(Mutex::new(0)));
        let mut tasks = JoinSet::new();
        let (log, count) = (Arc::clone(&seen), Arc::clone(&connections));
        tasks.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().expect("whole") += 1;
                let client = serve(stream, Arc::clone(&log));
                clients.spawn(async move {
                    // A client that goes away is no failure of the server's.
                    let _ = client.await;
                });
            }
        });
        Self { port, seen, connections, _tasks: tasks }
    }

    /// Starts an HTTP server, behind TLS where it has an identity.
    pub(super) async fn http(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Self {
        Self::start(move |stream, seen| {
            let tls = tls.clone();
            async move {
                match tls {
                    Some(tls) => http(tls.accept(stream).await?, behaviour, seen).await,
                    None => http(stream, behaviour, seen).await,
                }
            }
        })
        .await
    }

    /// Starts a proxy that opens tunnels to `port`, or refuses.
    pub(super) async fn proxy(port: u16, answer: &'static str) -> Self {
        Self::start(move |mut stream, seen| async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            seen.lock().expect("whole").push(String::from_utf8_lossy(&head).into_owned());
            stream.write_all(answer.as_bytes()).await?;
            let mut target = TcpStream::connect(("127.0.0.1", port)).await?;
            tokio::io::copy_bidirectional(&mut stream, &mut target).await?;
            Ok(())
        })
        .await
    }

    /// Starts an SMTP server.
    pub(super) async fn smtp(smtp: Smtp) -> Self {
        let smtp = Arc::new(smtp);
        Self::start(move |stream, seen| {
            let smtp = Arc::clone(&smtp);
            async move {
                match smtp.tls.clone().filter(|_| smtp.implicit) {
                    Some(tls) => smtp.serve(tls.accept(stream).await?, seen, true).await.map(|_| ()),
                    None => match smtp.serve(stream, Arc::clone(&seen), false).await? {
                        (Some(stream), Some(tls)) => {
                            smtp.serve(tls.accept(stream).await?, seen, true).await.map(|_| ())
                        }
                        _ => Ok(()),
                    },
                }
            }
        })
        .await
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin>(stream: S, behaviour: Behaviour, seen: Seen) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    if behaviour == Behaviour::Closes {
        return Ok(());
    }
    loop {
        let (mut head, mut len) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                len = text.trim().parse().expect("a length");
            }
            head.push_str(&line);
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; len];
        stream.read_exact(&mut body).await?;
        seen.lock().expect("whole").push(format!("{head}{}", String::from_utf8_lossy(&body)));
        let answer = match behaviour {
            Behaviour::Success | Behaviour::Strict => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Behaviour::Permanent => "HTTP/1.1 400 Bad Request\r\nContent-Length: 6\r\n\r\nsecret",
            Behaviour::Transient => "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
            Behaviour::Stalls => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
            Behaviour::Answers(answer) => answer,
            Behaviour::Later => "HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
            Behaviour::Garbage => "220 mail ready\r\n\r\n",
            Behaviour::Endless => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Behaviour::Silence | Behaviour::Closes => {
                std::future::pending::<()>().await;
                ""
            }
        };
        stream.write_all(answer.as_bytes()).await?;
        if behaviour == Behaviour::Endless {
            loop {
                stream.write_all(b"400\r\n").await?;
                stream.write_all(&[b'x'; 0x400]).await?;
                stream.write_all(b"\r\n").await?;
            }
        }
        stream.flush().await?;
    }
}

/// What an SMTP server says.
pub(super) struct Smtp {
    pub(super) behaviour: Behaviour,
    /// What it answers to each recipient in turn; 250 beyond the last.
    pub(super) recipients: Vec<&'static str>,
    /// What it answers to the sender.
    pub(super) sender: &'static str,
    /// Extensions it offers.
    pub(super) offers: Vec<&'static str>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) implicit: bool,
}

impl Smtp {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, recipients: Vec::new(), sender: "250 ok", offers: Vec::new(), tls: None, implicit: false }
    }

    /// Serves one connection; gives the stream back where TLS is to start.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        seen: Seen,
        secure: bool,
    ) -> std::io::Result<(Option<S>, Option<TlsAcceptor>)> {
        let mut stream = BufReader::new(stream);
        match self.behaviour {
            Behaviour::Silence => std::future::pending::<()>().await,
            Behaviour::Closes => return Ok((None, None)),
            Behaviour::Garbage => {
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
                return Ok((None, None));
            }
            _ => {}
        }
        if !secure || self.implicit {
            stream.write_all(b"220 test ready\r\n").await?;
        }
        let mut mail = String::new();
        let mut recipient = 0;
        let (mut open, strict) = (false, self.behaviour == Behaviour::Strict);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok((None, None));
            }
            let verb = line.trim_end().split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let answer = match verb.as_str() {
                "EHLO" => self.greeting(secure),
                "STARTTLS" => {
                    stream.write_all(b"220 go\r\n").await?;
                    return Ok((Some(stream.into_inner()), self.tls.clone()));
                }
                "AUTH" if line.contains("AHUAd3Jvbmc=") => "535 no\r\n".to_owned(),
                "AUTH" => "235 yes\r\n".to_owned(),
                "RCPT" => {
                    mail.push_str(&line);
                    recipient += 1;
                    format!("{}\r\n", self.recipients.get(recipient - 1).unwrap_or(&"250 ok"))
                }
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").await?;
                    self.data(&mut stream, &mut mail).await?;
                    let answer = self.verdict();
                    seen.lock().expect("whole").push(std::mem::take(&mut mail));
                    open = false;
                    // A strict one goes on through its list.
                    recipient = if strict { recipient } else { 0 };
                    answer
                }
                "MAIL" if strict && open => "503 nested\r\n".to_owned(),
                "MAIL" => {
                    mail.push_str(&line);
                    open = self.sender.starts_with('2');
                    format!("{}\r\n", self.sender)
                }
                "NOOP" | "RSET" => {
                    open &= verb != "RSET";
                    mail.push_str(&line);
                    "250 ok\r\n".to_owned()
                }
                _ => "221 bye\r\n".to_owned(),
            };
            stream.write_all(answer.as_bytes()).await?;
        }
    }

    fn greeting(&self, secure: bool) -> String {
        let mut lines = vec!["test"];
        lines.extend(self.tls.is_some().then_some("STARTTLS").filter(|_| !secure));
        lines.extend(&self.offers);
        let last = lines.pop().unwrap_or_default();
        let head: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
        format!("{head}250 {last}\r\n")
    }

    async fn data<S: AsyncRead + Unpin>(&self, stream: &mut BufReader<S>, mail: &mut String) -> std::io::Result<()> {
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 || line == ".\r\n" {
                return Ok(());
            }
            mail.push_str(&line);
        }
    }

    fn verdict(&self) -> String {
        let answer = match self.behaviour {
            Behaviour::Permanent => "554 5.7.1 ana@example.org may not",
            Behaviour::Transient | Behaviour::Later => "451 4.3.0 later",
            _ => "250 2.0.0 taken",
        };
        format!("{answer}\r\n")
    }
}
