//! Durations and amounts of money, read at expansion so that a mistake is a compile error.

const SECOND: u128 = 1_000_000_000;

/// The grammar of `humantime`: `90s`, `1h 30m`, `1.5 days`. The result is in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<u128, &'static str> {
    let mut rest = text.trim_start();
    let mut total = 0_u128;
    if rest.is_empty() {
        return Err("this is empty");
    }
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len()));
        let after = after.trim_start();
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len()));
        if number.is_empty() {
            return Err("a number is expected");
        }
        let nanos = scaled(number, unit_nanos(unit)?)?;
        total = total.checked_add(nanos).ok_or(TOO_LONG)?;
        rest = after.trim_start();
    }
    if total / SECOND > u128::from(u64::MAX) { Err(TOO_LONG) } else { Ok(total) }
}

const TOO_LONG: &str = "this is too long";

fn unit_nanos(unit: &str) -> Result<u128, &'static str> {
    Ok(match unit {
        "nanos" | "nsec" | "ns" => 1,
        "usec" | "us" | "µs" => 1_000,
        "millis" | "msec" | "ms" => 1_000_000,
        "seconds" | "second" | "secs" | "sec" | "s" => SECOND,
        "minutes" | "minute" | "min" | "mins" | "m" => 60 * SECOND,
        "hours" | "hour" | "hrs" | "hr" | "h" => 3_600 * SECOND,
        "days" | "day" | "d" => 86_400 * SECOND,
        "weeks" | "week" | "wks" | "wk" | "w" => 604_800 * SECOND,
        "months" | "month" | "M" => 2_630_016 * SECOND,
        "years" | "year" | "yrs" | "yr" | "y" => 31_557_600 * SECOND,
        "" => return Err("the unit is missing"),
        _ => return Err("there is no such unit of time"),
    })
}

/// `number`, digits with at most one point, times `unit`, exactly.
fn scaled(number: &str, unit: u128) -> Result<u128, &'static str> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| part.parse::<u64>().map(u128::from).map_err(|_| "this is not a number");
    let whole = digits(whole)?.checked_mul(unit).ok_or(TOO_LONG)?;
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).unwrap_or(u32::MAX)).ok_or("too many digits")?;
    let part = digits(fraction)?.checked_mul(unit).ok_or(TOO_LONG)?;
    if part % scale != 0 {
        return Err("too many digits behind the point");
    }
    whole.checked_add(part / scale).ok_or(TOO_LONG)
}

/// `5.00 USD` → (5 000 000, `USD`): millionths of the unit, and the currency.
pub(crate) fn cost(text: &str) -> Result<(u64, &str), &'static str> {
    let (amount, currency) = text.trim().split_once(char::is_whitespace).ok_or("an amount needs its currency")?;
    let currency = currency.trim_start();
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err("the currency is three capital letters");
    }
    if amount.starts_with('-') {
        return Err("an amount can't be negative");
    }
    let micros = scaled(amount, 1_000_000).map_err(|_| "the amount is digits with at most six behind the point")?;
    Ok((u64::try_from(micros).map_err(|_| "this amount is too large")?, currency))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("30m"), Ok(1_800 * SECOND));
        assert_eq!(duration("1h 30m"), Ok(5_400 * SECOND));
        assert_eq!(duration(" 1h30min "), Ok(5_400 * SECOND));
        assert_eq!(duration("1.5 days"), Ok(129_600 * SECOND));
        assert_eq!(duration("250 ms"), Ok(SECOND / 4));
        assert_eq!(duration("0s"), Ok(0));
        for wrong in
            ["", "5", "s", "-5s", "5 parsecs", "1..5s", "99999999999999999999s", "584942417356y", "0.5ns", "5s,"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn costs() {
        assert_eq!(cost("5.00 USD"), Ok((5_000_000, "USD")));
        assert_eq!(cost("0.000001 EUR"), Ok((1, "EUR")));
        assert_eq!(cost("7 CHF"), Ok((7_000_000, "CHF")));
        for wrong in [
            "",
            "5",
            "USD",
            "5 usd",
            "5 US",
            "-5 USD",
            "0.0000001 USD",
            "5.0.0 USD",
            "1e3 USD",
            "99999999999999999999 USD",
            "5 USD now",
        ] {
            assert!(cost(wrong).is_err(), "{wrong}");
        }
    }
}
