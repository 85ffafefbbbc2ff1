//! The public pages: rendered here, complete without scripts, and naming nothing that the allow-list does not.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use model::limits::STATUS_DAYS;

use crate::api::tagged::Tagged;
use crate::api::{Answer, Shared, validator};
use crate::app::App;
use crate::problem::Problem;

mod badge;
mod snapshot;
mod view;
mod words;

use badge::Badge;
use snapshot::{Allowed, Snapshot};
use view::{Feed, Frame, IncidentPage, MissingPage, StatusPage};
use words::Lang;

/// How long a page may lag behind the board when nothing in the history changed.
const FRESH_FOR: Duration = Duration::from_secs(5);

const HTML: &str = "text/html; charset=utf-8";
const SVG: &str = "image/svg+xml";
const ATOM: &str = "application/atom+xml; charset=utf-8";
/// Short enough to be news, long enough that a crowd is served by caches.
const BRIEFLY: &str = "public, max-age=10";
/// A page that needs a token is kept by nobody, the browser of the next person at that desk included.
const PRIVATELY: &str = "private, no-store";
const FOR_AN_HOUR: &str = "public, max-age=3600";

static STYLE: &str = include_str!("../templates/style.css");
static ICON: &str = include_str!("../templates/icon.svg");

/// The last snapshot and what was rendered from it.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Option<Arc<Rendered>>>);

struct Rendered {
    snapshot: Snapshot,
    revision: u64,
    made_at: Duration,
    /// Status pages by whether the language was chosen, then by language; feeds by language. That is all there can be,
    /// whatever a query says.
    status: [[OnceLock<Tagged>; 2]; 2],
    feed: [OnceLock<Tagged>; 2],
}

impl Cache {
    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn fresh(&self, revision: u64, now: Duration) -> Option<Arc<Rendered>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref()?;
        let fresh = kept.revision == revision && now.saturating_sub(kept.made_at) < FRESH_FOR;
        fresh.then(|| Arc::clone(kept))
    }
}

/// Returns the present snapshot, made anew when the history changed or the last one is old.
async fn rendered(app: &App) -> Answer<Arc<Rendered>> {
    let (now, revision) = (app.parts.clock.monotonic(), app.parts.history.revision());
    if let Some(fresh) = app.pages.fresh(revision, now) {
        return Ok(fresh);
    }
    let config = app.config();
    let tenant = &config.status_page.tenant;
    let allowed = Allowed::of(&config, app.bound, app.parts.checks.board(tenant));
    let days = app.parts.history.days(tenant, &allowed.shown_ids(), STATUS_DAYS).await?;
    let incidents = app.parts.history.incidents(tenant).await?;
    let snapshot = Snapshot::of(&config, app.bound, app.parts.clock.now(), allowed, days, incidents);
    let made =
        Arc::new(Rendered { snapshot, revision, made_at: now, status: Default::default(), feed: Default::default() });
    *app.pages.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
    Ok(made)
}

/// Shows how the services stand.
pub(crate) async fn status(State(app): Shared, request: Request) -> Answer {
    let made = rendered(&app).await?;
    let (lang, chosen) = language(&request);
    let render = || html(&StatusPage::new(&made.snapshot, Frame::new(&made.snapshot, lang, chosen)));
    let tagged = made.status[usize::from(chosen)][lang as usize].get_or_init(render);
    Ok(varied(&app, tagged.answer(validator(&request).as_deref())))
}

/// Shows one incident.
pub(crate) async fn incident(State(app): Shared, Path(id): Path<String>, request: Request) -> Answer {
    let made = rendered(&app).await?;
    let (lang, chosen) = language(&request);
    let frame = Frame::new(&made.snapshot, lang, chosen);
    let Some(incident) = made.snapshot.incidents.iter().find(|incident| incident.id.as_str() == id) else {
        let mut response = html(&MissingPage { frame }).answer(None);
        *response.status_mut() = StatusCode::NOT_FOUND;
        response.headers_mut().remove(header::ETAG);
        return Ok(varied(&app, response));
    };
    let tagged = html(&IncidentPage::new(&made.snapshot, incident, frame));
    Ok(varied(&app, tagged.answer(validator(&request).as_deref())))
}

/// Gives the incidents as a feed.
pub(crate) async fn feed(State(app): Shared, request: Request) -> Answer {
    let made = rendered(&app).await?;
    let (lang, _) = language(&request);
    let render = || Tagged::new(text(&Feed::new(&made.snapshot, lang)), ATOM, BRIEFLY);
    let tagged = made.feed[lang as usize].get_or_init(render);
    Ok(varied(&app, tagged.answer(validator(&request).as_deref())))
}

/// Draws a check's state.
pub(crate) async fn badge(State(app): Shared, Path(name): Path<String>, request: Request) -> Answer {
    let made = rendered(&app).await?;
    let shown = name.strip_suffix(".svg").and_then(|id| made.snapshot.checks.iter().find(|check| check.id == id));
    let check = shown.ok_or_else(|| Problem::missing("badge"))?;
    let (lang, _) = language(&request);
    let tagged = Tagged::new(text(&Badge::new(check, lang)), SVG, BRIEFLY);
    let mut response = tagged.answer(validator(&request).as_deref());
    // A badge is made to stand on other people's pages.
    let anywhere = HeaderValue::from_static("cross-origin");
    response.headers_mut().insert("cross-origin-resource-policy", anywhere);
    Ok(varied(&app, response))
}

/// Gives the style sheet of the pages.
pub(crate) async fn style(request: Request) -> Response {
    Tagged::new(STYLE, "text/css; charset=utf-8", FOR_AN_HOUR).answer(validator(&request).as_deref())
}

/// Gives the icon of the pages.
pub(crate) async fn icon(request: Request) -> Response {
    Tagged::new(ICON, SVG, FOR_AN_HOUR).answer(validator(&request).as_deref())
}

fn html(page: &impl Template) -> Tagged {
    Tagged::new(text(page), HTML, BRIEFLY)
}

fn text(page: &impl Template) -> String {
    page.render().expect("invariant: writing to a String does not fail")
}

/// The language of the query if it names one that we speak (and then that it was chosen), otherwise the browser's.
fn language(request: &Request) -> (Lang, bool) {
    let query = request.uri().query().unwrap_or_default();
    let chosen = query.split('&').find_map(|pair| pair.strip_prefix("lang=")).and_then(Lang::from_code);
    match chosen {
        Some(lang) => (lang, true),
        None => {
            let accept = request.headers().get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
            (Lang::negotiate(accept.unwrap_or_default()), false)
        }
    }
}

fn varied(app: &App, mut response: Response) -> Response {
    if !app.config().status_page.public {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(PRIVATELY));
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-language"));
    response
}

#[cfg(test)]
mod tests;
