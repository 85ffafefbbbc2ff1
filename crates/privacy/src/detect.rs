//! One pass over a text: rare bytes are anchors, and only at an anchor does a detector look around.
//!
//! A detector is a function of the bytes and the anchor's place; it holds no state, so each lives in a file of its own
//! with its corpus and its budget of misses and false alarms. What several of them claim is united, never cut: better
//! a word too many than a digit too few.

pub(crate) mod address;
pub(crate) mod adeli;
pub(crate) mod anchor;
pub(crate) mod be;
pub(crate) mod card;
pub(crate) mod cni;
pub(crate) mod cue;
pub(crate) mod de;
pub(crate) mod digits;
pub(crate) mod dob;
pub(crate) mod email;
pub(crate) mod es;
pub(crate) mod form;
pub(crate) mod geo;
pub(crate) mod health;
pub(crate) mod iban;
pub(crate) mod imei;
pub(crate) mod ine;
pub(crate) mod ip;
pub(crate) mod it;
pub(crate) mod jwt;
pub(crate) mod keyed;
pub(crate) mod lei;
pub(crate) mod lexicon;
pub(crate) mod licence;
pub(crate) mod mac;
pub(crate) mod names;
pub(crate) mod nif;
pub(crate) mod nir;
pub(crate) mod passport;
pub(crate) mod person;
pub(crate) mod phone;
pub(crate) mod plate;
pub(crate) mod rpps;
pub(crate) mod secret;
pub(crate) mod siret;
pub(crate) mod uk;
pub(crate) mod url;
pub(crate) mod us;
pub(crate) mod username;
pub(crate) mod vat;

#[cfg(test)]
pub(crate) mod corpus;
#[cfg(test)]
mod whole;

use std::ops::Range;

use anchor::Anchors;
use cue::Cues;
use digits::{Digits, Gap};
use form::CHARS_MAX;
use lexicon::bit;

/// What kind of personal value or secret a stretch of text is. The order is the precedence where several claim it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// A password, an API key, a private key, a bearer token.
    Secret,
    /// The part of a URL before `@`.
    UrlCredentials,
    /// A JSON Web Token.
    Jwt,
    /// An international bank account number.
    Iban,
    /// A patient's identity in France (INS): a NIR or NIA used as such.
    Ins,
    /// A French social security number.
    Nir,
    /// A payment card number.
    Card,
    /// A French tax identification number.
    Nif,
    /// A social security number of the United States.
    UsSsn,
    /// A number of the British National Health Service.
    UkNhs,
    /// A British National Insurance number.
    UkNino,
    /// A Belgian national number.
    BeNiss,
    /// A German tax identification number.
    DeIdnr,
    /// A Spanish identity number, DNI or NIE.
    EsDni,
    /// An Italian tax code.
    ItCf,
    /// A passport's number.
    Passport,
    /// An identity card's number.
    Cni,
    /// A driving licence's number.
    Licence,
    /// A French health professional's number (RPPS).
    Rpps,
    /// A French health professional's number (ADELI).
    Adeli,
    /// A French student's national identifier.
    Ine,
    /// A French establishment's number.
    Siret,
    /// A French company's number.
    Siren,
    /// A VAT number of the European Union.
    Vat,
    /// A legal entity identifier.
    Lei,
    /// A mobile device's number.
    Imei,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// A code or a name of an illness.
    Health,
    /// A date of birth.
    Dob,
    /// A postal address.
    Address,
    /// Coordinates of a place.
    Geo,
    /// A person's name.
    Person,
    /// A user's name in a system.
    Username,
    /// A vehicle's licence plate.
    Plate,
    /// A hardware address.
    Mac,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
}

impl Type {
    /// All types, in order of precedence.
    pub const ALL: [Self; 38] = [
        Self::Secret,
        Self::UrlCredentials,
        Self::Jwt,
        Self::Iban,
        Self::Ins,
        Self::Nir,
        Self::Card,
        Self::Nif,
        Self::UsSsn,
        Self::UkNhs,
        Self::UkNino,
        Self::BeNiss,
        Self::DeIdnr,
        Self::EsDni,
        Self::ItCf,
        Self::Passport,
        Self::Cni,
        Self::Licence,
        Self::Rpps,
        Self::Adeli,
        Self::Ine,
        Self::Siret,
        Self::Siren,
        Self::Vat,
        Self::Lei,
        Self::Imei,
        Self::Email,
        Self::Phone,
        Self::Health,
        Self::Dob,
        Self::Address,
        Self::Geo,
        Self::Person,
        Self::Username,
        Self::Plate,
        Self::Mac,
        Self::Ipv4,
        Self::Ipv6,
    ];

    /// Returns the word that stands in tokens, configuration and metrics; IP addresses of both versions share one.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::UrlCredentials => "url-credentials",
            Self::Jwt => "jwt",
            Self::Iban => "iban",
            Self::Ins => "ins",
            Self::Nir => "nir",
            Self::Card => "card",
            Self::Nif => "nif",
            Self::UsSsn => "us-ssn",
            Self::UkNhs => "uk-nhs",
            Self::UkNino => "uk-nino",
            Self::BeNiss => "be-niss",
            Self::DeIdnr => "de-idnr",
            Self::EsDni => "es-dni",
            Self::ItCf => "it-cf",
            Self::Passport => "passport",
            Self::Cni => "cni",
            Self::Licence => "licence",
            Self::Rpps => "rpps",
            Self::Adeli => "adeli",
            Self::Ine => "ine",
            Self::Siret => "siret",
            Self::Siren => "siren",
            Self::Vat => "vat",
            Self::Lei => "lei",
            Self::Imei => "imei",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Health => "health",
            Self::Dob => "dob",
            Self::Address => "address",
            Self::Geo => "geo",
            Self::Person => "person",
            Self::Username => "username",
            Self::Plate => "plate",
            Self::Mac => "mac",
            Self::Ipv4 | Self::Ipv6 => "ip",
        }
    }

    /// Tells whether a value of this type is surely the same person's, or thing's, wherever it stands. Names are not:
    /// two persons share one; nor are user names: two systems share one.
    pub(crate) const fn identifies(self) -> bool {
        !matches!(
            self,
            Self::Secret
                | Self::UrlCredentials
                | Self::Jwt
                | Self::Health
                | Self::Dob
                | Self::Address
                | Self::Geo
                | Self::Person
                | Self::Username
        )
    }

    /// Returns the token that stands in the place of a value.
    pub(crate) const fn token(self) -> &'static str {
        match self {
            Self::Secret => "[secret]",
            Self::UrlCredentials => "[url-credentials]",
            Self::Jwt => "[jwt]",
            Self::Iban => "[iban]",
            Self::Ins => "[ins]",
            Self::Nir => "[nir]",
            Self::Card => "[card]",
            Self::Nif => "[nif]",
            Self::UsSsn => "[us-ssn]",
            Self::UkNhs => "[uk-nhs]",
            Self::UkNino => "[uk-nino]",
            Self::BeNiss => "[be-niss]",
            Self::DeIdnr => "[de-idnr]",
            Self::EsDni => "[es-dni]",
            Self::ItCf => "[it-cf]",
            Self::Passport => "[passport]",
            Self::Cni => "[cni]",
            Self::Licence => "[licence]",
            Self::Rpps => "[rpps]",
            Self::Adeli => "[adeli]",
            Self::Ine => "[ine]",
            Self::Siret => "[siret]",
            Self::Siren => "[siren]",
            Self::Vat => "[vat]",
            Self::Lei => "[lei]",
            Self::Imei => "[imei]",
            Self::Email => "[email]",
            Self::Phone => "[phone]",
            Self::Health => "[health]",
            Self::Dob => "[dob]",
            Self::Address => "[address]",
            Self::Geo => "[geo]",
            Self::Person => "[person]",
            Self::Username => "[username]",
            Self::Plate => "[plate]",
            Self::Mac => "[mac]",
            Self::Ipv4 | Self::Ipv6 => "[ip]",
        }
    }

    /// Returns the name for programs: upper snake case, one for each type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secret => "SECRET",
            Self::UrlCredentials => "URL_CREDENTIALS",
            Self::Jwt => "JWT",
            Self::Iban => "IBAN",
            Self::Ins => "INS",
            Self::Nir => "NIR",
            Self::Card => "CARD",
            Self::Nif => "NIF",
            Self::UsSsn => "US_SSN",
            Self::UkNhs => "UK_NHS",
            Self::UkNino => "UK_NINO",
            Self::BeNiss => "BE_NISS",
            Self::DeIdnr => "DE_IDNR",
            Self::EsDni => "ES_DNI",
            Self::ItCf => "IT_CF",
            Self::Passport => "PASSPORT",
            Self::Cni => "CNI",
            Self::Licence => "LICENCE",
            Self::Rpps => "RPPS",
            Self::Adeli => "ADELI",
            Self::Ine => "INE",
            Self::Siret => "SIRET",
            Self::Siren => "SIREN",
            Self::Vat => "VAT",
            Self::Lei => "LEI",
            Self::Imei => "IMEI",
            Self::Email => "EMAIL",
            Self::Phone => "PHONE",
            Self::Health => "HEALTH",
            Self::Dob => "DOB",
            Self::Address => "ADDRESS",
            Self::Geo => "GEO",
            Self::Person => "PERSON",
            Self::Username => "USERNAME",
            Self::Plate => "PLATE",
            Self::Mac => "MAC",
            Self::Ipv4 => "IPV4",
            Self::Ipv6 => "IPV6",
        }
    }

    /// Returns the types that a word of the configuration names, in either spelling: `ip` names two.
    #[must_use]
    pub fn named(word: &str) -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|kind| kind.as_str() == word || kind.name() == word || kind.name().eq_ignore_ascii_case(word))
            .collect()
    }
}

/// A stretch of the view that must not be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) range: Range<usize>,
    pub(crate) kind: Type,
}

impl Hit {
    pub(crate) const fn new(range: Range<usize>, kind: Type) -> Self {
        Self { range, kind }
    }
}

/// Finds all that must not be shown in `text`, in ascending order, without overlap.
pub(crate) fn find(text: &str) -> Vec<Hit> {
    let bytes = text.as_bytes();
    let (anchors, cues) = (Anchors::of(bytes), Cues::of(bytes));
    let mut walk = Walk { text, bytes, floor: 0, anchors, cues, hits: Vec::new() };
    walk.run();
    unite(walk.hits)
}

/// One walk over a text, anchor by anchor.
struct Walk<'a> {
    text: &'a str,
    bytes: &'a [u8],
    /// Where the last hit ended: nothing that follows may reach back across it.
    floor: usize,
    anchors: Anchors<'a>,
    cues: Cues<'a>,
    hits: Vec<Hit>,
}

impl Walk<'_> {
    fn run(&mut self) {
        let mut at = 0;
        while let Some(next) = self.anchors.next(at) {
            at = self.look(next).max(next + 1);
        }
    }

    /// Looks at one anchor; returns where the walk goes on.
    fn look(&mut self, at: usize) -> usize {
        let (bytes, floor) = (self.bytes, self.floor);
        let hit = match bytes[at] {
            b'0'..=b'9' => return self.number(at),
            b':' => self.colon(at),
            b'=' => self.pair(at),
            b'>' => self.keyed(at),
            b'@' => url::go_dsn(bytes, floor, at).or_else(|| email::at(self.text, floor, at)),
            b'-' => mac::at(bytes, floor, at).or_else(|| self.dashes(at)),
            b'[' => {
                if is_clf_time(bytes, at) && self.cues.context(floor, at + 1) & bit::DOB == 0 {
                    return at + CLF_TIME.len();
                }
                let end = at + token_len(bytes.get(at..).unwrap_or_default()).unwrap_or(1);
                self.floor = if end > at + 1 { end } else { floor };
                return end;
            }
            _ => return self.word(at),
        };
        self.take(hit, at + 1)
    }

    fn take(&mut self, hit: Option<Hit>, otherwise: usize) -> usize {
        match hit {
            Some(hit) => {
                let end = hit.range.end;
                if hit.kind == Type::Ipv6 {
                    self.hits.extend(username::before_address(self.bytes, self.floor, hit.range.start));
                }
                self.floor = end;
                self.hits.push(hit);
                end.max(otherwise)
            }
            None => otherwise,
        }
    }

    fn colon(&self, at: usize) -> Option<Hit> {
        let (bytes, floor) = (self.bytes, self.floor);
        let next = bytes.get(at + 1).copied().unwrap_or(b' ');
        if next == b'/' {
            return match bytes.get(at + 2) {
                Some(b'/') => url::at(bytes, at),
                _ => secret::value(bytes, at),
            };
        }
        let before = at.checked_sub(1).and_then(|i| bytes.get(i)).copied().unwrap_or(b' ');
        if before.is_ascii_hexdigit() || before == b':' || next == b':' {
            let address = mac::at(bytes, floor, at).or_else(|| ip::v6(bytes, floor, at));
            // `12:34`: no key ends in a digit in front of another.
            if address.is_some() || before.is_ascii_digit() && next.is_ascii_digit() {
                return address;
            }
        }
        self.pair(at)
    }

    /// Looks at the value whose key ends at the separator at `at`; most keys say nothing, and their last letters show it.
    fn pair(&self, at: usize) -> Option<Hit> {
        let end = cue::Key::end(self.bytes, at);
        let secret = if secret::may_end_key(self.bytes, end) { secret::value(self.bytes, at) } else { None };
        secret.or_else(|| if lexicon::may_say(self.bytes, self.floor, end) { self.keyed(at) } else { None })
    }

    /// Looks at the value whose key ends at the separator at `at`.
    fn keyed(&self, at: usize) -> Option<Hit> {
        let key = cue::Key::before(self.bytes, self.floor, at)?;
        keyed::at(self.text, &key, at)
    }

    fn dashes(&self, at: usize) -> Option<Hit> {
        if at > self.floor && self.bytes[at - 1] == b'-' { secret::dashes(self.bytes, at) } else { None }
    }

    /// Looks at the capitalised or accented word at `at`.
    fn word(&mut self, at: usize) -> usize {
        let (bytes, floor) = (self.bytes, self.floor);
        if let Some(hit) = secret::capital(bytes, at) {
            return self.take(Some(hit), at + 1);
        }
        match person::at(self.text, floor, at) {
            person::Look::Found(hit) => self.take(Some(hit), at + 1),
            person::Look::Nothing(end) => {
                // `AB 12 34 56 C`, `AB-123-CD`: letters, a separator, digits.
                let split = end - at <= 3
                    && matches!(bytes.get(end), Some(b' ' | b'-'))
                    && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
                let hit = if split { self.identifier(at) } else { None };
                self.take(hit, end)
            }
        }
    }

    /// Looks at an identifier of letters and digits that starts at `at`.
    fn identifier(&self, at: usize) -> Option<Hit> {
        form::in_prose(self.bytes, at, &mut || self.cues.context(self.floor, at), |_| true, |chars| chars.len() >= 3)
    }

    /// Looks at an identifier that starts with the number at `at`; `alone` tells of its first group's width whether it may
    /// need no word.
    fn number_in_prose(&self, at: usize, said: &mut dyn FnMut() -> u64, alone: impl Fn(usize) -> bool) -> Option<Hit> {
        form::in_prose(self.bytes, at, said, alone, |chars| {
            chars.len() >= 7 && !(chars.len() == 13 && cue::names_an_id(self.bytes, at))
        })
    }

    /// Looks at the run of digit groups that starts at `at`; returns where the walk goes on.
    fn number(&mut self, at: usize) -> usize {
        let bytes = self.bytes;
        let before = at.checked_sub(1).and_then(|i| bytes.get(i)).copied().unwrap_or(b' ');
        if before.is_ascii_alphabetic() {
            return self.token(at);
        }
        if matches!(before, b'_' | b'-' | b'.')
            && at >= 2
            && bytes[at - 2].is_ascii_alphanumeric()
            && let Some(hit) = secret::prefixed(bytes, self.floor, at)
        {
            return self.take(Some(hit), at + 1);
        }
        let end = at + digits::run_len(bytes, at);
        let passed = match bytes.get(end) {
            Some(b'-') => timestamp_len(bytes, at),
            Some(b':') => time_len(bytes, at),
            Some(b'.') => return self.dotted(at, end),
            Some(b'A'..=b'Z' | b'a'..=b'z') => return self.lettered(at, end),
            _ => None,
        };
        if let Some(len) = passed {
            return at + len;
        }
        if end - at <= 5 && is_alone(bytes, end) {
            return self.short(at, end);
        }
        self.groups(at)
    }

    /// Looks at the number at `at` that a dot follows, at `end`.
    fn dotted(&mut self, at: usize, end: usize) -> usize {
        let (bytes, floor) = (self.bytes, self.floor);
        if let Some(quad) = ip::alone(bytes, at) {
            if let Some(hit) = quad.hit(bytes) {
                self.hits.extend(username::before_address(bytes, floor, hit.range.start));
                return self.take(Some(hit), at + 1);
            }
            // This machine's address is nothing else either, where no word says so.
            if quad.is_loopback() && self.cues.context(floor, at) == 0 && !address::may_follow(bytes, at, end) {
                return quad.range.end;
            }
        }
        if let Some(last) = version_end(bytes, at, end)
            && self.cues.context(floor, at) == 0
            && !address::may_follow(bytes, at, end)
        {
            return last;
        }
        if end - at <= 5 && is_alone(bytes, end) { self.short(at, end) } else { self.groups(at) }
    }

    /// Looks at the number at `at` that a letter follows, at `end`.
    fn lettered(&mut self, at: usize, end: usize) -> usize {
        let bytes = self.bytes;
        let (_, word) = self.anchors.word(at);
        if word - at > LONGEST {
            // A hash, an id: longer than any identifier that is looked for.
            return word;
        }
        // Nor a house (`12345quater`), a date or a Corsican's number.
        let nobodys =
            word - at > 11 && end - at != 8 && !(end - at == 6 && matches!(bytes[end], b'A' | b'B' | b'a' | b'b'));
        if !nobodys {
            return self.groups(at);
        }
        let plus = at > self.floor && bytes[at - 1] == b'+';
        let hit =
            if plus { None } else { self.number_in_prose(at, &mut || self.cues.context(self.floor, at), |_| true) };
        self.take(hit, word)
    }

    /// Looks at a number of up to five digits with no other beside it: a house's, a postcode, a day of a month.
    fn short(&mut self, start: usize, end: usize) -> usize {
        let (bytes, floor) = (self.bytes, self.floor);
        let mut said = None;
        let cues = &self.cues;
        let mut said = || *said.get_or_insert_with(|| cues.context(floor, start));
        if end - start <= 2 && dob::month_may_follow(bytes, end) && said() & bit::DOB != 0 {
            let digits = Digits::read(bytes, start);
            if let Some(hit) = dob::at(bytes, &digits, 0) {
                return self.take(Some(hit), end);
            }
        }
        let hit = address::at(self.text, floor, start, end, &mut said);
        self.take(hit, end)
    }

    /// Looks at the word with a digit in it at `at`, letters in front.
    fn token(&mut self, at: usize) -> usize {
        let bytes = self.bytes;
        let (word, end) = self.anchors.word(at);
        if at == word + 2
            && let Some(hit) = iban::at(bytes, self.floor, at)
        {
            return self.take(Some(hit), at + 1);
        }
        if let Some(hit) = secret::prefixed(bytes, self.floor, at) {
            return self.take(Some(hit), at + 1);
        }
        let dotted = bytes.iter().skip(at + 1).take(3).any(|b| *b == b'.');
        if dotted && ip::v4_after_letter(bytes, at) {
            // `ip10.0.0.1`: a letter before does not make an address a word.
            return self.groups(at);
        }
        let lead = (at - word.max(self.floor)).min(CHARS_MAX);
        let start = at - lead;
        let len = end - start;
        let hit = match len {
            4 if bytes.get(start + 4) == Some(&b'.') => mac::dotted(bytes, start),
            3..=CHARS_MAX if lead <= 6 || matches!(len, 9 | 16 | 20) => self.identifier(start),
            _ => None,
        };
        let hit = hit.or_else(|| username::in_prose(bytes, self.floor, start));
        self.take(hit, start + len)
    }

    fn groups(&mut self, at: usize) -> usize {
        let bytes = self.bytes;
        let digits = Digits::read(bytes, at);
        let mut said = None;
        let mut group = 0;
        let last = digits.end(digits.len() - 1);
        while group < digits.len() {
            let Some(hit) = self.group(&digits, group, &mut said) else {
                group += 1;
                continue;
            };
            let end = hit.range.end;
            if hit.kind == Type::Ipv4 {
                self.hits.extend(username::before_address(bytes, self.floor, hit.range.start));
            }
            self.floor = end;
            self.hits.push(hit);
            while group < digits.len() && digits.start(group) < end {
                group += 1;
            }
            if group >= digits.len() {
                return end.max(last);
            }
            said = None;
        }
        // `12AB34567`: the rest of the word was looked at with its digits.
        last + bytes.iter().skip(last).take_while(|b| b.is_ascii_alphanumeric()).count()
    }

    /// Looks at the groups from `group` on.
    fn group(&self, digits: &Digits, group: usize, said: &mut Option<u64>) -> Option<Hit> {
        let (bytes, floor) = (self.bytes, self.floor);
        let (start, end) = (digits.start(group), digits.end(group));
        let first = digits.start(0);
        let left = digits.total_from(group);
        let mut said = || *said.get_or_insert_with(|| self.cues.context(floor, first.max(floor)));
        let lettered = bytes.get(end).is_some_and(u8::is_ascii_alphabetic);
        // What goes on with the number before is none of its own; few kinds start there.
        let glued = group > 0 && matches!(digits.gap(group), Gap::One(b'-' | b'.' | b'_' | b'/'));
        if bytes.get(start + 2) == Some(&b'-')
            && bytes.get(start + 5) == Some(&b'-')
            && let Some(hit) = mac::at(bytes, floor, start + 2)
        {
            return Some(hit);
        }
        let found = if digits.len() - group >= 4 { ip::v4(bytes, digits, group) } else { None };
        let found = found
            .or_else(|| if left >= 13 || left == 6 { nir::at(&self.cues, bytes, floor, digits, group) } else { None });
        if found.is_some() {
            return found;
        }
        if lettered
            && digits.width(group) <= 4
            && bytes.get(start + 4) == Some(&b'.')
            && let Some(hit) = mac::dotted(bytes, start)
        {
            return Some(hit);
        }
        // What a word vouches for is that before it is a telephone's, but nothing else starts with a plus.
        let plus = start > floor && bytes[start - 1] == b'+';
        if (left >= 8 || lettered)
            && !plus
            && !glued
            && let Some(hit) = self.number_in_prose(start, &mut said, |width| {
                // Those that start with two digits have three in the fourth group.
                width != 2 || digits.is_cut() || group + 3 < digits.len() && digits.width(group + 3) == 3
            })
        {
            return Some(hit);
        }
        let found = if left >= 13 && !glued { card::at(&self.cues, bytes, floor, digits, group) } else { None };
        let dialled = left >= 5 && (!glued || bytes[start] == b'0');
        let found = found.or_else(|| if dialled { phone::at(&self.cues, bytes, floor, digits, group) } else { None });
        if found.is_some() {
            return found;
        }
        if digits.width(group) <= 4
            && !glued
            && letters_between(bytes, end)
            && let Some(hit) = self.identifier(start)
        {
            return Some(hit);
        }
        if dob::may_start(bytes, digits, group)
            && said() & bit::DOB != 0
            && let Some(hit) = dob::at(bytes, digits, group)
        {
            return Some(hit);
        }
        let decimals = group + 1 < digits.len() && bytes.get(end) == Some(&b'.') && digits.width(group + 1) >= 3;
        if decimals
            && digits.width(group) <= 3
            && let Some(hit) = geo::at(bytes, start, said())
        {
            return Some(hit);
        }
        if digits.width(group) == 5 || digits.width(group) < 5 && !glued {
            return address::at(self.text, floor, start, end, &mut said);
        }
        None
    }
}

/// Most letters and digits in a row of an identifier that starts with a digit.
const LONGEST: usize = 20;

/// Tells whether neither a letter nor another number follows the number that ends at `end`.
fn is_alone(bytes: &[u8], end: usize) -> bool {
    let Some(next) = bytes.get(end) else { return true };
    if next.is_ascii_alphanumeric() {
        return false;
    }
    if !digits::is_separator(*next) {
        return true;
    }
    // `123 ABC 75` is a plate; three separators may stand between groups.
    !letters_between(bytes, end) && !bytes.iter().skip(end + 1).take(3).any(u8::is_ascii_digit)
}

/// Tells whether one to three letters between separators follow, and a digit: `123 ABC 75`.
fn letters_between(bytes: &[u8], at: usize) -> bool {
    let is_gap = |at: usize| matches!(bytes.get(at), Some(b' ' | b'-'));
    let letters = bytes.iter().skip(at + 1).take(4).take_while(|b| b.is_ascii_alphabetic()).count();
    is_gap(at)
        && (1..=3).contains(&letters)
        && is_gap(at + 1 + letters)
        && bytes.get(at + 2 + letters).is_some_and(u8::is_ascii_digit)
}

/// Returns where the numbers with dots between them end of which the first stands at `at..end`, where they can be neither an
/// address, a place, a telephone's nor an identifier that acts alone: `5.0`, `537.36`, `131.0.6778.85`.
fn version_end(bytes: &[u8], at: usize, end: usize) -> Option<usize> {
    // An identifier's first group has two digits, or 13; a telephone's trunk or the way abroad is a zero.
    let dialled = matches!(bytes.get(..at), Some([.., b'+'] | [.., b'+', b' ']));
    if dialled || end - at == 2 || end - at > 5 || (bytes[at] == b'0' && end - at > 1) {
        return None;
    }
    let (mut last, mut count, mut low, mut second, mut width) = (end, 1, end - at <= 3, 0, 0);
    while bytes.get(last) == Some(&b'.') {
        width = digits::run_len(bytes, last + 1);
        // `00` may be dialled, and a zero in front makes a number small.
        if width == 0 || width > 1 && bytes[last + 1] == b'0' {
            return None;
        }
        (last, count, low) = (last + 1 + width, count + 1, low && width <= 3);
        second = if count == 2 { width } else { second };
    }
    // Three decimals are a place, thirteen digits somebody's number.
    let nobodys =
        width <= 2 && last - at - (count - 1) < 13 && !(count >= 4 && low) && !phone::may_open(end - at, second);
    let ends = !bytes.get(last).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'-') && !digits::goes_on(bytes, last);
    (nobodys && ends).then_some(last)
}

/// The time stamp of web servers' access logs (Common Log Format); `d` is a digit, `a` a letter, `s` a sign.
const CLF_TIME: &[u8; 28] = b"[dd/aaa/dddd:dd:dd:dd sdddd]";

/// Tells whether a time stamp of the Common Log Format stands at `at`: it is nobody's date.
fn is_clf_time(bytes: &[u8], at: usize) -> bool {
    let Some(text) = bytes.get(at..at + CLF_TIME.len()) else { return false };
    text[3] == b'/'
        && text[27] == b']'
        && text.iter().zip(CLF_TIME).all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            b'a' => byte.is_ascii_alphabetic(),
            b's' => matches!(byte, b'+' | b'-'),
            form => byte == form,
        })
}

/// Returns the length of the time of day at `at`, where nothing around it makes its numbers anything else.
fn time_len(bytes: &[u8], at: usize) -> Option<usize> {
    let [a, b, b':', c, d, b':', e, f, rest @ ..] = bytes.get(at..)? else { return None };
    let end = at + 8;
    let before = at.checked_sub(1).and_then(|i| bytes.get(i)).copied().unwrap_or(b' ');
    let digits = [a, b, c, d, e, f].iter().all(|b| b.is_ascii_digit());
    let ends = !rest.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b':') && is_alone(bytes, end);
    (digits
        && ends
        && before != b':'
        && !address::may_lead(bytes, end)
        && !address::may_follow(bytes, at, at + 2)
        && !dob::month_may_follow(bytes, end))
    .then_some(8)
}

/// Returns the length of the RFC 3339 time stamp at `at`: most lines start with one, and it is nobody's number.
fn timestamp_len(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 13) != Some(&b':') {
        return None;
    }
    const FORM: &[u8; 19] = b"dddd-dd-ddTdd:dd:dd";
    let text = bytes.get(at..at + FORM.len())?;
    let fits = text.iter().zip(FORM).all(|(byte, form)| match form {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b' ' | b't'),
        form => byte == form,
    });
    let fraction = match bytes.get(at + FORM.len()) {
        Some(b'.' | b',') => 1 + digits::run_len(bytes, at + FORM.len() + 1),
        _ => 0,
    };
    let ends = !bytes.get(at + FORM.len() + fraction).is_some_and(u8::is_ascii_digit) && fraction <= 10;
    (fits && ends).then_some(FORM.len() + fraction)
}

/// Returns the length of the token at the start of `bytes`: `[email]`, or `[email:7f3a…]` with 16 hexadecimal digits.
pub(crate) fn token_len(bytes: &[u8]) -> Option<usize> {
    let inner = bytes.strip_prefix(b"[")?;
    let word_len = inner.iter().take(TOKEN_WORD_MAX + 1).take_while(|b| b.is_ascii_lowercase() || **b == b'-').count();
    let word = inner.get(..word_len).filter(|_| (2..=TOKEN_WORD_MAX).contains(&word_len))?;
    let rest = inner.get(word_len..)?;
    let len = match rest.first()? {
        b']' => word_len + 2,
        b':' if rest.get(17) == Some(&b']')
            && rest.get(1..17).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) =>
        {
            word_len + 19
        }
        _ => return None,
    };
    Type::ALL.iter().any(|kind| kind.as_str().as_bytes() == word).then_some(len)
}

/// Longest word of a token.
const TOKEN_WORD_MAX: usize = 15;

/// Unites hits that overlap under the type that takes precedence.
fn unite(mut hits: Vec<Hit>) -> Vec<Hit> {
    if hits.is_sorted_by(|one, two| one.range.end <= two.range.start && one.range.start < two.range.start) {
        return hits;
    }
    hits.sort_by_key(|hit| (hit.range.start, hit.range.end));
    let mut united: Vec<Hit> = Vec::with_capacity(hits.len());
    for hit in hits {
        match united.last_mut() {
            Some(last) if hit.range.start < last.range.end => {
                last.range.end = last.range.end.max(hit.range.end);
                last.kind = last.kind.min(hit.kind);
            }
            _ => united.push(hit),
        }
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_hits_are_united_under_the_graver_type() {
        let hits = vec![Hit::new(5..9, Type::Phone), Hit::new(0..6, Type::Email), Hit::new(9..10, Type::Ipv4)];
        assert_eq!(unite(hits), [Hit::new(0..9, Type::Email), Hit::new(9..10, Type::Ipv4)]);
    }

    #[test]
    fn times_and_versions_are_nobodys() {
        for (text, len) in [
            ("18:04:11 up", Some(8)),
            ("18:04:11.123", None),
            ("18:04:11:22", None),
            ("18:04:11 12", None),
            ("18:04:11 rue", None),
            ("18:04:1", None),
        ] {
            assert_eq!(time_len(text.as_bytes(), 0), len, "{text}");
        }
        for (text, end) in [
            ("5.0 (X11", Some(3)),
            ("131.0.6778.85\"", Some(13)),
            ("1.2.3.4 up", None),
            ("48.8566 N", None),
            ("6.12.34.56.78", None),
            ("1.2-3", None),
            ("12.3 x", None),
            ("5.0245.8.70", None),
            ("2808.285.6.64.5484.0", None),
        ] {
            let first = digits::run_len(text.as_bytes(), 0);
            assert_eq!(version_end(text.as_bytes(), 0, first), end, "{text}");
        }
        assert!(
            find("[22/Nov/2026:18:04:11 +0000]").is_empty() && find("né le [22/Nov/1990:18:04:11 +0000]").len() == 1
        );
        assert!(is_clf_time(b"[22/Nov/2026:18:04:11 +0000] x", 0) && !is_clf_time(b"[22/Nov/2026:18:04:11]", 0));
    }

    #[test]
    fn tokens_are_known() {
        for (text, len) in [
            ("[email] x", Some(7)),
            ("[url-credentials]@h", Some(17)),
            ("[ip:0123456789abcdef]", Some(21)),
            ("[ip:0123]", None),
            ("[ipx]", None),
            ("[nosuch]", None),
            ("email]", None),
        ] {
            assert_eq!(token_len(text.as_bytes()), len, "{text}");
        }
    }
}
