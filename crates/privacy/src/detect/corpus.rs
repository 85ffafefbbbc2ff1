//! Seeded generators of values, sentences, odd spellings and look-alikes: what the budgets are measured on.
//!
//! The sentences and forms here are not those that the detectors were written from.

use model::SeededRng;

use super::{Type, iban, nir};
use crate::redact::Redactor;

/// How a value is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Odd {
    /// As people write it.
    None,
    /// In one of the spellings that engines lose.
    Any,
}

/// Draws values from a seed.
pub(crate) struct Gen(SeededRng);

impl Gen {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededRng::new(seed))
    }

    pub(crate) fn below(&self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound as u64)).expect("small")
    }

    pub(crate) fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn digits(&self, len: usize) -> String {
        (0..len).map(|_| char::from(b'0' + u8::try_from(self.below(10)).expect("a digit"))).collect()
    }

    pub(crate) fn letters(&self, alphabet: &str, len: usize) -> String {
        let chars: Vec<char> = alphabet.chars().collect();
        (0..len).map(|_| self.pick(&chars)).collect()
    }

    pub(crate) fn email(&self) -> String {
        let first = self.pick(&["amina", "jean-luc", "o.brien", "zoé", "li", "m_benali", "k", "x+tag"]);
        let second = self.pick(&["", ".dupont", "_99", ".müller", "-smith"]);
        let domain = self.pick(&["example.org", "chu-lille.example.fr", "exämple.de", "mail.école.fr", "a-b.co.uk"]);
        format!("{first}{second}{}@{domain}", self.below(100))
    }

    pub(crate) fn ipv4(&self) -> String {
        format!("{}.{}.{}.{}", 1 + self.below(126 - 1), self.below(256), self.below(256), 1 + self.below(254))
            .replace("127.", "126.")
    }

    pub(crate) fn ipv6(&self) -> String {
        let group = || format!("{:x}", 1 + self.below(0xFFFE));
        match self.below(3) {
            0 => format!("2001:db8:{}::{}", group(), group()),
            1 => format!("fe80::{}:{}:{}", group(), group(), group()),
            _ => format!("2a02:{}", (0..7).map(|_| group()).collect::<Vec<_>>().join(":")),
        }
    }

    pub(crate) fn card(&self) -> String {
        let (prefix, len) = self.pick(&[
            ("4", 16),
            ("51", 16),
            ("2221", 16),
            ("2700", 16),
            ("34", 15),
            ("37", 15),
            ("6011", 16),
            ("36", 14),
        ]);
        let body = format!("{prefix}{}", self.digits(len - prefix.len() - 1));
        let sum: u32 = body
            .bytes()
            .rev()
            .enumerate()
            .map(|(i, d)| {
                let d = u32::from(d - b'0');
                if i % 2 == 1 {
                    d
                } else if d > 4 {
                    2 * d - 9
                } else {
                    2 * d
                }
            })
            .sum();
        let number = format!("{body}{}", (10 - sum % 10) % 10);
        let shape: &[usize] = match len {
            14 => &[4, 6, 4],
            15 => &[4, 6, 5],
            _ => &[4, 4, 4, 4],
        };
        group(&number, shape, self.pick(&["", "", " ", "-"]))
    }

    pub(crate) fn iban(&self) -> String {
        let country = self.pick(&["FR", "DE", "BE", "GB", "ES", "IT", "LU", "CH", "NL", "MT", "TN", "MA"]);
        let code = country.as_bytes();
        let len = iban::length([code[0], code[1]]).expect("listed");
        let body = match country {
            "GB" | "NL" | "MT" => format!("{}{}", self.letters("ABCDEFGHKLMNPQR", 4), self.digits(len - 8)),
            _ => self.digits(len - 4),
        };
        let rest = iban::mod_97(format!("{country}00{body}").as_bytes());
        let number = format!("{country}{:02}{body}", 98 - rest);
        let fours = vec![4; len / 4].into_iter().chain((!len.is_multiple_of(4)).then_some(len % 4)).collect::<Vec<_>>();
        group(&number, &fours, self.pick(&["", " "]))
    }

    pub(crate) fn nir(&self) -> String {
        let department = match self.below(6) {
            0 => "2A".to_owned(),
            1 => "2B".to_owned(),
            _ => format!("{:02}", 1 + self.below(95)),
        };
        let body = format!(
            "{}{:02}{:02}{department}{:03}{:03}",
            1 + self.below(2),
            self.below(100),
            1 + self.below(12),
            1 + self.below(989),
            1 + self.below(998)
        );
        let mut number = [b'0'; 15];
        number[..13].copy_from_slice(body.as_bytes());
        let number = format!("{body}{:02}", nir::key(&number));
        group(&number, &[1, 2, 2, 2, 3, 3, 2], self.pick(&["", " ", " ", "-"]))
    }

    pub(crate) fn jwt(&self) -> String {
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
        let header = self.pick(&["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9"]);
        format!("{header}.eyJ{}.{}", self.letters(alphabet, 40), self.letters(alphabet, 43))
    }

    pub(crate) fn url_credentials(&self) -> String {
        let user = self.letters("abcdefgh", 5);
        let password = self.letters("abcXYZ123!$*-_", 4 + self.below(12));
        format!("{user}:{password}")
    }

    pub(crate) fn secret(&self) -> String {
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let body = self.letters(alphabet, 40);
        match self.below(6) {
            0 => format!("AKIA{}", self.letters("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
            1 => format!("ghp_{body}"),
            2 => format!("sk_live_{body}"),
            3 => format!("xoxb-{}-{body}", self.digits(12)),
            4 => format!("dhy_{body}"),
            _ => format!("glpat-{body}"),
        }
    }

    /// Draws a number of one of twelve countries, in one of the forms that people there write.
    pub(crate) fn phone_of(&self, country: u64) -> String {
        let d = |len| self.digits(len);
        let two = || format!("{} {} {} {}", d(2), d(2), d(2), d(2));
        let plain = self.below(2) == 0;
        match country {
            0 if plain => format!("{} {}", self.pick(&["06", "07", "01", "09"]), two()),
            0 => self.pick(&["+336", "+33 6", "00336", "06", "+33 (0)6"]).to_owned() + &d(8),
            1 if plain => format!("04{} {} {} {}", 70 + self.below(20), d(2), d(2), d(2)),
            1 => format!("+32 2 {} {} {}", d(3), d(2), d(2)),
            2 if plain => format!("07{} {} {} {}", 6 + self.below(4), d(3), d(2), d(2)),
            2 => format!("+41 44 {} {} {}", d(3), d(2), d(2)),
            3 if plain => format!("Tél. 621 {} {}", d(3), d(3)),
            3 => format!("+352 621 {} {}", d(3), d(3)),
            4 if plain => format!("0{} {}", self.pick(&["171", "151", "160"]), d(8)),
            4 => format!("+49 {} {}", self.pick(&["30", "171"]), d(7)),
            5 if plain => format!("6{} {} {} {}", d(2), d(2), d(2), d(2)),
            5 => format!("+34 6{} {} {}", d(2), d(3), d(3)),
            6 if plain => format!("3{}{} {}", self.pick(&["2", "3", "4"]), d(1), d(7)),
            6 => format!("+39 3{} {}", d(2), d(7)),
            7 if plain => format!("07{} {}", d(3), d(6)),
            7 => format!("+44 20 {} {}", d(4), d(4)),
            8 if plain => format!("(2{}) 5{}-{}", d(2), d(2), d(4)),
            8 => format!("+1 2{} 5{} {}", d(2), d(2), d(4)),
            9 if plain => format!("06{} {} {} {}", d(2), d(2), d(2), d(2)),
            9 => format!("+212 6{} {} {} {}", d(2), d(2), d(2), d(2)),
            10 if plain => format!("05{} {} {} {}", d(2), d(2), d(2), d(2)),
            10 => format!("+213 5{} {} {} {}", d(2), d(2), d(2), d(2)),
            _ if plain => format!("GSM: 2{} {} {}", d(1), d(3), d(3)),
            _ => format!("+216 2{} {} {}", d(1), d(3), d(3)),
        }
    }
}

/// Groups a number as people do, or leaves it in one piece.
pub(crate) fn grouped(g: &Gen, number: &str, shape: &[usize]) -> String {
    group(number, shape, g.pick(&["", "", " ", "-"]))
}

/// Appends the digit that satisfies Luhn's check.
pub(crate) fn luhn_end(body: &str) -> String {
    let end =
        (b'0'..=b'9').find(|end| super::digits::luhn(&[body.as_bytes(), &[*end]].concat())).expect("one of ten does");
    format!("{body}{}", char::from(end))
}

/// Returns the type of the first hit that is one of `kinds`.
pub(crate) fn found(text: &str, kinds: &[Type]) -> Option<Type> {
    super::find(text).into_iter().map(|hit| hit.kind).find(|kind| kinds.contains(kind))
}

/// Holds the recall of one type against its budget, on values that stand in `sentences`: found means that a span of that
/// type covers four fifths of the value. Prints what was reached.
pub(crate) fn budget(kind: Type, plain_min: f64, odd_min: f64, sentences: &[&str], value: impl Fn(&Gen) -> String) {
    const COUNT: usize = 800;
    let share = |seed: u64, odd: Odd| {
        let generator = Gen::new(seed);
        let redactor = Redactor::new();
        let mut missed = Vec::new();
        for i in 0..COUNT {
            let spelled = spell(&generator, &value(&generator), odd);
            let text = sentences[i % sentences.len()].replacen("{}", &spelled, 1);
            let start = text.find(&spelled).expect("is in it");
            let place = start..start + spelled.len();
            let covered: usize = redactor
                .explain(&text)
                .findings
                .iter()
                .filter(|finding| finding.kind == kind)
                .map(|finding| finding.range.end.min(place.end).saturating_sub(finding.range.start.max(place.start)))
                .sum();
            if covered * 5 < place.len() * 4 {
                missed.push(text);
            }
        }
        (1.0 - missed.len() as f64 / COUNT as f64, missed)
    };
    let (plain, plain_missed) = share(kind as u64, Odd::None);
    let (odd, odd_missed) = share(kind as u64 + 100, Odd::Any);
    println!("{}: recall {plain:.3} plain, {odd:.3} odd, of {COUNT} each", kind.name());
    assert!(
        plain >= plain_min,
        "{}: {plain} plain: {:#?}",
        kind.name(),
        plain_missed.iter().take(5).collect::<Vec<_>>()
    );
    assert!(odd >= odd_min, "{}: {odd} odd: {:#?}", kind.name(), odd_missed.iter().take(5).collect::<Vec<_>>());
}

fn group(number: &str, shape: &[usize], separator: &str) -> String {
    let mut rest = number;
    let mut parts = Vec::new();
    for width in shape {
        let (part, tail) = rest.split_at((*width).min(rest.len()));
        parts.push(part);
        rest = tail;
    }
    parts.push(rest);
    parts.retain(|part| !part.is_empty());
    parts.join(separator)
}

/// Spells a value oddly.
pub(crate) fn spell(generator: &Gen, value: &str, odd: Odd) -> String {
    if odd == Odd::None {
        return value.to_owned();
    }
    let map = |f: &dyn Fn(char) -> String| value.chars().map(f).collect::<String>();
    match generator.below(9) {
        0 => map(&|c| {
            if c == '@' {
                "%40".into()
            } else if c == ' ' {
                "%20".into()
            } else {
                c.into()
            }
        }),
        1 => map(&|c| if c.is_ascii_punctuation() { format!("\\u{:04x}", u32::from(c)) } else { c.into() }),
        2 => map(&|c| if c == '@' || c == ' ' { format!("&#{};", u32::from(c)) } else { c.into() }),
        3 => value.replace(' ', "\u{a0}"),
        4 => value.replace(' ', "\u{202f}"),
        5 => map(&|c| match c {
            '0'..='9' | '@' => char::from_u32(u32::from(c) + 0xFEE0).expect("full width").to_string(),
            _ => c.to_string(),
        }),
        6 => map(&|c| if c == '-' { "\u{2011}".into() } else { c.into() }),
        7 => value.replace('@', "&commat;").replace(' ', "&nbsp;"),
        _ => {
            let mut spelled = String::new();
            for (i, c) in value.chars().enumerate() {
                spelled.push(c);
                if i == 2 {
                    spelled.push('\u{200b}');
                }
            }
            spelled
        }
    }
}

/// The share of `count` values of which nothing that tells is left in a redacted sentence.
pub(crate) fn recall(seed: u64, count: usize, odd: Odd, value: impl Fn(&Gen) -> String) -> f64 {
    const SENTENCES: [&str; 8] = [
        "{}",
        "dossier de {} clos",
        "could not deliver to <{}>: rejected",
        "[2026-11-22T18:00:00Z] WARN user={} action=login",
        "{\"who\":\"{}\",\"ok\":true}",
        "Le contact ({}) a rappelé à 12:30.",
        "retry 3/5 for {}, giving up",
        "https://app.example/see?who={}&page=2",
    ];
    let generator = Gen::new(seed);
    let redactor = Redactor::new();
    let mut missed = 0;
    for i in 0..count {
        let written = value(&generator);
        let url = written.contains(':')
            && !written.contains("::")
            && written.len() < 40
            && written.contains(char::is_alphabetic);
        let spelled = spell(&generator, &written, odd);
        let text = if url && !written.starts_with("GSM") && !written.contains("2a02") {
            format!("connect postgres://{spelled}@db.internal/x failed")
        } else {
            SENTENCES[i % SENTENCES.len()].replacen("{}", &spelled, 1)
        };
        let redacted = redactor.redact(&text);
        // Found means that its last five characters are gone: a token that leaves the end is a miss.
        let tail: String = spelled.chars().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect();
        if redacted.contains(&tail) || !Type::ALL.iter().any(|kind| redacted.contains(&format!("[{}]", kind.as_str())))
        {
            missed += 1;
            if missed <= 3 {
                println!("missed: {text} -> {redacted}");
            }
        }
    }
    1.0 - f64::from(missed) / count as f64
}

/// Lines that look like personal data and are none.
pub(crate) fn lookalikes(seed: u64, count: usize) -> Vec<String> {
    let g = Gen::new(seed);
    let hex = |len| g.letters("0123456789abcdef", len);
    (0..count)
        .map(|i| match i % 20 {
            0 => format!("order {} shipped", g.digits(10)),
            1 => format!("order_id={} total=12.50", g.digits(16)),
            2 => format!("request {}-{}-4{}-a{}-{} done", hex(8), hex(4), hex(3), hex(3), hex(12)),
            3 => format!("commit {} by ci", hex(40)),
            4 => format!(
                "2026-{:02}-{:02}T{:02}:{:02}:{:02}.{}Z started",
                1 + g.below(12),
                1 + g.below(28),
                g.below(24),
                g.below(60),
                g.below(60),
                g.digits(6)
            ),
            5 => format!("ts={} level=info", 1_700_000_000 + g.below(99_999_999)),
            6 => format!("at {} ms", 1_700_000_000_000_u64 + g.below(99_999_999_999) as u64),
            7 => format!("duration_ns={} span_id={}", g.digits(9), hex(16)),
            8 => format!(
                "upgraded libssl {}.{}.{} to {}.{}.{}-{}",
                g.below(9),
                g.below(30),
                g.below(30),
                g.below(9),
                g.below(30),
                g.below(30),
                g.below(9)
            ),
            9 => format!("Mozilla/5.0 Chrome/{}.0.{}.{} Safari/537.36", 100 + g.below(40), g.below(9999), g.below(200)),
            10 => format!("sha256:{} pulled in {} ms", hex(64), g.below(9999)),
            11 => format!("{} rows, {} bytes, {} in queue", g.below(99_999), g.digits(9), g.below(999)),
            12 => format!("trace_id={} parent={}", hex(32), hex(16)),
            13 => format!("nginx[{}]: worker {} exited on signal {}", g.digits(5), g.digits(5), g.below(31)),
            14 => format!("20{}{:02}{:02}{} backup.tar.gz", g.digits(2), 1 + g.below(12), 1 + g.below(28), g.digits(6)),
            15 => format!("facture FA-{}-{} émise", g.digits(4), g.digits(6)),
            16 => format!(
                "key {}:{}:{}:{}:{}:{}:{}:{} seen",
                hex(2),
                hex(2),
                hex(2),
                hex(2),
                hex(2),
                hex(2),
                hex(2),
                hex(2)
            ),
            17 => format!("std::vec::Vec at src/main.rs:{}:{} key=value token: expired", g.below(999), g.below(80)),
            18 => format!("isbn {} sku={}", g.digits(13), g.digits(12)),
            _ => format!(
                "build {}.{}.{}.{} image@sha256 user@1000.service",
                g.below(9),
                g.below(30),
                g.below(30),
                g.below(99)
            ),
        })
        .collect()
}
