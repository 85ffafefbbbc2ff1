//! Alerts that callers send: `send_alert()` over HTTP.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use model::label::is_label_name;
use model::limits::{ANNOTATION_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX};
use model::{Alert, Labels, Level, Receipt, Sector, Severity, Signal, SourceId};
use serde::Deserialize;
use utoipa::ToSchema;

use super::read::Body;
use super::{Answer, Shared};
use crate::config::nearest;
use crate::guard::Caller;
use crate::problem::Problem;

/// How long an alert fires after it was sent, unless it is sent again: Alertmanager's `resolve_timeout`.
pub const ALERT_FIRES_FOR: Duration = Duration::from_secs(300);

/// Longest `alertname` made of a message, in characters.
const NAME_CHARS_MAX: usize = 80;

/// An alert to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertDraft {
    /// What people read.
    pub message: String,
    /// How bad it is: `info`, `warning`, `error` or `critical`, in any case.
    #[schema(value_type = crate::openapi::LevelWord)]
    pub level: String,
    /// The channel to use, whatever the routes say.
    #[serde(default)]
    pub channel: Option<String>,
    /// The service concerned.
    #[serde(default)]
    pub service: Option<String>,
    /// The sector concerned, in French or English: `health`, `éducation`, `e-commerce` ...
    #[serde(default)]
    pub sector: Option<String>,
    /// Further labels. With `alertname`, `service`, `severity` and `sector` they identify the alert. `check` is left
    /// out: only Dihya's own checks speak in a check's name.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub labels: Labels,
}

impl AlertDraft {
    /// Makes the alert that fires from `now`. Without a label `alertname` the message's first line names it, so that
    /// two messages are two alerts and the same message again is the same alert.
    ///
    /// # Errors
    /// `(field, what was expected)`, when a field cannot be accepted.
    pub fn into_alert(self, now: Timestamp) -> Result<Alert, (String, String)> {
        let refuse = |field: &str, expected: &str| Err((field.to_owned(), expected.to_owned()));
        if self.message.trim().is_empty() || self.message.len() > ANNOTATION_BYTES_MAX {
            return refuse("message", "expected a text of at most 16 KiB");
        }
        let Ok(severity) = self.level.parse::<Severity>() else {
            return refuse("level", "expected info, warning, error or critical");
        };
        let Ok(sector) = self.sector.unwrap_or_default().parse::<Sector>() else {
            return refuse("sector", "expected health, education, ecommerce or none");
        };
        if self.channel.as_ref().is_some_and(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
            return refuse("channel", "expected the name of a channel");
        }
        let mut labels = self.labels;
        for (name, value) in &labels {
            if !is_label_name(name) {
                return refuse("labels", "expected names of letters, digits and _, not beginning with a digit");
            }
            if value.len() > LABEL_VALUE_BYTES_MAX {
                return refuse(&format!("labels.{name}"), "expected at most 2048 bytes");
            }
        }
        if let Some(service) = self.service {
            if service.len() > NAME_BYTES_MAX {
                return refuse("service", "expected at most 128 bytes");
            }
            labels.insert(Alert::SERVICE.to_owned(), service);
        }
        // Only a check of ours may speak in a check's name.
        labels.remove(Alert::CHECK);
        // An empty label equals an absent one in Prometheus' model.
        labels.retain(|_, value| !value.is_empty());
        let first_line = self.message.trim().lines().next().unwrap_or_default();
        labels.entry(Alert::NAME.to_owned()).or_insert_with(|| first_line.chars().take(NAME_CHARS_MAX).collect());
        labels.insert(Alert::SEVERITY.to_owned(), severity.as_str().to_owned());
        if sector != Sector::None {
            labels.insert(Alert::SECTOR.to_owned(), sector.as_str().to_owned());
        }
        if labels.len() > LABELS_MAX {
            return refuse("labels", "expected at most 64 labels, those that the other fields make included");
        }
        Ok(Alert {
            labels,
            annotations: [("summary".to_owned(), self.message)].into(),
            starts_at: now,
            ends_at: now.checked_add(ALERT_FIRES_FOR).ok(),
            generator_url: None,
            severity,
            sector,
            channel: self.channel,
        })
    }
}

/// Sends an alert. The answer comes when it is durable, with the receipt that its proof is asked for by.
#[utoipa::path(
    post, path = "/api/dihya/v1/alerts", tag = "alerts", request_body = AlertDraft,
    responses((status = 202, body = crate::openapi::ReceiptShape), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn send(State(app): Shared, caller: Caller, Body(draft): Body<AlertDraft>) -> Answer<Response> {
    let alert = draft.into_alert(app.parts.clock.now()).map_err(|(field, expected)| Problem::field(field, expected))?;
    let tenant = caller.account.tenant.clone();
    if let Some(channel) = &alert.channel {
        // Each name that gets into the ledger is interned, counted and worked for: a caller may not make them up.
        let declared = app.parts.notifications.channels(&tenant);
        if !declared.contains(channel) {
            let names: Vec<&str> = declared.iter().map(String::as_str).collect();
            let hint = nearest(channel, &names).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
            return Err(Problem::unknown("channel", format!("expected a channel that is declared{hint}")));
        }
    }
    let severity = alert.severity;
    // Never Dihya's own source: what a caller says of a check is not what the check says.
    let source = SourceId::of_token(&caller.account.id);
    let signal = Signal { tenant: tenant.clone(), source, body: alert.into() };
    let receipts = app.parts.admit.admit(vec![signal], Level::Durable).await?;
    app.parts.metrics.alert(&tenant, severity);
    let receipt: Option<Receipt> = receipts.into_iter().next();
    Ok((StatusCode::ACCEPTED, Json(receipt)).into_response())
}
