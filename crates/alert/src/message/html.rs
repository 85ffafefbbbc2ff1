//! A message as an HTML document that mail programs show: tables and inline styles, nothing fetched.

use model::Severity;

use super::Message;
use crate::notification::Status;

/// Writes the document.
pub(super) fn document(message: &Message) -> String {
    let mut page = String::from("<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>");
    page.push_str(&escape(&message.subject));
    page.push_str("</title></head>\n<body style=\"font-family:sans-serif;color:#1a1a1a;max-width:44em\">\n");
    page.push_str(&format!(
        "<p style=\"font-size:1.25em;font-weight:bold;border-left:6px solid {};padding-left:.6em\">{}</p>\n",
        colour(message),
        escape(&message.headline)
    ));
    page.push_str("<table style=\"border-collapse:collapse\">\n");
    for fact in &message.facts {
        page.push_str(&format!(
            "<tr><th style=\"text-align:left;vertical-align:top;padding:.15em 1em .15em 0\">{}</th><td>{}</td></tr>\n",
            escape(&fact.name),
            escape(&fact.value)
        ));
    }
    page.push_str("</table>\n");
    if !message.acknowledge.is_empty() {
        page.push_str(&format!("<p><code>{}</code></p>\n", escape(&message.acknowledge)));
    }
    page.push_str(&links(&message.links));
    if !message.alerts.is_empty() {
        page.push_str("<ul>\n");
        for entry in &message.alerts {
            page.push_str(&format!("<li><strong>{}</strong>", escape(&entry.title)));
            for text in [&entry.cause, &entry.when].into_iter().filter(|text| !text.is_empty()) {
                page.push_str(&format!("<br>{}", escape(text)));
            }
            page.push_str(&links(&entry.links));
            page.push_str("</li>\n");
        }
        page.push_str("</ul>\n");
    }
    for remark in &message.remarks {
        page.push_str(&format!("<p>{}</p>\n", escape(remark)));
    }
    page.push_str(&format!(
        "<p style=\"color:#666;font-size:.85em\">{}</p>\n</body></html>\n",
        escape(&message.footer)
    ));
    page
}

fn links(links: &[(String, String)]) -> String {
    if links.is_empty() {
        return String::new();
    }
    let items: Vec<String> =
        links.iter().map(|(name, url)| format!("<a href=\"{}\">{}</a>", escape(url), escape(name))).collect();
    format!("<p>{}</p>\n", items.join(" · "))
}

/// Returns the colour of the bar: dark enough to tell apart in grey.
fn colour(message: &Message) -> &'static str {
    match (message.status, message.severity) {
        (Status::Resolved, _) => "#1e7d34",
        (_, Severity::Info) => "#2563a8",
        (_, Severity::Warning) => "#b26a00",
        (_, Severity::Error | Severity::Critical) => "#b3261e",
    }
}

/// Escapes text for element content and quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() && c != '\n' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_becomes_markup() {
        assert_eq!(escape("<a href='x' b=\"y\">&\u{7}\n"), "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp; \n");
    }
}
