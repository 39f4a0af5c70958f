//! Figures, and how they are shown.

use std::fs;

use serde_json::{Map, Value, json};

/// What was asked for.
#[derive(Clone, Copy)]
enum Asked {
    AtMost(f64),
    AtLeast(f64),
    /// Nothing: it is shown because it explains others.
    Nothing,
}

/// One figure.
pub struct Figure {
    what: String,
    unit: &'static str,
    asked: Asked,
    /// One of each run.
    values: Vec<f64>,
    /// How the same is done with the usual programs, and what that comes to.
    plain: Option<(&'static str, f64)>,
}

impl Figure {
    /// One that should not be greater.
    pub fn at_most(what: impl Into<String>, unit: &'static str, most: f64, values: Vec<f64>) -> Self {
        Self { what: what.into(), unit, asked: Asked::AtMost(most), values, plain: None }
    }

    /// One that should not be less.
    pub fn at_least(what: impl Into<String>, unit: &'static str, least: f64, values: Vec<f64>) -> Self {
        Self { what: what.into(), unit, asked: Asked::AtLeast(least), values, plain: None }
    }

    /// One that nothing was asked of.
    pub fn shown(what: impl Into<String>, unit: &'static str, values: Vec<f64>) -> Self {
        Self { what: what.into(), unit, asked: Asked::Nothing, values, plain: None }
    }

    /// The same in the plain way, in the same unit.
    #[must_use]
    pub fn beside(mut self, plain: &'static str, value: f64) -> Self {
        self.plain = Some((plain, value));
        self
    }

    /// The figure that counts.
    pub fn median(&self) -> f64 {
        median(&self.values)
    }

    fn spread(&self) -> (f64, f64) {
        let values = sorted(&self.values);
        (values[0], values[values.len() - 1])
    }

    /// Whether what was asked for was reached.
    pub fn holds(&self) -> bool {
        match self.asked {
            Asked::AtMost(most) => self.median() <= most,
            Asked::AtLeast(least) => self.median() >= least,
            Asked::Nothing => true,
        }
    }

    fn line(&self) -> String {
        let (least, most) = self.spread();
        let what =
            if self.unit.is_empty() { self.what.clone() } else { format!("{} ({})", self.what, self.unit) };
        let asked = match self.asked {
            Asked::AtMost(most) => format!("≤ {most}"),
            Asked::AtLeast(least) => format!("≥ {least}"),
            Asked::Nothing => String::new(),
        };
        let plain = self.plain.map_or(String::new(), |(how, value)| {
            format!("{how}: {value:.2}, ratio {:.2}", self.median() / value)
        });
        let short = if self.holds() { "" } else { "NOT REACHED  " };
        let spread = format!("{least:.2} – {most:.2}");
        format!("{what:<48} {asked:>8} {:>9.2} {spread:>19}  {short}{plain}", self.median())
    }

    fn json(&self) -> Value {
        let (least, most) = self.spread();
        let mut value = json!({ "figure": self.what, "unit": self.unit, "median": self.median(), "least": least,
            "most": most, "runs": self.values.len(), "holds": self.holds() });
        match self.asked {
            Asked::AtMost(most) => value["at_most"] = most.into(),
            Asked::AtLeast(least) => value["at_least"] = least.into(),
            Asked::Nothing => {}
        }
        if let Some((how, plain)) = self.plain {
            value["plain"] = json!({ "how": how, "value": plain, "ratio": self.median() / plain });
        }
        value
    }
}

/// A table of several values a row, of which nothing was asked.
pub struct Table {
    /// What the rows are about.
    pub title: &'static str,
    /// What the values are.
    pub columns: &'static [&'static str],
    /// What each row is about, and its values.
    pub rows: Vec<(String, Vec<f64>)>,
}

impl Table {
    fn print(&self) {
        print!("\n{:<48}", self.title);
        for column in self.columns {
            print!("{column:>9}");
        }
        println!();
        for (what, values) in &self.rows {
            print!("{what:<48}");
            for value in values {
                print!("{value:>9.2}");
            }
            println!();
        }
    }

    fn json(&self) -> Value {
        let row = |(what, values): &(String, Vec<f64>)| {
            let values: Map<_, _> = self
                .columns
                .iter()
                .map(|column| (*column).to_owned())
                .zip(values.iter().map(|value| json!(value)))
                .collect();
            json!({ "what": what, "values": values })
        };
        json!({ "title": self.title, "rows": self.rows.iter().map(row).collect::<Vec<_>>() })
    }
}

/// All that a run of the benchmark found.
#[derive(Default)]
pub struct Findings {
    pub figures: Vec<Figure>,
    pub tables: Vec<Table>,
}

impl Findings {
    /// Shows everything beside what was asked for.
    pub fn print(&self) {
        println!("{:<48} {:>8} {:>9} {:>19}", "figure", "asked", "median", "spread");
        for figure in &self.figures {
            println!("{}", figure.line());
        }
        self.tables.iter().for_each(Table::print);
        println!("\n{}", machine());
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({ "machine": machine(), "figures": self.figures.iter().map(Figure::json).collect::<Vec<_>>(),
            "tables": self.tables.iter().map(Table::json).collect::<Vec<_>>() })
    }

    /// Whether all that was asked for was reached.
    pub fn hold(&self) -> bool {
        self.figures.iter().all(Figure::holds)
    }
}

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
    sorted(values)[values.len() / 2]
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|(_, m)| m.to_owned()));
    format!("{cpus} processors ({}), {}", model.unwrap_or_default(), std::env::consts::OS)
}
