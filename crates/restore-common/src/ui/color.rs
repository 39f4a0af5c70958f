//! Whether to colour.

use std::ffi::OsString;

/// The option `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless the environment says no.
    #[default]
    Auto,
    /// Even into a pipe.
    Always,
    /// Not at all.
    Never,
}

impl ColorChoice {
    /// The decision for a stream. `NO_COLOR` (set and not empty) and `TERM=dumb` say no; `--color always` outweighs
    /// both.
    pub fn enabled(self, is_terminal: bool, env: &dyn Fn(&str) -> Option<OsString>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let refused = env("NO_COLOR").is_some_and(|value| !value.is_empty());
                is_terminal && !refused && env("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }

    /// Sets colour on standard output and on standard error for the whole process.
    pub fn apply(self) {
        use std::io::IsTerminal as _;
        let env = |name: &str| std::env::var_os(name);
        console::set_colors_enabled(self.enabled(std::io::stdout().is_terminal(), &env));
        console::set_colors_enabled_stderr(self.enabled(std::io::stderr().is_terminal(), &env));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(ColorChoice::Auto, true, &[], true)]
    #[case(ColorChoice::Auto, false, &[], false)]
    #[case(ColorChoice::Auto, true, &[("NO_COLOR", "1")], false)]
    #[case(ColorChoice::Auto, true, &[("NO_COLOR", "")], true)]
    #[case(ColorChoice::Auto, true, &[("TERM", "dumb")], false)]
    #[case(ColorChoice::Always, false, &[("NO_COLOR", "1")], true)]
    #[case(ColorChoice::Never, true, &[], false)]
    fn the_option_wins_then_the_environment_then_the_terminal(
        #[case] choice: ColorChoice,
        #[case] is_terminal: bool,
        #[case] variables: &[(&str, &str)],
        #[case] expected: bool,
    ) {
        let env = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        assert_eq!(choice.enabled(is_terminal, &env), expected);
    }
}
