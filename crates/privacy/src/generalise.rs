//! Values made coarser: an address to its network, a date to its month, an age to its band, a place to its town.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits that are kept of an IPv4 address, and of an IPv6 address, unless a policy says otherwise.
const V4_BITS: u8 = 24;
const V6_BITS: u8 = 48;

/// How a value is made coarser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum To {
    /// Whatever fits the value.
    #[default]
    Fitting,
    /// A network of so many bits.
    Prefix(u8),
    /// The month of a date.
    Month,
    /// The year of a date.
    Year,
    /// Ten years of age.
    AgeBand,
}

/// Returns the coarser value, or `None` where the value is not of a kind that can be made coarser.
pub(crate) fn generalise(value: &str, to: To) -> Option<String> {
    let value = value.trim();
    match to {
        To::Prefix(bits) => network(value, Some(bits)),
        To::Month => date(value).map(|(year, month)| format!("{year:04}-{month:02}")),
        To::Year => date(value).map(|(year, _)| format!("{year:04}")),
        To::AgeBand => age_band(value),
        To::Fitting => network(value, None)
            .or_else(|| date(value).map(|(year, month)| format!("{year:04}-{month:02}")))
            .or_else(|| place(value))
            .or_else(|| age_band(value)),
    }
}

fn network(value: &str, bits: Option<u8>) -> Option<String> {
    match value.parse().ok()? {
        IpAddr::V4(address) => {
            let bits = bits.unwrap_or(V4_BITS).min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Some(format!("{}/{bits}", Ipv4Addr::from(u32::from(address) & mask)))
        }
        IpAddr::V6(address) => {
            let bits = bits.unwrap_or(V6_BITS).min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Some(format!("{}/{bits}", Ipv6Addr::from(u128::from(address) & mask)))
        }
    }
}

/// Tells whether an address that `rest` follows was made coarser before: `203.0.113.0/24`.
pub(crate) fn is_network(value: &str, rest: &str) -> bool {
    let digits = rest.strip_prefix('/').map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let bits = digits.and_then(|len| rest.get(1..1 + len)).and_then(|bits| bits.parse().ok());
    bits.is_some_and(|bits: u8| network(value, Some(bits)).is_some_and(|coarse| coarse == format!("{value}/{bits}")))
}

/// Reads the year and the month of `1980-03-12...`, `12/03/1980`, `12.03.1980`, `12-03-1980`.
fn date(value: &str) -> Option<(u32, u32)> {
    let mut parts = value.splitn(3, ['-', '/', '.', ' ']);
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    let third = third.get(..third.bytes().take_while(u8::is_ascii_digit).count())?;
    let month: u32 = second.parse().ok().filter(|month| (1..=12).contains(month))?;
    let year: u32 = match (first.len(), third.len()) {
        (4, 1 | 2) => first.parse().ok()?,
        (1 | 2, 4) => third.parse().ok()?,
        _ => return None,
    };
    Some((year, month))
}

fn age_band(value: &str) -> Option<String> {
    let age: u32 = value.parse().ok().filter(|age| *age < 130)?;
    // The oldest are few enough to be told apart.
    Some(if age >= 90 { "90+".to_owned() } else { format!("{}-{}", age / 10 * 10, age / 10 * 10 + 9) })
}

/// Coordinates to one decimal, about ten kilometres.
fn place(value: &str) -> Option<String> {
    let (lat, lon) = value.split_once([',', ' ', ';'])?;
    let read = |text: &str| text.trim_matches([' ', ',', ';']).parse::<f64>().ok().filter(|n| n.abs() <= 180.0);
    Some(format!("{:.1},{:.1}", read(lat)?, read(lon)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_coarser_or_are_refused() {
        for (value, to, coarse) in [
            ("203.0.113.77", To::Fitting, Some("203.0.113.0/24")),
            ("203.0.113.77", To::Prefix(16), Some("203.0.0.0/16")),
            ("203.0.113.77", To::Prefix(0), Some("0.0.0.0/0")),
            ("2001:db8:1:2::5", To::Fitting, Some("2001:db8:1::/48")),
            ("1980-03-12", To::Fitting, Some("1980-03")),
            ("12/03/1980", To::Month, Some("1980-03")),
            ("1980-03-12T00:00:00Z", To::Year, Some("1980")),
            ("47", To::AgeBand, Some("40-49")),
            ("97", To::Fitting, Some("90+")),
            ("48.8566, 2.3522", To::Fitting, Some("48.9,2.4")),
            ("Dupont", To::Fitting, None),
            ("1980-13-12", To::Month, None),
            ("203.0.113.77", To::Month, None),
        ] {
            assert_eq!(generalise(value, to).as_deref(), coarse, "{value}");
        }
        assert!(
            is_network("203.0.113.0", "/24 x") && !is_network("203.0.113.7", "/24") && !is_network("203.0.113.0", "")
        );
    }
}
