//! Shell completions, laid out as a package installs them below `share`.

use std::{fs, path::Path};

use anyhow::Context as _;
use clap_complete::{Shell, generate};

use crate::programs;

/// What a shell wants a program's completions to be called.
type Named = fn(&str) -> String;

/// Where each shell looks, and under which name.
const SHELLS: [(Shell, &str, Named); 3] = [
    (Shell::Bash, "bash-completion/completions", str::to_owned),
    (Shell::Zsh, "zsh/vendor-completions", |program| format!("_{program}")),
    (Shell::Fish, "fish/vendor_completions.d", |program| format!("{program}.fish")),
];

pub fn write(folder: &Path) -> anyhow::Result<()> {
    for (shell, place, named) in SHELLS {
        let place = folder.join(place);
        fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        for mut command in programs::all() {
            let name = command.get_name().to_owned();
            let mut script = Vec::new();
            generate(shell, &mut command, &name, &mut script);
            let path = place.join(named(&name));
            fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}
