//! Kind `disk`: a file system has room left, in bytes and in inodes.

use std::path::PathBuf;
use std::sync::Arc;

use model::BoxFuture;
use model::config::{FieldSpec, Spec, Ty};
use rustix::fs::StatVfs;
use rustix::io::Errno;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::blocking::Unseen;
use crate::config::{self, Issue};
use crate::fact::{Shape, fact};
use crate::kind::{Ctx, Defaults, Fault, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind = Kind {
    name: "disk",
    spec: &SPEC,
    facts: &[
        fact("total_bytes", "Size of the file system.").is(Shape::Number),
        fact("free_bytes", "What is left for unprivileged users.").is(Shape::Number),
        fact("used_percent", "How much is used.").is(Shape::Number),
        fact("inodes_used_percent", "How many inodes are used; 0 where there is no such limit.").is(Shape::Number),
        fact("read_only", "Whether nothing can be written.").is(Shape::Flag),
    ],
    defaults: Defaults::PLAIN,
    build,
};

static SPEC: Spec = Spec {
    name: "disk check",
    doc: "Looks at the file system that holds a path.",
    fields: &[
        FieldSpec::required("path", Ty::Path, "A path on the file system."),
        FieldSpec::optional("degraded_percent", PERCENT, "85", "Used space, or inodes, from which it is degraded."),
        FieldSpec::optional("down_percent", PERCENT, "95", "Used space, or inodes, from which it is down."),
        FieldSpec::optional("free_min", Ty::Size, "", "Free space below which it is down."),
    ],
};

const PERCENT: Ty = Ty::Float { min: 0.0, max: 100.0 };

#[derive(Deserialize)]
struct DiskSpace {
    path: PathBuf,
    #[serde(default = "degraded_default")]
    degraded_percent: f64,
    #[serde(default = "down_default")]
    down_percent: f64,
    #[serde(default, deserialize_with = "model::config::de::size_opt")]
    free_min: Option<u64>,
}

const fn degraded_default() -> f64 {
    85.0
}

const fn down_default() -> f64 {
    95.0
}

fn build(json: &Json) -> Result<Arc<dyn Probe>, Vec<Issue>> {
    let probe: DiskSpace = config::read(json)?;
    if probe.degraded_percent > probe.down_percent {
        return Err(vec![Issue::new("degraded_percent", "more than `down_percent`")]);
    }
    Ok(Arc::new(probe))
}

impl Probe for DiskSpace {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn descriptors(&self) -> u64 {
        0
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move {
            // A dead network file system blocks whoever asks: that must not be a thread that others need.
            let path = self.path.clone();
            let look = move || rustix::fs::statvfs(&path);
            self.conclude(ctx.means.threads.look(&ctx.id, ctx.deadline, look).await)
        })
    }
}

impl DiskSpace {
    fn conclude(&self, told: Result<Result<StatVfs, Errno>, Unseen>) -> Observation {
        match told {
            Ok(Ok(stat)) => self.judge(&stat),
            Ok(Err(Errno::NOENT)) => Observation::down("there is no such path"),
            Ok(Err(Errno::ACCESS | Errno::PERM)) => Observation::unknown(Fault::Setup, "we may not look at that path"),
            // A file system that was asked and does not answer is what this kind watches for.
            Ok(Err(_)) | Err(Unseen::Late) => Observation::down("the file system does not answer"),
            Err(Unseen::Stuck) => Observation::down("the file system has not answered the look before yet"),
            Err(unseen) => unseen.ours(),
        }
    }
}

impl DiskSpace {
    fn judge(&self, stat: &StatVfs) -> Observation {
        #[expect(clippy::cast_precision_loss, reason = "shown and compared as a share")]
        let share = |free: u64, total: u64| if total == 0 { 0.0 } else { 100.0 - free as f64 / total as f64 * 100.0 };
        // What only root may still write counts as used, as `df` has it.
        let reserved = stat.f_bfree.saturating_sub(stat.f_bavail);
        let used = share(stat.f_bavail, stat.f_blocks.saturating_sub(reserved));
        let inodes = share(stat.f_favail, stat.f_files);
        let (free, total) = (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize));
        let read_only = stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
        let worst = used.max(inodes);
        let what = if used >= inodes { "space" } else { "inodes" };
        let mut seen = if self.free_min.is_some_and(|min| free < min) {
            Observation::down(format!("{} MiB are free", free >> 20))
        } else if worst >= self.down_percent {
            Observation::down(format!("{worst:.1} % of the {what} is used"))
        } else if worst >= self.degraded_percent {
            Observation::degraded(format!("{worst:.1} % of the {what} is used"))
        } else {
            Observation::up()
        };
        #[expect(clippy::cast_precision_loss, reason = "figures are doubles")]
        for (name, value) in [
            ("total_bytes", total as f64),
            ("free_bytes", free as f64),
            ("used_percent", used),
            ("inodes_used_percent", inodes),
        ] {
            seen = seen.figure(name, value).fact(name, value);
        }
        seen.fact("read_only", read_only)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::StatVfsMountFlags;

    use super::*;

    fn judge(blocks: [u64; 3], files: [u64; 2], config: Json) -> (String, String) {
        let mut config = config;
        config["path"] = "/".into();
        let stat = StatVfs {
            f_bsize: 4096,
            f_frsize: 1 << 20,
            f_blocks: blocks[0],
            f_bfree: blocks[1],
            f_bavail: blocks[2],
            f_files: files[0],
            f_ffree: files[1],
            f_favail: files[1],
            f_fsid: 0,
            f_flag: StatVfsMountFlags::empty(),
            f_namemax: 255,
        };
        let probe: DiskSpace = config::read(&config).expect("valid");
        let seen = probe.judge(&stat);
        (seen.state.to_string(), seen.reason)
    }

    #[test]
    fn what_keeps_us_from_looking_is_told_apart_from_a_dead_file_system() {
        let probe: DiskSpace = config::read(&serde_json::json!({"path": "/"})).expect("valid");
        for (told, state) in [
            (Ok(Err(Errno::NOENT)), "down"),
            (Ok(Err(Errno::IO)), "down"),
            (Ok(Err(Errno::ACCESS)), "unknown"),
            (Err(Unseen::Late), "down"),
            (Err(Unseen::Stuck), "down"),
            (Err(Unseen::Busy), "unknown"),
            (Err(Unseen::Died), "unknown"),
        ] {
            let seen = probe.conclude(told);
            assert_eq!((seen.state.as_str(), seen.reason.is_empty()), (state, false));
        }
    }

    #[test]
    fn space_and_inodes_have_thresholds() {
        let none = || serde_json::json!({});
        for (blocks, files, config, state, reason) in [
            ([1000, 500, 500], [100, 90], none(), "up", ""),
            ([1000, 500, 50], [0, 0], none(), "degraded", "90.9 % of the space is used"),
            ([1000, 10, 10], [100, 90], none(), "down", "99.0 % of the space is used"),
            ([1000, 900, 900], [100, 3], none(), "down", "97.0 % of the inodes is used"),
            ([1000, 500, 500], [0, 0], serde_json::json!({"free_min": "600MiB"}), "down", "500 MiB are free"),
            ([1000, 500, 500], [0, 0], serde_json::json!({"degraded_percent": 40}), "degraded", "50.0 % of the space is used"),
            ([0, 0, 0], [0, 0], none(), "up", ""),
        ] {
            assert_eq!(judge(blocks, files, config), (state.to_owned(), reason.to_owned()), "{blocks:?}");
        }
        let crossed = serde_json::json!({"path": "/", "degraded_percent": 96});
        assert_eq!(build(&crossed).err().expect("refused")[0].path, "degraded_percent");
    }
}
