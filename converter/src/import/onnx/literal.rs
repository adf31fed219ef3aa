//! Python literals, as exporters write lists and tables into a file's metadata; JSON reads the same way.

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Int(i64),
    Text(String),
    List(Vec<Literal>),
    Table(Vec<(Literal, Literal)>),
}

/// How deep literals are nested at most.
const DEPTH: usize = 4;

/// Reads a literal of integers, strings, lists, tuples and tables; `None` for anything else.
pub(super) fn parse(text: &str) -> Option<Literal> {
    let mut rest = text;
    let literal = value(&mut rest, DEPTH)?;
    rest.trim().is_empty().then_some(literal)
}

fn value(rest: &mut &str, depth: usize) -> Option<Literal> {
    let depth = depth.checked_sub(1)?;
    *rest = rest.trim_start();
    match rest.chars().next()? {
        quote @ ('\'' | '"') => string(rest, quote).map(Literal::Text),
        '[' => items(rest, ']', |rest| value(rest, depth)).map(Literal::List),
        '(' => items(rest, ')', |rest| value(rest, depth)).map(Literal::List),
        '{' => items(rest, '}', |rest| {
            let key = value(rest, depth)?;
            skip(rest, ':').then_some(())?;
            Some((key, value(rest, depth)?))
        })
        .map(Literal::Table),
        _ => {
            let digit = |c: char| c.is_ascii_digit() || c == '-';
            let end = rest.find(|c| !digit(c)).unwrap_or(rest.len());
            let (number, behind) = rest.split_at(end);
            *rest = behind;
            number.parse().ok().map(Literal::Int)
        }
    }
}

/// Takes a character if it comes next.
fn skip(rest: &mut &str, c: char) -> bool {
    let behind = rest.trim_start().strip_prefix(c);
    *rest = behind.unwrap_or(rest);
    behind.is_some()
}

/// Items with commas between them, in brackets; the last comma may stand alone.
fn items<T>(
    rest: &mut &str,
    close: char,
    mut item: impl FnMut(&mut &str) -> Option<T>,
) -> Option<Vec<T>> {
    *rest = &rest[1..];
    let mut items = Vec::new();
    while !skip(rest, close) {
        if !items.is_empty() && !skip(rest, ',') {
            return None;
        }
        if skip(rest, close) {
            break;
        }
        items.push(item(rest)?);
    }
    Some(items)
}

fn string(rest: &mut &str, quote: char) -> Option<String> {
    let mut out = String::new();
    let mut chars = rest[1..].chars();
    loop {
        let c = chars.next()?;
        if c == quote {
            *rest = chars.as_str();
            return Some(out);
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let escaped = chars.next()?;
        let mut code = |digits| {
            let digits: String = chars.by_ref().take(digits).collect();
            u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)
        };
        out.push(match escaped {
            'x' => code(2)?,
            'u' => code(4)?,
            'U' => code(8)?,
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            other => other,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Literal {
        Literal::Text(text.into())
    }

    #[test]
    fn tables_lists_and_strings_are_read() {
        let table = parse(r#"{0: 'person', 1: "driver's \"seat\"", 2: 'caf\xe9 \u4eba\\'}"#);
        let names = [text("person"), text("driver's \"seat\""), text("caf\u{e9} \u{4eba}\\")];
        let expected = names.into_iter().enumerate().map(|(i, n)| (Literal::Int(i as i64), n));
        assert_eq!(table, Some(Literal::Table(expected.collect())));
        let numbers = |n: &[i64]| Literal::List(n.iter().map(|&n| Literal::Int(n)).collect());
        assert_eq!(parse(" [640, 480] "), Some(numbers(&[640, 480])));
        assert_eq!(parse("(-1,)"), Some(numbers(&[-1])));
        assert_eq!(parse("[]"), Some(numbers(&[])));
        assert_eq!(parse("{\"0\": \"a\"}"), Some(Literal::Table(vec![(text("0"), text("a"))])));
    }

    #[test]
    fn what_is_no_literal_is_nothing() {
        let deep = "[".repeat(100_000);
        for bad in [
            "", "names", "[1", "[1 2]", "[,]", "{0}", "{0: }", "'open", "'\\x4'", "1 2", "--",
            &deep,
        ] {
            assert_eq!(parse(bad), None, "{bad:.20}");
        }
    }
}
