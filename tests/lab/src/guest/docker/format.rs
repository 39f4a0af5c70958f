//! `--format`: the part of Go's templates that is asked for in practice.

use serde_json::{Map, Value};

use super::Answer;

/// A template that was understood.
pub(super) struct Template {
    pieces: Vec<Piece>,
}

enum Piece {
    Text(String),
    /// The value under a path, as text or as JSON.
    Value {
        path: Vec<String>,
        json: bool,
    },
}

impl Template {
    /// Reads a template; `json` alone stands for `{{json .}}`.
    pub(super) fn parse(text: &str) -> Result<Self, Answer> {
        let text = if text == "json" { "{{json .}}" } else { text };
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after.split_once("}}").ok_or_else(|| refuse("unclosed action"))?;
            pieces.push(Piece::Text(unescaped(before)));
            pieces.push(action_of(action.trim())?);
            rest = after;
        }
        pieces.push(Piece::Text(unescaped(rest)));
        Ok(Self { pieces })
    }

    /// Fills it in.
    pub(super) fn render(&self, of: &Map<String, Value>) -> Result<String, Answer> {
        let whole = Value::Object(of.clone());
        let mut line = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Value { path, json } => {
                    let value = path.iter().try_fold(&whole, |value, key| {
                        value.get(key).ok_or_else(|| refuse(&format!("can't evaluate field {key}")))
                    })?;
                    line.push_str(&match value {
                        Value::String(text) if !json => text.clone(),
                        other => other.to_string(),
                    });
                }
            }
        }
        Ok(line)
    }
}

fn action_of(action: &str) -> Result<Piece, Answer> {
    let (json, path) = match action.strip_prefix("json ") {
        Some(path) => (true, path.trim()),
        None => (false, action),
    };
    let Some(path) = path.strip_prefix('.') else {
        let name = path.split_whitespace().next().unwrap_or_default();
        return Err(refuse(&format!("function \"{name}\" not defined")));
    };
    let path = path.split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect();
    Ok(Piece::Value { path, json })
}

/// Docker turns these two into what they stand for, because shells do not.
fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn refuse(words: &str) -> Answer {
    Answer::refused(format!("failed to parse template: template: :1: {words}\n"), 1)
}
