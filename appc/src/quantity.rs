//! Quantities: numbers with Kubernetes' suffixes, as resource isolators use them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::AppcError;

/// Digits that are kept of a number; more cannot matter to 10^18 bytes counted in thousandths.
const MAX_DIGITS: usize = 30;

/// A quantity, kept in thousandths so that `500m` processors are exact, with the text it was written as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quantity {
    text: String,
    milli: i128,
}

impl Quantity {
    /// In whole units, rounded up: bytes for memory.
    pub fn value(&self) -> i128 {
        self.milli.div_euclid(1000) + i128::from(self.milli.rem_euclid(1000) != 0)
    }

    /// In thousandths: thousandths of a processor for `resource/cpu`.
    pub fn milli_value(&self) -> i128 {
        self.milli
    }
}

/// What one unit with this suffix is, in thousandths.
fn suffix_in_milli(suffix: &str) -> Option<i128> {
    Some(match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        "Pi" => 1_000 << 50,
        "Ei" => 1_000 << 60,
        _ => {
            let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.trim_start_matches('+').parse().ok()?;
            10_i128.checked_pow(exponent.checked_add(3)?)?
        }
    })
}

fn parse_milli(text: &str) -> Option<i128> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = digits.parse::<i128>().ok()?.checked_mul(suffix_in_milli(suffix)?)?;
    // Rounded up, as Kubernetes does below its finest unit.
    Some(sign * (scaled.div_euclid(scale) + i128::from(scaled.rem_euclid(scale) != 0)))
}

impl TryFrom<String> for Quantity {
    type Error = AppcError;

    fn try_from(text: String) -> Result<Self, AppcError> {
        match parse_milli(&text) {
            Some(milli) => Ok(Self { text, milli }),
            None => Err(AppcError::InvalidQuantity(text)),
        }
    }
}

impl FromStr for Quantity {
    type Err = AppcError;

    fn from_str(text: &str) -> Result<Self, AppcError> {
        text.to_owned().try_into()
    }
}

impl From<Quantity> for String {
    fn from(quantity: Quantity) -> String {
        quantity.text
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
