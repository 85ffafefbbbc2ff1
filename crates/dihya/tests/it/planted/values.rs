//! Ten thousand personal values, each of its own, valid where its kind has a check, and the words that stand around it.

use std::collections::BTreeSet;

use model::SeededRng;

/// How many are planted.
pub(crate) const COUNT: usize = 10_000;

/// One value, where it stands, and what of it must be found nowhere.
pub(crate) struct Planted {
    /// The name of a field that holds such a value.
    pub(crate) key: &'static str,
    /// A sentence with it.
    pub(crate) text: String,
    pub(crate) value: String,
    /// Spellings of it, each enough to know it by.
    pub(crate) needles: Vec<String>,
}

/// A kind of value: the name of a field, a line of a log, how a value is made.
type Kind = (&'static str, &'static str, fn(&Gen) -> String);

const KINDS: [Kind; 26] = [
    ("email", "Could not deliver mail for <{}>: 550 mailbox unavailable", email),
    ("phone", "sms to {} queued, provider=ovh id=8841", phone),
    ("phone", "rappeler le {} avant 18:30 (dossier 4411)", phone_of_france),
    ("card", "CARTE {} refusée (code 51) terminal 0042", card),
    ("iban", "virement SEPA vers {}, motif loyer", iban),
    ("nir", "admission refusée, NIR {}, service cardio", nir),
    ("ins", "ins={} oid=1.2.250.1.213.1.4.8 qualifiée", nir_number),
    ("client_ip", "Accepted password for root from {} port 50022 ssh2", ipv4),
    ("client_ip", "upstream timed out, client: {}, server: _, request: \"GET /\"", ipv6),
    ("mac", "DHCPACK on lease 7 to {} via eth1", mac),
    ("last_name", "{\"patient\":{\"nom\":\"{}\",\"classe\":\"3B\"}}", name),
    ("customer_name", "customer_name=\"{}\" total=88.10", full_name),
    ("patient", "prescription pour Mme {}, validée", name),
    ("username", "audit user={} action=export rows=1200", username),
    ("authorization", "{\"authorization\":\"Bearer {}\",\"path\":\"/v2/me\"}", jwt),
    ("api_key", "token expired for session; api_key={} rotated", secret),
    ("password", "export DB_PASSWORD={} && ./run.sh", password),
    ("dsn", "connexion {} refusée", dsn),
    ("siret", "facture F-2026-0042 SIRET {} TVA ok", siret),
    ("rpps", "prescription validée par le prescripteur RPPS {}", rpps),
    ("numero_fiscal", "déclaration du contribuable numéro fiscal {} reçue", nif),
    ("ine", "inscription: INE {}, formation L1 droit", ine),
    ("passport", "contrôle du passeport n° {} à la borne 4", passport),
    ("shipping_address", "shipping_address=\"{}\" total=88.10", address),
    ("birth_date", "{\"date_naissance\":\"{}\",\"ipp\":\"88412\"}", dob),
    ("imei", "device registered imei={} model=SM-G991B", imei),
];

/// Draws them; the same ones each time.
pub(crate) fn planted() -> Vec<Planted> {
    let generator = Gen(SeededRng::new(20_261_128));
    let mut seen = BTreeSet::new();
    (0..COUNT)
        .map(|n| {
            let (key, text, make) = KINDS[n % KINDS.len()];
            loop {
                let value = make(&generator);
                let needles = needles(key, &value);
                if !needles.iter().any(|needle| seen.contains(needle)) {
                    seen.extend(needles.iter().cloned());
                    return Planted { key, text: text.replace("{}", &value), value, needles };
                }
            }
        })
        .collect()
}

/// Names that nothing tells from words, of persons of whom no event is: who looks for one says it all the same.
pub(crate) fn lone() -> Vec<Planted> {
    let generator = Gen(SeededRng::new(20_261_129));
    let planted = |value: String| Planted { key: "lone", text: value.clone(), needles: vec![value.clone()], value };
    (0..12).map(|_| planted(name(&generator))).collect()
}

/// The spellings under which a value would be known again: as it was sent, and in one piece.
fn needles(key: &str, value: &str) -> Vec<String> {
    let mut needles = vec![match key {
        // A street is one person's here, and a first name is anybody's.
        "shipping_address" => value.split([' ', ',']).nth(2).unwrap_or(value).to_owned(),
        "customer_name" => value.rsplit(' ').next().unwrap_or(value).to_owned(),
        "dsn" => value.split([':', '@']).nth(2).unwrap_or(value).to_owned(),
        // All of them begin alike.
        "authorization" => value.rsplit('.').next().unwrap_or(value).to_owned(),
        _ => value.to_owned(),
    }];
    if matches!(key, "phone" | "card" | "iban" | "nir" | "siret" | "mac") {
        needles.push(value.replace([' ', '-', '.', ':'], ""));
    }
    if key == "phone" && value.starts_with('0') {
        needles.push(format!("+33{}", value.replace(' ', "").trim_start_matches('0')));
    }
    needles.dedup();
    needles
}

struct Gen(SeededRng);

impl Gen {
    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound as u64)).expect("small")
    }

    fn letters(&self, alphabet: &str, len: usize) -> String {
        (0..len).map(|_| char::from(alphabet.as_bytes()[self.below(alphabet.len())])).collect()
    }

    fn digits(&self, len: usize) -> String {
        self.letters("0123456789", len)
    }

    fn grouped(&self, number: &str, shape: &[usize]) -> String {
        let separator = ["", " ", "-"][self.below(3)];
        let mut rest = number;
        let parts = shape.iter().map(|len| {
            let (part, more) = rest.split_at(*len);
            rest = more;
            part
        });
        parts.collect::<Vec<_>>().join(separator)
    }
}

/// A name that nobody has.
fn name(g: &Gen) -> String {
    let syllable = || format!("{}{}", g.letters("bdfgklmnprtvz", 1), g.letters("aeiou", 1));
    let name: String = (0..5).map(|_| syllable()).collect();
    let (head, tail) = name.split_at(1);
    head.to_uppercase() + tail
}

fn full_name(g: &Gen) -> String {
    format!("{} {}", ["Camille", "Mehdi", "Hannah", "Rachid"][g.below(4)], name(g))
}

fn email(g: &Gen) -> String {
    format!("{}.{}{}@example.org", g.letters("abcdefghijkl", 6), name(g).to_lowercase(), g.below(100))
}

fn phone(g: &Gen) -> String {
    match g.below(3) {
        0 => format!("+33 6 {} {} {} {}", g.digits(2), g.digits(2), g.digits(2), g.digits(2)),
        1 => format!("+32 2 {} {} {}", g.digits(3), g.digits(2), g.digits(2)),
        _ => format!("+44 20 {} {}", g.digits(4), g.digits(4)),
    }
}

fn phone_of_france(g: &Gen) -> String {
    format!("0{} {} {} {} {}", [1, 6, 7, 9][g.below(4)], g.digits(2), g.digits(2), g.digits(2), g.digits(2))
}

/// Appends the digit that satisfies Luhn's check.
fn luhn(body: &str) -> String {
    let sum: u32 = body.bytes().rev().enumerate().map(|(at, digit)| luhn_part(at, digit)).sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

/// The digit next to the check is doubled, and each second one from there.
fn luhn_part(at: usize, digit: u8) -> u32 {
    let digit = u32::from(digit - b'0');
    match at % 2 {
        1 => digit,
        _ if digit > 4 => 2 * digit - 9,
        _ => 2 * digit,
    }
}

fn card(g: &Gen) -> String {
    let number = luhn(&format!("{}{}", ["4970", "5132", "2221", "6011"][g.below(4)], g.digits(11)));
    g.grouped(&number, &[4, 4, 4, 4])
}

fn iban(g: &Gen) -> String {
    let body = g.digits(18);
    // DE is 13 and 14 there, and its check comes last.
    let rest = format!("{body}131400").bytes().fold(0, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97);
    g.grouped(&format!("DE{:02}{body}", 98 - rest), &[4, 4, 4, 4, 4, 2])
}

fn nir_number(g: &Gen) -> String {
    let (sex, year, month, department) = (1 + g.below(2), g.below(100), 1 + g.below(12), 21 + g.below(74));
    let body = format!("{sex}{year:02}{month:02}{department}{:03}{:03}", 1 + g.below(899), 1 + g.below(998));
    format!("{body}{:02}", 97 - body.parse::<u64>().expect("digits") % 97)
}

fn nir(g: &Gen) -> String {
    let number = nir_number(g);
    g.grouped(&number, &[1, 2, 2, 2, 3, 3, 2])
}

fn ipv4(g: &Gen) -> String {
    format!("{}.{}.{}.{}", 11 + g.below(110), 100 + g.below(156), 100 + g.below(156), 100 + g.below(155))
}

fn ipv6(g: &Gen) -> String {
    format!("2a02:{}", (0..7).map(|_| format!("{:x}", 0x1000 + g.below(0xEFFF))).collect::<Vec<_>>().join(":"))
}

fn mac(g: &Gen) -> String {
    (0..6).map(|_| g.letters("0123456789abcdef", 2)).collect::<Vec<_>>().join(":")
}

fn username(g: &Gen) -> String {
    format!("{}{}", g.letters("bcdfghjklmnp", 8), 10 + g.below(90))
}

const WORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn jwt(g: &Gen) -> String {
    format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ{}.{}", g.letters(WORD, 40), g.letters(WORD, 43))
}

fn secret(g: &Gen) -> String {
    format!("{}{}", ["ghp_", "sk_live_", "glpat-", "dhy_"][g.below(4)], g.letters(WORD, 40))
}

fn password(g: &Gen) -> String {
    g.letters(WORD, 12)
}

fn dsn(g: &Gen) -> String {
    format!("postgres://{}:{}@db.internal:5432/erp", g.letters("abcdefgh", 6), g.letters(WORD, 12))
}

fn siret(g: &Gen) -> String {
    let siren = luhn(&format!("{}{}", 3 + g.below(6), g.digits(7)));
    g.grouped(&luhn(&format!("{siren}00{}", g.digits(2))), &[3, 3, 3, 5])
}

fn rpps(g: &Gen) -> String {
    luhn(&format!("10{}", g.digits(8)))
}

fn nif(g: &Gen) -> String {
    let body = format!("{}{}", 1 + g.below(3), g.digits(9));
    format!("{body}{:03}", body.parse::<u64>().expect("digits") % 511)
}

fn ine(g: &Gen) -> String {
    format!("{}{}", g.digits(9), g.letters("GHJK", 2))
}

fn passport(g: &Gen) -> String {
    format!("{}{}{}", g.digits(2), g.letters("GHJK", 2), g.digits(5))
}

fn address(g: &Gen) -> String {
    format!("{} rue {}, {:05} Nantes", 1 + g.below(200), name(g), 10_000 + g.below(80_000))
}

fn dob(g: &Gen) -> String {
    format!("{}-{:02}-{:02}", 1930 + g.below(75), 1 + g.below(12), 1 + g.below(28))
}

fn imei(g: &Gen) -> String {
    luhn(&format!("35{}", g.digits(12)))
}
