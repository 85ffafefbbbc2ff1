//! The running program: starts the parts in order, keeps them together, and stops them in order.
//!
//! Order of the start: ledger, control state, tokens, spool, alerting, checks, server, and the lake in the background. Whatever
//! comes later needs what came before; the stop goes the other way. What stops by itself is a fault, except on the way out.

pub(crate) mod alerting;
mod asked;
mod beats;
mod checks;
mod counted;
mod dumps;
mod files;
mod journals;
mod logs;
mod named;
mod opening;
mod outputs;
mod pages;
mod people;
mod reload;
mod start;
mod supervisor;
mod unwell;
mod vocabulary;

use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::cli::ServeArgs;
use crate::config;
use crate::events;
use crate::failure::{DONE, FAILED};
use crate::terminal;
use start::Running;
use supervisor::Supervisor;

/// How often the configuration file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often figures are refreshed that take a query.
const GAUGE_EVERY: Duration = Duration::from_secs(5);
/// How long after the start the pages are given back that only the start ran: whatever opens late has opened by then.
const GIVE_BACK_AFTER: Duration = Duration::from_secs(20);
/// How often pages are given back from then on.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(300);
/// How long after the first asking to stop another one is the same one.
const SAME_ASKING: Duration = Duration::from_millis(500);
/// Longest orderly stop.
const STOP_MAX: Duration = Duration::from_secs(25);

/// What ends the program.
enum End {
    /// Somebody asked.
    Asked,
    /// The ledger, and so everything, cannot go on.
    LedgerStopped(String),
    /// A part ended that must not.
    PartEnded(&'static str),
}

/// Serves until told to stop, or until it cannot go on.
///
/// # Errors
/// When something of the start fails.
pub(crate) async fn run(args: &ServeArgs) -> anyhow::Result<u8> {
    if let Err(error) = dumps::forbid() {
        tracing::warn!(error = %error, "a dump of this program's memory may be written, with what is personal in it");
    }
    // From here on a signal waits for the start to end.
    let mut signals = Signals::new()?;
    let supervisor = Supervisor::find();
    let data_dir = args.place.data_dir();
    let mut loaded = config::load(args.place.config.as_deref(), &data_dir)?;
    loaded.warn();
    if let Some(listen) = &args.listen {
        loaded.server.listen.clone_from(listen);
    }
    if args.place.config.is_none() && config::overlooked().is_some() {
        tracing::warn!("dihya.yaml in this directory is not read: name it with --config");
    }
    if loaded.server.is_reachable_without_a_name() {
        tracing::warn!(
            host = loaded.server.host_name,
            "listening on every address without server.external_url: links lead to the name of this host"
        );
    }
    let mut running = Running::start(loaded, data_dir, args.listen.clone()).await?;
    supervisor.tell("READY=1");
    greet(&running, args);
    let end = running.watch(&mut signals, &supervisor).await;
    supervisor.tell("STOPPING=1");
    let code = match &end {
        End::Asked => DONE,
        End::LedgerStopped(reason) => {
            events::ledger_stopped(reason);
            running.last_notice(reason).await;
            FAILED
        }
        End::PartEnded(part) => {
            tracing::error!(part, "a part ended by itself, so this process ends");
            running.last_notice(&format!("its part {part} ended by itself")).await;
            FAILED
        }
    };
    tokio::select! {
        () = running.stop() => {}
        () = tokio::time::sleep(STOP_MAX) => tracing::warn!("stopped before everything was in order"),
        () = signals.again() => tracing::warn!("told twice to stop, so stopped at once"),
    }
    Ok(code)
}

/// The signals that matter.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("could not listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits until somebody asks once more. What comes with the first asking, as from a service manager that tells a
    /// whole group of processes, is the same asking.
    async fn again(&mut self) {
        tokio::time::sleep(SAME_ASKING).await;
        // Both are drained: a signal that came while we slept is ready at once.
        let drained = async {
            loop {
                self.stop().await;
            }
        };
        let _ = tokio::time::timeout(Duration::ZERO, drained).await;
        self.stop().await;
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Running {
    async fn watch(&mut self, signals: &mut Signals, supervisor: &Supervisor) -> End {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut gauge = tokio::time::interval(GAUGE_EVERY);
        // Without a watchdog there is nobody to tell: a day is as good as never.
        let beat = supervisor.heartbeat();
        let mut watchdog = tokio::time::interval(beat.unwrap_or(Duration::from_secs(86_400)));
        let mut pages = tokio::time::interval_at(tokio::time::Instant::now() + GIVE_BACK_AFTER, GIVE_BACK_EVERY);
        for timer in [&mut look, &mut gauge, &mut watchdog, &mut pages] {
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let mut certificates = self.server.certificates();
        let ledger = self.pipeline.ledger().clone();
        let stopped = ledger.stopped();
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                reason = &mut stopped => return End::LedgerStopped(reason.to_string()),
                _ = signals.terminate.recv() => return End::Asked,
                _ = signals.interrupt.recv() => return End::Asked,
                _ = signals.hangup.recv() => {
                    supervisor.tell("RELOADING=1");
                    self.reload().await;
                    supervisor.tell("READY=1");
                }
                _ = look.tick() => {
                    if self.file.changed() {
                        self.reload().await;
                    }
                }
                () = changed(&mut certificates) => self.note_reach(),
                _ = gauge.tick() => {
                    // Once more where it could not be written.
                    self.note_reach();
                    self.refresh_gauges().await;
                    self.pipeline.record_losses().await;
                    self.take_up_spool().await;
                    self.tell_ailments().await;
                    self.keep_exposures(false);
                    // After a failed sync nobody knows what is on the disk (D-2): the next start finds out.
                    if let Some(reason) = self.keystores.values().find_map(|keystore| keystore.stopped()) {
                        tracing::error!(reason = &*reason, "a keystore has stopped");
                        return End::PartEnded("keystore");
                    }
                }
                _ = pages.tick() => {
                    self.expire_keys().await;
                    match pages::give_back() {
                        Ok(bytes) => tracing::debug!(bytes, "gave back pages of the program"),
                        // It only takes more room than it needs.
                        Err(error) => tracing::debug!(error = %error, "could not give back pages of the program"),
                    }
                }
                _ = watchdog.tick(), if beat.is_some() => supervisor.tell("WATCHDOG=1"),
                Some(ended) = self.tasks.join_next() => {
                    let part = ended.unwrap_or("a task that panicked");
                    // The ledger's own reason says more than that of a part that noticed first.
                    if let Some(reason) = ledger.status().ok().and_then(|status| status.stopped) {
                        return End::LedgerStopped(reason.to_string());
                    }
                    return End::PartEnded(part);
                }
            }
        }
    }
}

/// Waits until another certificate is in force; for ever where there is none.
async fn changed(certificates: &mut Option<watch::Receiver<u64>>) {
    if let Some(certificates) = certificates
        && certificates.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Tells a person at a terminal what to do now. The token is shown to nobody else.
fn greet(running: &Running, args: &ServeArgs) {
    if !terminal::is_interactive() {
        return;
    }
    let colours = terminal::colours_out();
    let bold = |text: &str| terminal::paint(text, "1", colours);
    let mut rows = vec![
        vec!["listens on".to_owned(), bold(&running.url)],
        vec!["status page".to_owned(), format!("{}/status", running.url)],
        vec!["data".to_owned(), running.data_dir.display().to_string()],
        vec!["admin token".to_owned(), running.data_dir.join(server::tokens::ADMIN_TOKEN_FILE).display().to_string()],
    ];
    if let Some(token) = &running.first_token {
        rows.push(vec!["the token".to_owned(), bold(token.expose())]);
    }
    let mut text = format!("Dihya {}\n{}", env!("CARGO_PKG_VERSION"), terminal::table_coloured(&rows));
    if args.place.config.is_none() {
        text.push_str(
            "\nWithout a configuration it watches this machine. To go on:\n  dihya check\n  dihya alert send \"hello\" \
             --channel log\n  $EDITOR dihya.yaml && dihya config check dihya.yaml && dihya serve --config dihya.yaml\n",
        );
    }
    terminal::out(&text);
}
