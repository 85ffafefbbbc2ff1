//! What the alert path says of itself in the log: constant words, data in fields, never a payload.

use jiff::Timestamp;
use model::{IntentId, Refusal, Tenant};

use crate::error::Error;
use crate::matcher::MatcherError;

pub(crate) fn too_many_alerts(tenant: &Tenant) {
    tracing::error!(%tenant, "alerts are dropped, as many fire as can be kept");
}

pub(crate) fn silence_unusable(tenant: &Tenant, silence: &str, error: &MatcherError) {
    tracing::error!(%tenant, silence, %error, "silence with matchers that do not compile silences nothing");
}

pub(crate) fn silence_ends_soon(tenant: &Tenant, silence: &str, ends_at: Timestamp, alerts: usize) {
    tracing::warn!(%tenant, silence, %ends_at, alerts, "silence ends soon");
}

pub(crate) fn alert_misfit(tenant: &Tenant, fingerprint: u64) {
    tracing::error!(%tenant, fingerprint, "alert is not found in the incident that it was put into");
}

pub(crate) fn silence_expired(tenant: &Tenant, silence: &str, by: &str) {
    tracing::info!(%tenant, silence, by, "silence ended by hand");
}

pub(crate) fn failed(tenant: &Tenant, error: &Error) {
    tracing::error!(%tenant, error = chain(error), "alert path cannot go on");
}

pub(crate) fn come_back(tenant: &Tenant, error: &Error) {
    tracing::warn!(%tenant, error = chain(error), "alert path waits");
}

pub(crate) fn rejected(tenant: &Tenant, refusal: &Refusal) {
    tracing::error!(%tenant, error = %refusal, "record of the alert path rejected and lost");
}

pub(crate) fn stop_cut_short(tenant: &Tenant) {
    tracing::warn!(%tenant, "attempts under way were cut off at the stop and will be made again");
}

pub(crate) fn outbox_full(tenant: &Tenant, channel: &str, waiting: i64) {
    tracing::error!(%tenant, channel, waiting, "outbox is full, nothing more is decided for the channel until it takes some");
}

pub(crate) fn given_up(tenant: &Tenant, channel: &str, notification: &IntentId, reason: &str) {
    tracing::error!(%tenant, channel, %notification, reason, "notification given up");
}

pub(crate) fn self_test_unrecorded(tenant: &Tenant, channel: &str, error: &Error) {
    tracing::error!(%tenant, channel, error = chain(error), "self-test of a channel could not be recorded");
}

/// Returns an error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
