//! The variables of an environment, as Terraform would read them.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use hcl::{
    Value,
    edit::{Span as _, parser, structure},
};

use super::{
    error::{HomelabError, position, read_text},
    value::value_of,
};

/// The values of `terraform.tfvars` and then of each `*.auto.tfvars` by name: for a key in several files the last one
/// counts, whole.
#[derive(Default)]
pub(super) struct Tfvars {
    pub(super) files: Vec<PathBuf>,
    values: BTreeMap<String, Entry>,
}

/// Values are kept from `Debug`: tfvars hold secrets.
struct Entry {
    /// `None` where the value is an expression, which only matters to who needs it.
    value: Option<Value>,
    file: PathBuf,
    line: usize,
    column: usize,
}

impl fmt::Debug for Tfvars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tfvars").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tfvars {
    /// Reads the files of a folder; none at all is not an error here.
    pub(super) fn read(dir: &Path) -> Result<Self, HomelabError> {
        let mut tfvars = Self::default();
        for file in files_of(dir)? {
            tfvars.add(&file, &read_text(&file)?)?;
            tfvars.files.push(file);
        }
        Ok(tfvars)
    }

    fn add(&mut self, file: &Path, text: &str) -> Result<(), HomelabError> {
        let body = parser::parse_body(text).map_err(|error| {
            // Only the message: the parser's own display quotes the line, which may hold a secret.
            HomelabError::at(file, text, error.location().offset(), error.message())
        })?;
        for structure in body {
            let start = structure.span().map_or(0, |span| span.start);
            let attribute = match structure {
                structure::Structure::Attribute(attribute) => attribute,
                structure::Structure::Block(block) => {
                    let name = block.ident.as_str();
                    let reason = format!("`{name}` is a block; values are written `{name} = {{ … }}`");
                    return Err(HomelabError::at(file, text, start, reason));
                }
            };
            let key = attribute.key.as_str().to_owned();
            let value = value_of(attribute.value);
            let (line, column) = position(text, start);
            let entry = Entry { value, file: file.to_owned(), line, column };
            self.values.insert(key, entry);
        }
        Ok(())
    }

    /// The value of a top-level key.
    pub(super) fn get(&self, key: &str) -> Field<'_> {
        let entry = self.values.get(key);
        Field { key: key.to_owned(), entry, value: entry.and_then(|entry| entry.value.as_ref()) }
    }
}

fn files_of(dir: &Path) -> Result<Vec<PathBuf>, HomelabError> {
    let mut auto = Vec::new();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(HomelabError::unreadable(dir))? {
        let path = entry.map_err(HomelabError::unreadable(dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "terraform.tfvars" {
            files.push(path);
        } else if name.ends_with(".auto.tfvars") {
            auto.push(path);
        }
    }
    auto.sort();
    files.append(&mut auto);
    Ok(files)
}

/// A value, or its absence, and where it stands. `null` is absence.
pub(super) struct Field<'a> {
    /// With those it stands in: `minio.ip`.
    key: String,
    entry: Option<&'a Entry>,
    value: Option<&'a Value>,
}

impl<'a> Field<'a> {
    /// The value below this one.
    pub(super) fn get(&self, key: &str) -> Result<Field<'a>, HomelabError> {
        let value = self.map()?.and_then(|map| map.get(key));
        Ok(Field { key: format!("{}.{key}", self.key), entry: self.entry, value })
    }

    /// All values below this one, by name.
    pub(super) fn entries(&self) -> Result<Vec<(&'a str, Field<'a>)>, HomelabError> {
        let map = self.map()?.into_iter().flatten();
        let field = |(name, value): (&'a String, &'a Value)| {
            let field = Field { key: format!("{}.{name}", self.key), entry: self.entry, value: Some(value) };
            (name.as_str(), field)
        };
        Ok(map.map(field).collect())
    }

    /// A text that is not empty.
    pub(super) fn text(&self) -> Result<Option<&'a str>, HomelabError> {
        match self.present()? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.error("must be a text")),
        }
    }

    /// A text that is some kind of name.
    pub(super) fn parsed<T: std::str::FromStr>(&self) -> Result<Option<T>, HomelabError>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.text()?;
        text.map(|text| text.parse().map_err(|error| self.error(&format!("does not fit: {error}"))))
            .transpose()
    }

    /// A port, as a number or as a text of digits.
    pub(super) fn port(&self) -> Result<Option<u16>, HomelabError> {
        let port = match self.present()? {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        port.filter(|port| *port != 0).map(Some).ok_or_else(|| self.error("must be a port: 1 to 65535"))
    }

    /// A yes or a no.
    pub(super) fn flag(&self) -> Result<Option<bool>, HomelabError> {
        let flag =
            self.present()?.map(|value| value.as_bool().ok_or_else(|| self.error("must be true or false")));
        flag.transpose()
    }

    /// A list of texts; absent is empty.
    pub(super) fn texts(&self) -> Result<Vec<String>, HomelabError> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let texts = match self.present()? {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(text).collect(),
            Some(_) => None,
        };
        texts.ok_or_else(|| self.error("must be a list of texts"))
    }

    /// Whether there is a value other than `null`.
    pub(super) fn is_present(&self) -> Result<bool, HomelabError> {
        Ok(self.present()?.is_some())
    }

    fn map(&self) -> Result<Option<&'a hcl::Map<String, Value>>, HomelabError> {
        match self.present()? {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(self.error("must be a map: `{ … }`")),
        }
    }

    fn present(&self) -> Result<Option<&'a Value>, HomelabError> {
        if self.entry.is_some_and(|entry| entry.value.is_none()) {
            return Err(self.error("is not a plain value: tfvars cannot use variables or functions"));
        }
        Ok(self.value.filter(|value| !value.is_null()))
    }

    /// That this value is wrong, at the place of its top-level key.
    pub(super) fn error(&self, reason: &str) -> HomelabError {
        let (path, line, column) =
            self.entry.map_or((PathBuf::new(), 0, 0), |entry| (entry.file.clone(), entry.line, entry.column));
        let reason = crate::ui::sanitize(&format!("`{}` {reason}", self.key)).into_owned();
        HomelabError::Invalid { path, line, column, reason }
    }
}
