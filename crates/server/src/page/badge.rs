//! A check's state as a small picture for other people's pages.

use askama::Template;

use super::snapshot::{Look, Shown};
use super::words::Lang;

/// A badge: the check's name beside its state, with a shape as well as a colour.
#[derive(Template)]
#[template(path = "badge.svg")]
pub(super) struct Badge {
    name: String,
    state: &'static str,
    class: &'static str,
    colour: &'static str,
    name_width: usize,
    state_width: usize,
}

/// Longest name on a badge, in characters.
const NAME_CHARS_MAX: usize = 40;

impl Badge {
    pub(super) fn new(check: &Shown, lang: Lang) -> Self {
        let name: String = check.name.chars().take(NAME_CHARS_MAX).collect();
        let state = lang.look(check.look);
        Self {
            name_width: text_width(&name) + 16,
            // The shape stands before the word.
            state_width: text_width(state) + 32,
            name,
            state,
            class: check.look.class(),
            // White text on each has a contrast of at least 4.5.
            colour: match check.look {
                Look::Up => "#15743a",
                Look::Degraded => "#8f5f00",
                Look::Down => "#bd1f2d",
                Look::Maintenance => "#1d5bb8",
                Look::Unknown | Look::NoData => "#56606e",
            },
        }
    }
}

/// About as wide as 11 px Verdana or DejaVu Sans draws it; `textLength` makes it exact whatever the font.
fn text_width(text: &str) -> usize {
    let tenths: usize = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ' ' | '\'' | '|' => 40,
            'm' | 'w' | 'M' | 'W' => 100,
            c if c.is_uppercase() => 80,
            c if c.is_ascii() => 68,
            _ => 72,
        })
        .sum();
    tenths.div_ceil(10)
}
