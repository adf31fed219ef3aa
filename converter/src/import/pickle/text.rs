//! Text forms of pickle protocol 0: `repr` strings, raw-unicode-escape strings and decimal numbers.

use super::value::Value;

/// Bytes as text: UTF-8, else Latin-1 (Python 2 byte strings).
pub(super) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(s) => s.to_owned(),
        Err(_) => bytes.iter().map(|&b| char::from(b)).collect(),
    }
}

/// A quoted Python `repr`.
pub(super) fn unquote(line: &[u8]) -> Option<String> {
    let quote = *line.first().filter(|q| matches!(q, b'\'' | b'"'))?;
    let inner = line.get(1..)?.strip_suffix(&[quote])?;
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied();
    while let Some(b) = rest.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        out.push(match rest.next()? {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'x' => u8::try_from(hex(&[rest.next()?, rest.next()?])?).ok()?,
            c @ (b'\\' | b'\'' | b'"') => c,
            _ => return None,
        });
    }
    Some(text(&out))
}

/// A raw-unicode-escape line: Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
pub(super) fn unescape(line: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(line.len());
    let mut at = 0;
    while let Some(&b) = line.get(at) {
        let digits = match (b, line.get(at + 1)) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                out.push(char::from(b));
                at += 1;
                continue;
            }
        };
        out.push(char::from_u32(hex(line.get(at + 2..at + 2 + digits)?)?)?);
        at += 2 + digits;
    }
    Some(out)
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |n: u32, &d| Some(n << 4 | char::from(d).to_digit(16)?))
}

/// A decimal integer (`00` and `01` are booleans; a trailing `L` is allowed).
pub(super) fn integer(line: &[u8]) -> Option<Value> {
    match line {
        b"00" => return Some(Value::Bool(false)),
        b"01" => return Some(Value::Bool(true)),
        _ => {}
    }
    let digits = std::str::from_utf8(line.strip_suffix(b"L").unwrap_or(line)).ok()?;
    digits.trim().parse().ok().map(shorten)
}

/// The smallest form of an integer.
pub(super) fn shorten(n: i128) -> Value {
    i64::try_from(n).map_or(Value::Long(n), Value::Int)
}

/// A little-endian two's-complement integer of any length.
pub(super) fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 16 {
        return Value::Bytes(bytes.into());
    }
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    shorten(i128::from_le_bytes(wide))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_strings_are_read_as_python_writes_them() {
        assert_eq!(unquote(b"'conv1.weight'").unwrap(), "conv1.weight");
        assert_eq!(unquote(br#""it's""#).unwrap(), "it's");
        assert_eq!(unquote(br"'a\n\x41\\'").unwrap(), "a\nA\\");
        assert_eq!(unquote(b"'open"), None);
        assert_eq!(unquote(b"'"), None);
        assert_eq!(unquote(br"'\x4'"), None);
    }

    #[test]
    fn escapes_and_latin1_are_read() {
        assert_eq!(unescape(br"a\u00fcb").unwrap(), "aüb");
        assert_eq!(unescape(b"\xfc").unwrap(), "ü");
        assert_eq!(unescape(br"\ud800"), None);
        assert_eq!(unescape(br"\u12"), None);
    }

    #[test]
    fn integers_keep_their_sign_and_size() {
        assert!(matches!(integer(b"-12L"), Some(Value::Int(-12))));
        assert!(matches!(integer(b"01"), Some(Value::Bool(true))));
        assert!(integer(b"1e3").is_none());
        assert!(matches!(long(&[]), Value::Int(0)));
        assert!(matches!(long(&[0xff]), Value::Int(-1)));
        assert!(matches!(long(&[0xff, 0x00]), Value::Int(255)));
        assert!(matches!(long(&[1; 12]), Value::Long(n) if n > 1 << 64));
        assert!(matches!(long(&[1; 17]), Value::Bytes(_)));
    }
}
