//! Kind `exec`: runs a Nagios-compatible plugin: its exit code is the state, its performance data are figures.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::BoxFuture;
use model::config::{FieldSpec, Spec, Ty};
use model::limits::{PLUGIN_OUTPUT_BYTES_MAX, REASON_BYTES_MAX};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout_at;

use crate::condition::cut;
use crate::config::{self, Issue};
use crate::fact::{Fact, Shape, fact};
use crate::kind::{Ctx, Defaults, Fault, Kind, Means, Observation, Probe};

mod perfdata;

/// The kind.
pub static KIND: Kind = Kind {
    name: "exec",
    spec: &SPEC,
    facts: &[
        fact("exit_code", "The plugin's exit code: 0 up, 1 degraded, 2 down, 3 unknown.").is(Shape::Number),
        fact("output", "First line of its output, without performance data.").is(Shape::Text),
        fact("perfdata", "Figures of its performance data by name with the unit last."),
    ],
    defaults: Defaults::PLAIN,
    build,
};

static SPEC: Spec = Spec {
    name: "exec check",
    doc: "Runs a Nagios-compatible plugin, without a shell, in an environment of its own.",
    fields: &[
        FieldSpec::required("command", Ty::List(&Ty::Text), "Program and arguments; the program with its full path."),
        FieldSpec::optional("env", Ty::Map(&Ty::Text), "", "Environment, beside PATH, LANG and LC_ALL."),
        FieldSpec::optional("working_dir", Ty::Path, "/", "Directory to run it in."),
    ],
};

#[derive(Deserialize)]
struct Exec {
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default = "root")]
    working_dir: PathBuf,
    /// Whether it did not end in time when it last ran.
    #[serde(skip)]
    was_slow: AtomicBool,
}

fn root() -> PathBuf {
    PathBuf::from("/")
}

fn build(json: &Json) -> Result<Arc<dyn Probe>, Vec<Issue>> {
    let probe: Exec = config::read(json)?;
    match probe.command.first() {
        Some(program) if program.starts_with('/') => Ok(Arc::new(probe)),
        _ => Err(vec![Issue::new("command", "expected a list that begins with the full path of a program")]),
    }
}

impl Probe for Exec {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn descriptors(&self) -> u64 {
        6
    }

    fn begin<'a>(&'a self, means: &'a Means) -> Option<BoxFuture<'a, Vec<OwnedSemaphorePermit>>> {
        Some(Box::pin(async move {
            let mut permits = Vec::new();
            if self.was_slow.load(Ordering::Relaxed) {
                permits.extend(Arc::clone(&means.plugins_slow).acquire_owned().await);
            }
            permits.extend(Arc::clone(&means.plugins).acquire_owned().await);
            permits
        }))
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move {
            let outcome = timeout_at(ctx.deadline, self.look()).await;
            self.was_slow.store(outcome.is_err(), Ordering::Relaxed);
            outcome.unwrap_or_else(|_| Observation::down("the plugin did not end in time and was killed"))
        })
    }
}

/// Kills the plugin and what it started, however the run ends.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Exec {
    async fn look(&self) -> Observation {
        let (mut child, _group) = match self.start() {
            Ok(started) => started,
            Err(error) => return not_started(&error),
        };
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (out, err) = futures_util::join!(capped(out), capped(err));
        match child.wait().await {
            Ok(status) => judge(status, &out, &err),
            Err(_) => Observation::unknown(Fault::Internal, "the plugin's end was not seen"),
        }
    }

    fn start(&self) -> std::io::Result<(Child, Group)> {
        let (program, arguments) = self.command.split_first().ok_or(std::io::ErrorKind::NotFound)?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .env("LC_ALL", "C.UTF-8")
            .envs(&self.env)
            .current_dir(&self.working_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok((child, Group(leader)))
    }
}

fn not_started(error: &std::io::Error) -> Observation {
    let (fault, reason) = match error.kind() {
        std::io::ErrorKind::NotFound => (Fault::Setup, "the plugin, or its working directory, is not there"),
        std::io::ErrorKind::PermissionDenied => (Fault::Setup, "the plugin may not be run"),
        _ => (Fault::Resources, "the plugin could not be started"),
    };
    Observation::unknown(fault, reason)
}

/// Reads to the end and keeps the first bytes: a plugin that talks for ever is stopped by its time-out.
async fn capped(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 4_096];
    let Some(mut pipe) = pipe else { return String::new() };
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        let room = PLUGIN_OUTPUT_BYTES_MAX - kept.len();
        kept.extend_from_slice(chunk.get(..count.min(room)).unwrap_or_default());
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn judge(status: ExitStatus, out: &str, err: &str) -> Observation {
    let (text, figures) = perfdata::split(out);
    let mut said = text.lines().next().unwrap_or_default().trim();
    if said.is_empty() {
        said = err.lines().next().unwrap_or_default().trim();
    }
    let said = cut(said, REASON_BYTES_MAX / 2);
    let reason = |default: &str| if said.is_empty() { default.to_owned() } else { said.clone() };
    let mut seen = match status.code() {
        Some(0) => Observation::up(),
        Some(1) => Observation::degraded(reason("the plugin warns")),
        Some(2) => Observation::down(reason("the plugin says critical")),
        Some(3) => Observation { state: model::State::Unknown, ..Observation::down(reason("the plugin cannot tell")) },
        Some(126 | 127) => Observation::unknown(Fault::Setup, reason("the plugin cannot be run")),
        Some(code) => Observation::unknown(Fault::Setup, format!("the plugin ended with exit code {code}")),
        None => Observation::unknown(Fault::Setup, "the plugin was killed by a signal"),
    };
    let perfdata = figures.iter().map(|(name, value)| (name.clone(), Fact::Float(*value)));
    seen.facts.set("perfdata", Fact::Map(perfdata.collect()));
    seen.facts.set("exit_code", status.code().map(i64::from));
    seen.facts.set("output", Fact::Text(said));
    seen.figures = figures;
    seen
}
