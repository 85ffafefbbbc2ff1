//! Performance data of Nagios plugins: `'label'=value[unit];[warn];[crit];[min];[max]`, after a `|`
//! (Monitoring Plugins Development Guidelines, section 2.6).

use std::collections::BTreeMap;

/// Figures that are kept of one run.
const FIGURES_MAX: usize = 64;
/// Longest name of a figure.
const NAME_BYTES_MAX: usize = 64;

/// Splits a plugin's output into what it says and its figures, in base units, by name with the unit last. The first
/// line's figures follow its `|`; those of further lines all follow the first `|` after the first line.
pub(super) fn split(output: &str) -> (String, BTreeMap<String, f64>) {
    let (first, rest) = output.split_once('\n').unwrap_or((output, ""));
    let (said, data) = first.split_once('|').unwrap_or((first, ""));
    let (more_said, more_data) = rest.split_once('|').unwrap_or((rest, ""));
    let mut figures = BTreeMap::new();
    parse(data, &mut figures);
    parse(more_data, &mut figures);
    let text = if more_said.is_empty() { said.to_owned() } else { format!("{said}\n{more_said}") };
    (text, figures)
}

fn parse(data: &str, figures: &mut BTreeMap<String, f64>) {
    let mut rest = data.trim_start();
    while let Some((label, after)) = label(rest) {
        let (value, tail) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
        rest = tail.trim_start();
        let value = value.split(';').next().unwrap_or_default();
        if figures.len() < FIGURES_MAX
            && let Some((name, value)) = figure(&label, value)
        {
            figures.insert(name, value);
        }
    }
}

/// Reads `label=` or `'a ''quoted'' label'=` and returns the label and what follows.
fn label(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let (label, after) = text.split_once('=')?;
        return Some((label.to_owned(), after));
    };
    let mut label = String::new();
    loop {
        let (part, after) = rest.split_once('\'')?;
        label.push_str(part);
        match after.strip_prefix('\'') {
            Some(after) => {
                label.push('\'');
                rest = after;
            }
            None => return Some((label, after.strip_prefix('=')?)),
        }
    }
}

fn figure(label: &str, value: &str) -> Option<(String, f64)> {
    let number_len = value.bytes().take_while(|b| b.is_ascii_digit() || b"+-.,".contains(b)).count();
    // An exponent belongs to the number only if a number follows it: `1e3`, but `1e` is one of unit `e`.
    let (number, unit) = value.split_at_checked(number_len)?;
    let (number, unit) = match unit.strip_prefix(['e', 'E']) {
        Some(after) => {
            let len = after.bytes().take_while(|b| b.is_ascii_digit() || b"+-".contains(b)).count();
            let (exponent, unit) = after.split_at_checked(len)?;
            if exponent.is_empty() { return None } else { (format!("{number}e{exponent}"), unit) }
        }
        None => (number.to_owned(), unit),
    };
    // Some locales of some plugins write a comma.
    let number: f64 = number.replace(',', ".").parse().ok().filter(|number: &f64| number.is_finite())?;
    let (factor, suffix) = match unit.trim() {
        "" => (1.0, ""),
        "s" => (1.0, "_seconds"),
        "ms" => (1e-3, "_seconds"),
        "us" => (1e-6, "_seconds"),
        "ns" => (1e-9, "_seconds"),
        "%" => (1.0, "_percent"),
        "B" => (1.0, "_bytes"),
        "KB" | "kB" => (1e3, "_bytes"),
        "MB" => (1e6, "_bytes"),
        "GB" => (1e9, "_bytes"),
        "TB" => (1e12, "_bytes"),
        "KiB" => (1024.0, "_bytes"),
        "MiB" => (1024.0 * 1024.0, "_bytes"),
        "GiB" => (1024.0 * 1024.0 * 1024.0, "_bytes"),
        "TiB" => (1024.0 * 1024.0 * 1024.0 * 1024.0, "_bytes"),
        "c" => (1.0, "_total"),
        _ => return None,
    };
    let name: String = label.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name = name.get(..name.len().min(NAME_BYTES_MAX))?.trim_matches('_').to_ascii_lowercase();
    let name = if name.is_empty() { "value".to_owned() } else { name };
    let name = if name.ends_with(suffix) { name } else { format!("{name}{suffix}") };
    Some((name, number * factor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Figures = &'static [(&'static str, f64)];

    fn figures(output: &str) -> Vec<(String, f64)> {
        split(output).1.into_iter().collect()
    }

    #[test]
    fn outputs_of_real_plugins_are_read() {
        let cases: [(&str, &str, Figures); 9] = [
            ("PING OK - rtl|rta=0.5ms;100;500;0 pl=0%;20;60;0", "PING OK - rtl", &[("pl_percent", 0.0), ("rta_seconds", 0.000_5)]),
            ("DISK OK| /=2643MB;5948;5958;0;5968", "DISK OK", &[("value_bytes", 2_643e6)]),
            ("OK|'a ''b'' =c'=5c;;;", "OK", &[("a__b___c_total", 5.0)]),
            ("OK | a=1 \nmore\nlines | b=2KiB\nc=1,5s", "OK \nmore\nlines ", &[("a", 1.0), ("b_bytes", 2_048.0), ("c_seconds", 1.5)]),
            ("OK|x=U y=nan z=1e3 w=1e q=5furlongs", "OK", &[("z", 1_000.0)]),
            ("OK|time_seconds=-2.5s", "OK", &[("time_seconds", -2.5)]),
            ("OK|'open", "OK", &[]),
            ("OK|'a'b=1", "OK", &[]),
            ("no data", "no data", &[]),
        ];
        for (output, said, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
            assert_eq!(split(output).0, said, "{output}");
            assert_eq!(figures(output), expected, "{output}");
        }
    }

    proptest! {
        #[test]
        fn any_output_is_bounded(output in "(?s).{0,400}") {
            let (said, figures) = split(&output);
            prop_assert!(said.len() <= output.len());
            prop_assert!(figures.len() <= FIGURES_MAX);
            prop_assert!(figures.iter().all(|(name, value)| !name.is_empty() && value.is_finite()));
        }

        #[test]
        fn what_a_plugin_writes_is_read_back(entries in prop::collection::btree_map("[a-z][a-z0-9]{0,10}", -1e9..1e9_f64, 0..20)) {
            let data: Vec<_> = entries.iter().map(|(label, value)| format!("'{label}'={value};1;2;0")).collect();
            let (_, figures) = split(&format!("OK|{}", data.join(" ")));
            prop_assert_eq!(figures, entries);
        }
    }
}
