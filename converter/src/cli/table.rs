//! Tables and figures for people.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

/// A table with a ruled header line; columns named in `right` are aligned to the right.
pub fn table(header: &[&str], right: &[&str]) -> Table {
    let rule = LineStyle::none().fill('─').junction('─');
    let mut table = Table::new();
    table
        .load_style(TableStyle::new().header_separator(rule))
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    for (i, name) in header.iter().enumerate() {
        if right.contains(name)
            && let Some(column) = table.column_mut(i)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A table's lines, each ended, without blanks at their ends.
pub fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// `1,467,610`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `45.2 M`, `1.82 G`.
pub fn si(n: f64) -> String {
    let (value, unit) = match n.abs() {
        a if a >= 1e9 => (n / 1e9, " G"),
        a if a >= 1e6 => (n / 1e6, " M"),
        a if a >= 1e3 => (n / 1e3, " k"),
        _ => (n, ""),
    };
    let digits = if unit.is_empty() || value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{unit}")
}

/// `12.4 KiB`.
pub fn bytes(n: u64) -> String {
    match n {
        0..10_240 => format!("{} B", grouped(n)),
        10_240..10_485_760 => format!("{:.1} KiB", n as f64 / 1024.0),
        _ => format!("{:.1} MiB", n as f64 / (1024.0 * 1024.0)),
    }
}

/// An f32 as a JSON number with as many digits as it has, not those of the f64 beside it.
pub fn number(x: f32) -> serde_json::Value {
    serde_json::json!(x.to_string().parse::<f64>().unwrap_or(f64::NAN))
}

/// `93.67 %`.
pub fn percent(rate: f64) -> String {
    format!("{:.2} %", 100.0 * rate)
}

/// `1x3x32x32`.
pub fn shape(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        assert_eq!(["1", "999", "1,000", "1,467,610"], [1, 999, 1000, 1_467_610].map(grouped)[..]);
        assert_eq!(si(40_551_552.0), "40.6 M");
        assert_eq!(si(4.09e9), "4.09 G");
        assert_eq!(si(12.0), "12");
        assert_eq!(bytes(10_240), "10.0 KiB");
        assert_eq!(number(0.485).to_string(), "0.485");
        assert_eq!(percent(0.9367), "93.67 %");
        assert_eq!(shape(&[1, 3, 32, 32]), "1x3x32x32");
    }
}
