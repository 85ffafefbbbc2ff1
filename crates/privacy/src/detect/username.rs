//! User names: values under keys that name one. Accounts that belong to programs are nobody's.

use std::ops::Range;

use super::lexicon::{Table, bit, may_say, seed, step};
use super::{Hit, Type, cue, token_len};

/// Accounts of systems and programs, and what stands where there is no name.
const NOBODY: &str = " root admin administrator system daemon nobody postgres postgresql mysql redis nginx apache www-data www http httpd \
    elasticsearch kibana logstash filebeat fluentd kafka zookeeper hadoop hdfs yarn spark hive rabbitmq mongodb mongo oracle sa \
    ubuntu debian centos ec2-user git gitlab jenkins ansible deploy deployer docker kube kubelet kubernetes service services \
    prometheus grafana vault consul etcd backup cron sshd syslog messagebus systemd ntp chrony dnsmasq bind named postfix dovecot \
    mail ftp anonymous guest test tester user users default unknown none null nil undefined invalid true false yes no n/a na empty \
    self me bot reply response request requests answer packet packets data connection connections update updates message messages api app application client server worker scheduler operator monitor monitoring healthcheck anon public private \
    localservice networkservice local_service network_service nt authority everyone all any other others agent dihya support \
    info contact name username login id uid not is was and or the from for in on at to with by failed error missing required \
    logged disconnected connected authenticated created deleted updated removed added locked session password-less curundu \
    pi vagrant postgres_exporter replicator repl rsync sys dbuser dbadmin webmaster hostmaster postmaster cyrus inconnu aucun vide ";

/// Looks at the value of a key that names a user.
pub(crate) fn at(bytes: &[u8], value: Range<usize>, weak: bool) -> Option<Hit> {
    let mut value = value;
    // A mail address is one, a domain in front of the name belongs to it.
    let text = bytes.get(value.clone())?;
    let len = text.iter().take(64).take_while(|b| belongs(**b)).count();
    let text = text.get(..len)?;
    let trimmed = text.len() - text.iter().rev().take_while(|b| matches!(b, b'.' | b'-' | b':')).count();
    value.end = value.start + trimmed;
    let text = text.get(..trimmed)?;
    let next = bytes.get(value.end);
    let letters = text.iter().filter(|b| b.is_ascii_alphabetic() || **b >= 0x80).count();
    // `user=Tél. 06...`: a label is no name.
    let labelled = cue::words_before(bytes, value.start, value.end);
    if labelled.bits.is_some() && labelled.start == value.start {
        return None;
    }
    let is_other = matches!(next, Some(b'@' | b'(' | b'[' | b'=' | b'/')) || token_len(text).is_some();
    if !(2..40).contains(&trimmed) || letters == 0 || is_other || is_nobodys(text) || is_hash(text) {
        return None;
    }
    // `user: alice` may be prose in which any word follows; a name there is no bare word of capitals.
    (!weak || letters >= 3).then(|| Hit::new(value, Type::Username))
}

/// Looks at the word with digits at `start`, where the word before may say that it names a user: `for user jdupont42`.
pub(crate) fn in_prose(bytes: &[u8], floor: usize, start: usize) -> Option<Hit> {
    let end = start.checked_sub(1).filter(|end| *end > floor && bytes[*end] == b' ')?;
    if !matches!(bytes[end - 1], b'r' | b'n' | b'e' | b't') || !may_say(bytes, floor, end) {
        return None;
    }
    let words = cue::words_before(bytes, floor, end);
    if words.bits? & (bit::USERNAME | bit::MAYBE_USERNAME) == 0 || !bytes.get(start)?.is_ascii_lowercase() {
        return None;
    }
    let len = bytes.iter().skip(start).take(64).take_while(|b| belongs(**b)).count();
    at(bytes, start..start + len, true)
}

/// Looks in front of an address at `start` for who came from there: `for mdurand from 203.0.113.9`, `user ana from`.
pub(crate) fn before_address(bytes: &[u8], floor: usize, start: usize) -> Option<Hit> {
    let from = [b" from ".as_slice(), b" rhost=", b" depuis "].iter().find_map(|word| {
        let at = start.checked_sub(word.len()).filter(|at| *at > floor)?;
        (bytes.get(at..start) == Some(word)).then_some(at)
    })?;
    let head = bytes.get(floor..from)?;
    let len = head.iter().rev().take(40).take_while(|b| belongs(**b)).count();
    let name = from - len;
    let before = bytes.get(floor..name)?;
    let led = [b" for ".as_slice(), b" user ", b" utilisateur ", b" by "].iter().any(|word| before.ends_with(word));
    // `Failed password for invalid user x from`: `user` is no name after `for`.
    if !led || len == 0 { None } else { at(bytes, name..from, true) }
}

fn belongs(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'\\') || b >= 0x80
}

static NOBODY_TABLE: Table<1_024> = Table::of(&[(1, NOBODY)], false);

fn is_nobodys(text: &[u8]) -> bool {
    let starts = |word: &[u8]| text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    let hash = text.iter().fold(seed(), |hash, byte| step(hash, byte.to_ascii_lowercase()));
    NOBODY_TABLE.get(hash).is_some()
        || starts(b"svc")
        || starts(b"system:")
        || text.len() >= 4 && text[text.len() - 4..].eq_ignore_ascii_case(b"-svc")
}

/// A UUID or a hash names a record.
fn is_hash(text: &[u8]) -> bool {
    text.len() >= 16 && text.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-')
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        let first = g.pick(&["amina", "jdupont", "m.benali", "zoe_k", "lucas-w", "t.nguyen"]);
        format!("{first}{}", 10 + g.below(89))
    }

    #[test]
    fn names_stand_under_their_key() {
        for (text, is_one) in [
            ("user=jdupont action=login", true),
            ("{\"username\":\"amina.k\"}", true),
            ("login: mbenali failed", true),
            ("user=root", false),
            ("user: unknown", false),
            ("user=ana@example.org", false),
            ("user=[username]", false),
            ("user_id=42", false),
            ("username=123e4567-e89b-12d3-a456-426614174000", false),
            ("session opened for user jdupont42", true),
            ("Accepted publickey for mdurand from 203.0.113.9 port 22", true),
            ("Failed password for invalid user marie.durand from 203.0.113.9", true),
            ("Accepted password for root from 203.0.113.9 port 22", false),
            ("waiting for reply from 203.0.113.9", false),
            ("user not found", false),
            ("user=Tél. 06", false),
        ] {
            assert_eq!(found(text, &[Type::Username]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Username,
            0.98,
            0.95,
            &["{\"login\":\"{}\"}", "username={} ok", "Username: {}", "identifiant : {}"],
            value,
        );
    }
}
