//! The public status page.
use crate::api::Answer;
use crate::problem::Problem;
use axum::response::Response;
#[derive(Default)]
pub(crate) struct Cache;
impl Cache {
    pub(crate) fn clear(&self) {}
}
pub(crate) async fn status() -> Answer<Response> {
    Err(Problem::missing("page"))
}
pub(crate) async fn style() -> Answer<Response> {
    Err(Problem::missing("page"))
}
pub(crate) async fn icon() -> Answer<Response> {
    Err(Problem::missing("page"))
}
pub(crate) async fn feed() -> Answer<Response> {
    Err(Problem::missing("page"))
}
pub(crate) async fn badge() -> Answer<Response> {
    Err(Problem::missing("page"))
}
pub(crate) async fn incident() -> Answer<Response> {
    Err(Problem::missing("page"))
}
