//! `kind: webhook`: Alertmanager's payload, version 4, with a signature and an idempotency key.
//!
//! The payload is that of `notify/webhook` in Alertmanager: field for field, so that whatever reads theirs reads ours.
//! What is ours goes into headers.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use model::{BoxFuture, Labels, Private};
use privacy::Redactor;
use serde::Serialize;
use sha2::Sha256;
use std::sync::Arc;

use super::build::{BuildError, Parts};
use super::config::WebhookConfig;
use super::http::{Poster, Target};
use super::{Channel, SendError};
use crate::notification::{Notification, NotifiedAlert, Status};

/// When an alert that still fires ends: Go's zero time, which is what readers of Alertmanager's payload expect.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Posts Alertmanager's payload.
pub(super) struct Webhook {
    poster: Poster,
    redactor: Arc<Redactor>,
    headers: HeaderMap,
    signing_key: Option<Private<String>>,
    alerts_max: usize,
}

impl Webhook {
    pub(super) fn new(config: &WebhookConfig, parts: &Parts) -> Result<Self, BuildError> {
        let target = Target {
            url: &config.url,
            ca_file: config.ca_file.as_deref(),
            proxy: config.proxy.as_deref(),
            timeout: config.timeout,
        };
        let poster = Poster::new(&target, &*parts.disk, Arc::clone(&parts.clock))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let name = HeaderName::try_from(name).map_err(|_| BuildError::Header)?;
            headers.insert(name, sensitive(value.expose())?);
        }
        if let Some(token) = &config.bearer_token {
            headers.insert(header::AUTHORIZATION, sensitive(&format!("Bearer {}", token.expose()))?);
        }
        Ok(Self {
            poster,
            redactor: Arc::clone(&parts.redactor),
            headers,
            signing_key: config.signing_key.clone(),
            alerts_max: if config.max_alerts == 0 { usize::MAX } else { config.max_alerts },
        })
    }

    fn headers(&self, notification: &Notification, body: &[u8]) -> Result<HeaderMap, SendError> {
        let mut headers = self.headers.clone();
        let timestamp = self.poster.clock().now().as_second().to_string();
        let ascii = |text: &str| {
            HeaderValue::try_from(text).map_err(|_| SendError::never("cannot send the notification's id as a header"))
        };
        headers.insert("idempotency-key", ascii(&notification.id.0)?);
        if let Some(key) = &self.signing_key {
            headers.insert("dihya-signature", ascii(&signature(key, &timestamp, body))?);
        }
        headers.insert("dihya-timestamp", ascii(&timestamp)?);
        Ok(headers)
    }
}

impl Channel for Webhook {
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let payload = Payload::of(notification, self.alerts_max, &self.redactor);
            let body = serde_json::to_vec(&payload).map_err(|_| SendError::never("cannot write the payload"))?;
            let headers = self.headers(notification, &body)?;
            self.poster.post(headers, body, notification.attempt).await
        })
    }

    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn pages_people(&self) -> bool {
        false
    }
}

fn sensitive(value: &str) -> Result<HeaderValue, BuildError> {
    let mut value = HeaderValue::try_from(value).map_err(|_| BuildError::Header)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Returns `v1=` and the HMAC-SHA256 of time stamp, dot and body in hexadecimal.
fn signature(key: &Private<String>, timestamp: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).expect("invariant: HMAC takes keys of any length");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={hex}")
}

/// Alertmanager's payload, in the order in which Alertmanager writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    receiver: String,
    status: Status,
    alerts: Vec<PayloadAlert>,
    group_labels: BTreeMap<String, String>,
    common_labels: BTreeMap<String, String>,
    common_annotations: BTreeMap<String, String>,
    #[serde(rename = "externalURL")]
    external_url: String,
    version: &'static str,
    group_key: String,
    truncated_alerts: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PayloadAlert {
    status: Status,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

impl Payload {
    fn of(notification: &Notification, alerts_max: usize, redactor: &Redactor) -> Self {
        let shown = notification.alerts.len().min(alerts_max);
        let left_out = u64::try_from(notification.alerts.len() - shown).unwrap_or(u64::MAX);
        let mut common_annotations = clean(&notification.common_annotations, redactor);
        if !notification.text.is_empty() {
            // Tests and notices have no alert to speak through.
            common_annotations.insert("summary".to_owned(), redactor.redact(&notification.text).into_owned());
        }
        Self {
            receiver: notification.receiver.clone(),
            status: notification.status,
            alerts: notification.alerts.iter().take(shown).map(|alert| PayloadAlert::of(alert, redactor)).collect(),
            group_labels: clean(&notification.group_labels, redactor),
            common_labels: clean(&notification.common_labels, redactor),
            common_annotations,
            external_url: notification.external_url.clone(),
            version: "4",
            group_key: redactor.redact(&notification.group_key).into_owned(),
            truncated_alerts: notification.truncated.saturating_add(left_out),
        }
    }
}

impl PayloadAlert {
    fn of(alert: &NotifiedAlert, redactor: &Redactor) -> Self {
        Self {
            status: alert.status,
            labels: clean(&alert.labels, redactor),
            annotations: clean(&alert.annotations, redactor),
            starts_at: alert.starts_at,
            ends_at: alert.ends_at.map_or_else(|| NEVER.to_owned(), |end| end.to_string()),
            generator_url: redactor.redact(&alert.generator_url).into_owned(),
            fingerprint: alert.fingerprint(),
        }
    }
}

fn clean(labels: &Labels, redactor: &Redactor) -> BTreeMap<String, String> {
    labels
        .iter()
        .map(|(name, value)| {
            let value = if redactor.is_declared(value) { value.clone() } else { redactor.redact(value).into_owned() };
            (name.clone(), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::sample;

    #[test]
    fn the_payload_is_alertmanagers() {
        let mut notification = sample();
        notification.alerts[0].annotations.insert("contact".into(), "ana@example.org".into());
        let payload = serde_json::to_string_pretty(&Payload::of(&notification, 1, &Redactor::new())).expect("writes");
        expect_test::expect_file!["testdata/webhook.json"].assert_eq(&payload);
        notification.text = "hello".into();
        let payload = Payload::of(&notification, 100, &Redactor::new());
        assert_eq!((payload.truncated_alerts, payload.common_annotations["summary"].as_str()), (2, "hello"));
    }

    #[test]
    fn the_signature_covers_time_and_body() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        let key = Private::new("key".to_owned());
        assert_eq!(
            signature(&key, "1700000000", b"{}"),
            "v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
        );
        assert_ne!(signature(&key, "1700000001", b"{}"), signature(&key, "1700000000", b"{}"));
    }
}
