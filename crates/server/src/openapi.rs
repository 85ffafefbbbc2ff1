//! The shapes that the API's description needs for words of `model`, which knows nothing of OpenAPI.

use utoipa::ToSchema;

/// A level.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum LevelWord {
    /// Worth knowing.
    Info,
    /// Will become a problem.
    Warning,
    /// A problem now.
    Error,
    /// A problem that wakes people.
    Critical,
}

/// A sector.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum SectorWord {
    /// Hospitals, practices, laboratories.
    Health,
    /// Schools and universities.
    Education,
    /// Shops and payment.
    Ecommerce,
    /// No sector in particular.
    None,
}

/// A state.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum StateWord {
    /// All conditions hold.
    Up,
    /// It works, and something about it needs attention.
    Degraded,
    /// It does not do what it is for.
    Down,
    /// We cannot tell.
    Unknown,
}

/// A condition on one label.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes model::Matcher in the API's description, never built")]
pub struct MatcherShape {
    /// The label's name.
    #[schema(example = "service")]
    name: String,
    /// How to compare: `=`, `!=`, `=~` or `!~`.
    #[schema(example = "=")]
    op: String,
    /// What to compare with; an anchored regular expression for the last two.
    value: String,
}
