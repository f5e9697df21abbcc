//! Money, in millionths and never in floats.

use std::fmt;
use std::str::FromStr;

/// An amount of money: millionths of a currency's unit, and the currency's three letters (ISO 4217).
///
/// ```
/// use portcullis::Cost;
/// let cost: Cost = "0.002 USD".parse()?;
/// assert_eq!(cost, Cost::from_micros(2_000, "USD"));
/// assert_eq!(cost.to_string(), "0.002 USD");
/// # Ok::<(), portcullis::budget::InvalidCost>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cost {
    micros: u64,
    currency: [u8; 3],
}

/// A text that is not an amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an amount such as \"5.00 USD\": digits, at most six after the point, a space, three capital letters"
)]
pub struct InvalidCost(String);

impl Cost {
    /// `micros` millionths of a unit of `currency`.
    ///
    /// # Panics
    /// If `currency` is not three capital letters; in a constant, that is an error at compile time.
    #[must_use]
    pub const fn from_micros(micros: u64, currency: &str) -> Self {
        match currency.as_bytes() {
            &[a @ b'A'..=b'Z', b @ b'A'..=b'Z', c @ b'A'..=b'Z'] => Cost { micros, currency: [a, b, c] },
            _ => panic!("a currency is three capital letters, such as USD"),
        }
    }

    pub(crate) const fn from_micros_in(micros: u64, like: Cost) -> Self {
        Cost { micros, currency: like.currency }
    }

    /// Millionths of the currency's unit.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.micros
    }

    /// The currency's three letters.
    #[must_use]
    pub fn currency(&self) -> &str {
        // Checked on the way in: three ASCII letters.
        std::str::from_utf8(&self.currency).unwrap_or("???")
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, rest) = (self.micros / 1_000_000, self.micros % 1_000_000);
        let digits = format!("{rest:06}");
        let shown = digits.trim_end_matches('0');
        write!(f, "{units}.{shown:0<2} {}", self.currency())
    }
}

impl FromStr for Cost {
    type Err = InvalidCost;

    fn from_str(text: &str) -> Result<Self, InvalidCost> {
        parse(text).ok_or_else(|| InvalidCost(text.into()))
    }
}

fn parse(text: &str) -> Option<Cost> {
    let (amount, currency) = text.split_once(' ')?;
    let (units, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(units)
        || !digits(fraction)
        || fraction.len() > 6
        || currency.len() != 3
        || !currency.bytes().all(|byte| byte.is_ascii_uppercase())
    {
        return None;
    }
    let rest: u64 = format!("{fraction:0<6}").parse().ok()?;
    let micros = units.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(rest)?;
    Some(Cost::from_micros(micros, currency))
}

/// What `cost = …` accepts: a [`Cost`], or a text such as `"0.02 USD"`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an amount of money",
    label = "`cost = …` takes a `portcullis::Cost` or a text such as \"0.02 USD\""
)]
pub trait IntoCost {
    /// The amount.
    ///
    /// # Errors
    /// The text is not an amount of money.
    fn into_cost(self) -> Result<Cost, InvalidCost>;
}

impl IntoCost for Cost {
    fn into_cost(self) -> Result<Cost, InvalidCost> {
        Ok(self)
    }
}
impl IntoCost for &str {
    fn into_cost(self) -> Result<Cost, InvalidCost> {
        self.parse()
    }
}
impl IntoCost for String {
    fn into_cost(self) -> Result<Cost, InvalidCost> {
        self.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, micros) in
            [("5.00 USD", 5_000_000), ("5 USD", 5_000_000), ("0.000001 USD", 1), ("0.10 USD", 100_000)]
        {
            assert_eq!(text.parse::<Cost>().unwrap().micros(), micros, "{text}");
        }
        assert_eq!(Cost::from_micros(5_000_000, "USD").to_string(), "5.00 USD");
        assert_eq!(Cost::from_micros(1, "EUR").to_string(), "0.000001 EUR");
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            "5",
            "5.00",
            "5.00USD",
            "5.00 usd",
            "-5.00 USD",
            "+5 USD",
            ".5 USD",
            "5. USD",
            "5.0000001 USD",
            "5,00 USD",
            "1e3 USD",
            "5.00 USDT",
            "18446744073709551615 USD",
        ] {
            assert!(text.parse::<Cost>().is_err(), "{text}");
        }
    }
}
