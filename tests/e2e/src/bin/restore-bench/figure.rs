//! Figures, and how they are shown.

use std::fs;

/// One figure.
pub struct Figure {
    /// What was measured.
    pub what: &'static str,
    /// Of the values.
    pub unit: &'static str,
    /// At most this much was asked for.
    pub asked: f64,
    /// One of each run.
    pub values: Vec<f64>,
}

impl Figure {
    /// The figure that counts.
    pub fn median(&self) -> f64 {
        self.sorted()[self.values.len() / 2]
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    fn spread(&self) -> (f64, f64) {
        let values = self.sorted();
        (values[0], values[values.len() - 1])
    }

    /// Whether what was asked for was reached.
    pub fn holds(&self) -> bool {
        self.median() <= self.asked
    }
}

/// Shows the figures beside what was asked for.
pub fn print_table(figures: &[Figure]) {
    println!("{:<42} {:>9} {:>9} {:>19}", "figure", "at most", "median", "spread");
    for figure in figures {
        let (least, most) = figure.spread();
        println!(
            "{:<42} {:>9} {:>9.2} {:>19}  {}",
            format!(
                "{} {}",
                figure.what,
                if figure.unit.is_empty() { String::new() } else { format!("({})", figure.unit) }
            ),
            figure.asked,
            figure.median(),
            format!("{least:.2} – {most:.2}"),
            if figure.holds() { "" } else { "TOO MUCH" }
        );
    }
    println!("\n{}", machine());
}

/// The same for programs.
pub fn as_json(figures: &[Figure]) -> serde_json::Value {
    let figure = |f: &Figure| {
        let (least, most) = f.spread();
        serde_json::json!({ "figure": f.what, "unit": f.unit, "at_most": f.asked, "median": f.median(),
            "least": least, "most": most, "runs": f.values.len(), "holds": f.holds() })
    };
    serde_json::json!({ "machine": machine(), "figures": figures.iter().map(figure).collect::<Vec<_>>() })
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|(_, m)| m.to_owned()));
    format!("{cpus} processors ({}), {}", model.unwrap_or_default(), std::env::consts::OS)
}
