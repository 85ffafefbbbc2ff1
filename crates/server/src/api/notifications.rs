//! The history of notifications: who was told what through which channel, and how each attempt ended.

use axum::extract::State;

use super::read::Params;
use super::{Answer, Shared, recorded};
use crate::guard::{Caller, Taken};
use crate::problem::Problem;
use crate::seam::{Listing, Notification, NotificationFilter};

/// Lists notifications, newest first.
#[utoipa::path(
    get, path = "/api/dihya/v1/notifications", tag = "notifications",
    params(
        ("incident" = Option<String>, Query, description = "Only those about this incident"),
        ("receiver" = Option<String>, Query, description = "Only those for this receiver"),
        ("state" = Option<crate::seam::NotificationState>, Query, description = "Only those in this state"),
        ("limit" = Option<u16>, Query, description = "Most rows, 1 to 1000; 100 when left out"),
        ("cursor" = Option<String>, Query, description = "The `next` of the answer to read on from"),
    ),
    responses((status = 200, body = Listing<Notification>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn list(State(app): Shared, caller: Caller, taken: Taken, mut params: Params) -> Answer {
    let filter = NotificationFilter {
        incident: params.take("incident"),
        receiver: params.take("receiver"),
        state: params.word("state", "expected pending, delivered or failed")?,
    };
    let page = params.page()?;
    params.done()?;
    let listing = app.parts.notifications.list(&caller.account.tenant, filter, page).await?;
    recorded(&app, &caller, taken, listing).await
}
