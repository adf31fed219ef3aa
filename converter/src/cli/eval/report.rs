//! What `eval` says.

use serde_json::{Value, json};

use super::boxes;
use crate::cli::inspect::dtype;
use crate::cli::table::{lines, percent, shape, table};
use crate::evaluate::{DetectorEvaluation, Evaluation};

/// What `eval` reports.
pub struct Report {
    /// Float against int8.
    pub evaluation: Evaluation,
    /// Of a detector: its boxes.
    pub detector: Option<DetectorEvaluation>,
    /// Class names, possibly none.
    pub labels: Vec<String>,
    /// One line about the images.
    pub data: String,
    /// What the reader should know.
    pub notes: Vec<String>,
}

impl Report {
    /// The JSON document, with at most `shown` disagreements.
    pub fn json(&self, shown: usize) -> Value {
        let e = &self.evaluation;
        let mut document = json!({
            "notes": self.notes,
            "n": e.n,
            "float": { "top1": e.float_top1 },
            "int8": { "top1": e.int8_top1 },
            "agreement": e.agreement,
            "outputs": e.outputs.iter().map(|o| json!({
                "name": o.name,
                "shape": o.shape,
                "mean_error": o.mean,
                "max_error": o.max,
                "max_value": o.largest,
                "sqnr_db": o.sqnr_db,
            })).collect::<Vec<_>>(),
            "layers": e.layers.iter().map(|l| json!({
                "name": l.name,
                "op": l.op,
                "dtype": dtype(l.dtype),
                "sqnr_db": l.sqnr_db,
            })).collect::<Vec<_>>(),
            "disagreements": e.disagreements.iter().take(shown).map(|d| json!({
                "name": d.name,
                "label": d.label,
                "float": d.float,
                "int8": d.int8,
                "margin": d.margin,
            })).collect::<Vec<_>>(),
        });
        if let Some(detector) = &self.detector {
            boxes::add_json(&mut document, detector);
        }
        document
    }

    /// The report for people, with at most `shown` disagreements.
    pub fn text(&self, shown: usize) -> String {
        let e = &self.evaluation;
        let mut out = format!("{}\n\n", self.data);
        if let Some(detector) = &self.detector {
            out.push_str(&boxes::text(detector));
        }
        if let Some(agreement) = e.agreement {
            let count = |rate: f64| format!("{} of {}", (rate * e.n as f64).round(), e.n);
            let mut top = table(&["", "share", "images"], &["share"]);
            let rows = [
                ("float top-1", e.float_top1),
                ("int8 top-1", e.int8_top1),
                ("agreement", Some(agreement)),
            ];
            for (name, rate) in rows {
                if let Some(rate) = rate {
                    top.add_row([name.to_owned(), percent(rate), count(rate)]);
                }
            }
            out.push_str(&format!("{}\n", lines(&top)));
        }
        let right = ["mean error", "max error", "max value", "SQNR"];
        let mut outputs =
            table(&["output", "shape", "mean error", "max error", "max value", "SQNR"], &right);
        for o in &e.outputs {
            outputs.add_row([
                o.name.clone(),
                shape(&o.shape),
                format!("{:.4}", o.mean),
                format!("{:.4}", o.max),
                format!("{:.4}", o.largest),
                format!("{:.1} dB", o.sqnr_db),
            ]);
        }
        out.push_str(&lines(&outputs));
        if !e.layers.is_empty() {
            let mut layers = table(&["#", "layer", "type", "SQNR", ""], &["#", "SQNR"]);
            for l in &e.layers {
                let db = format!("{:.1} dB", l.sqnr_db);
                let (op, dtype) = (l.op.to_string(), dtype(l.dtype).to_owned());
                layers.add_row([op, l.name.clone(), dtype, db, bar(l.sqnr_db)]);
            }
            out.push_str(&format!("\n{}", lines(&layers)));
        }
        if shown > 0 && !e.disagreements.is_empty() {
            let mut rows =
                table(&["image", "label", "float", "int8", "float margin"], &["float margin"]);
            for d in e.disagreements.iter().take(shown) {
                rows.add_row([
                    d.name.clone(),
                    d.label.map_or_else(String::new, |l| self.class(l)),
                    self.class(d.float),
                    self.class(d.int8),
                    format!("{:.3}", d.margin),
                ]);
            }
            out.push_str(&format!(
                "\n{}{} of {} disagreements\n",
                lines(&rows),
                shown.min(e.disagreements.len()),
                e.disagreements.len()
            ));
        }
        for note in &self.notes {
            out.push_str(&format!("\nnote: {note}\n"));
        }
        out
    }

    fn class(&self, class: usize) -> String {
        self.labels.get(class).cloned().unwrap_or_else(|| class.to_string())
    }
}

/// One mark for 2 dB, up to 60.
fn bar(db: f64) -> String {
    let marks = (db / 2.0).round().clamp(0.0, 30.0) as usize;
    let low = if db < 20.0 { "  low" } else { "" };
    format!("{}{low}", "▪".repeat(marks))
}
