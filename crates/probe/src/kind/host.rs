//! Kind `host`: load, memory and uptime of the machine that we run on.

use std::sync::Arc;

use model::BoxFuture;
use model::config::{FieldSpec, Spec, Ty};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::config::{self, Issue};
use crate::fact::{Shape, fact};
use crate::kind::{Ctx, Defaults, Fault, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind = Kind {
    name: "host",
    spec: &SPEC,
    facts: &[
        fact("load1", "Load average of the last minute.").is(Shape::Number),
        fact("load5", "Load average of the last five minutes.").is(Shape::Number),
        fact("load15", "Load average of the last fifteen minutes.").is(Shape::Number),
        fact("cpus", "How many processors there are.").is(Shape::Number),
        fact("memory_total_bytes", "Size of the memory.").is(Shape::Number),
        fact("memory_available_bytes", "Memory that could be used without swapping.").is(Shape::Number),
        fact("memory_used_percent", "How much of the memory is not available.").is(Shape::Number),
        fact("swap_used_percent", "How much of the swap space is used; 0 without.").is(Shape::Number),
        fact("uptime_seconds", "How long the machine has been running.").is(Shape::Number),
    ],
    defaults: Defaults::PLAIN,
    build,
};

static SPEC: Spec = Spec {
    name: "host check",
    doc: "Looks at the machine that the program runs on.",
    fields: &[
        FieldSpec::optional(
            "load_per_cpu_max",
            Ty::Float { min: 0.0, max: 1e6 },
            "4",
            "Five-minute load per processor above which it is degraded.",
        ),
        FieldSpec::optional(
            "memory_used_percent_max",
            Ty::Float { min: 0.0, max: 100.0 },
            "95",
            "Used memory above which it is degraded.",
        ),
    ],
};

#[derive(Deserialize)]
struct Host {
    #[serde(default = "load_default")]
    load_per_cpu_max: f64,
    #[serde(default = "memory_default")]
    memory_used_percent_max: f64,
}

const fn load_default() -> f64 {
    4.0
}

const fn memory_default() -> f64 {
    95.0
}

fn build(json: &Json) -> Result<Arc<dyn Probe>, Vec<Issue>> {
    Ok(Arc::new(config::read::<Host>(json)?))
}

impl Probe for Host {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn descriptors(&self) -> u64 {
        1
    }

    fn run<'a>(&'a self, _: &'a Ctx) -> BoxFuture<'a, Observation> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{name}")).unwrap_or_default();
        let seen = Reading::parse(&read("loadavg"), &read("meminfo"), &read("uptime"), cpus());
        let seen = match seen {
            Some(reading) => self.judge(&reading),
            None => Observation::unknown(Fault::Setup, "this system does not say how it is (no /proc)"),
        };
        Box::pin(std::future::ready(seen))
    }
}

fn cpus() -> f64 {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    f64::from(u32::try_from(cpus).unwrap_or(u32::MAX))
}

#[derive(Debug, PartialEq)]
struct Reading {
    load: [f64; 3],
    cpus: f64,
    total: f64,
    available: f64,
    swap_total: f64,
    swap_free: f64,
    uptime: f64,
}

impl Reading {
    fn parse(loadavg: &str, meminfo: &str, uptime: &str, cpus: f64) -> Option<Self> {
        let mut load = loadavg.split_ascii_whitespace().map_while(|word| word.parse().ok());
        let memory = |key: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1024.0)
        };
        Some(Self {
            load: [load.next()?, load.next()?, load.next()?],
            cpus,
            total: memory("MemTotal").filter(|total| *total > 0.0)?,
            available: memory("MemAvailable")?,
            swap_total: memory("SwapTotal").unwrap_or(0.0),
            swap_free: memory("SwapFree").unwrap_or(0.0),
            uptime: uptime.split_ascii_whitespace().next()?.parse().ok()?,
        })
    }
}

impl Host {
    fn judge(&self, reading: &Reading) -> Observation {
        let [load1, load5, load15] = reading.load;
        let used = (reading.total - reading.available) / reading.total * 100.0;
        let swap = match reading.swap_total {
            total if total > 0.0 => (total - reading.swap_free) / total * 100.0,
            _ => 0.0,
        };
        let mut seen = if load5 / reading.cpus > self.load_per_cpu_max {
            Observation::degraded(format!("load {load5:.1} on {} processors", reading.cpus))
        } else if used > self.memory_used_percent_max {
            Observation::degraded(format!("{used:.0} % of the memory is used"))
        } else {
            Observation::up()
        };
        for (name, value) in [
            ("load1", load1),
            ("load5", load5),
            ("load15", load15),
            ("cpus", reading.cpus),
            ("memory_total_bytes", reading.total),
            ("memory_available_bytes", reading.available),
            ("memory_used_percent", used),
            ("swap_used_percent", swap),
            ("uptime_seconds", reading.uptime),
        ] {
            seen = seen.figure(name, value).fact(name, value);
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable:  100 kB\nSwapTotal: 200 kB\nSwapFree: 50 kB\n";

    #[test]
    fn the_kernel_is_read_and_judged() {
        let reading = Reading::parse("0.5 9.0 1.5 1/99 7\n", MEMINFO, "12.5 3\n", 2.0).expect("complete");
        let host = Host { load_per_cpu_max: 4.0, memory_used_percent_max: 95.0 };
        let seen = host.judge(&reading);
        assert_eq!(seen.reason, "load 9.0 on 2 processors");
        assert_eq!((seen.figures["memory_used_percent"], seen.figures["swap_used_percent"]), (90.0, 75.0));
        assert_eq!((seen.figures["memory_total_bytes"], seen.figures["uptime_seconds"]), (1_024_000.0, 12.5));
        let calm = Host { load_per_cpu_max: 5.0, memory_used_percent_max: 95.0 };
        assert_eq!(calm.judge(&reading).state, model::State::Up);
        let full = Host { load_per_cpu_max: 5.0, memory_used_percent_max: 80.0 };
        assert_eq!(full.judge(&reading).reason, "90 % of the memory is used");
        let without_swap = Reading { swap_total: 0.0, ..reading };
        assert_eq!(calm.judge(&without_swap).figures["swap_used_percent"], 0.0);
    }

    #[test]
    fn a_kernel_that_says_nothing_is_not_guessed() {
        for (load, memory, uptime) in [("", MEMINFO, "1"), ("1 2 3", "", "1"), ("1 2 3", MEMINFO, ""), ("1 2", MEMINFO, "1")]
        {
            assert_eq!(Reading::parse(load, memory, uptime, 1.0), None, "{load}/{uptime}");
        }
        assert!(cpus() >= 1.0);
        assert_eq!(build(&serde_json::json!({"load_per_cpu_max": "x"})).err().map(|issues| issues.len()), Some(1));
    }
}
