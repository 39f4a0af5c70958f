//! What a plan or an apply is limited to.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    homelab::{HomelabError, ModuleCall, module_calls},
    procedure::Problem,
    ui::sanitize,
};

/// The call of a module in the configuration in a folder: the one with this name or address, or without one the one whose
/// source ends in `ending`; or why there is none that could be meant. Terraform takes an address that does not exist for
/// "nothing to do", so it is looked for here.
pub fn find_call(
    dir: &Path,
    named: Option<&str>,
    ending: &str,
) -> Result<Result<ModuleCall, Problem>, HomelabError> {
    let named = named.map(|name| name.strip_prefix("module.").unwrap_or(name));
    let (mut fitting, others): (Vec<_>, Vec<_>) =
        module_calls(dir)?.into_iter().partition(|call| match named {
            Some(name) => call.name == name,
            None => call.last_component() == ending,
        });
    let listed = |calls: &[ModuleCall]| {
        let names =
            calls.iter().map(|call| format!("`{}` ({})", sanitize(&call.address()), sanitize(&call.source)));
        names.collect::<Vec<_>>().join(", ")
    };
    let place = sanitize(&dir.to_string_lossy()).into_owned();
    Ok(match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 => {
            let wanted = match named {
                Some(name) => format!("no module is called `{}`", sanitize(name)),
                None => format!("no module has a source that ends in `{ending}`"),
            };
            let problem = Problem::new(format!("{wanted} in {place}"));
            Err(if others.is_empty() {
                problem.hint("is it the right environment? `--env` chooses another")
            } else {
                problem.hint(format!("`--module NAME` names the one that is meant: {}", listed(&others)))
            })
        }
        _ => Err(Problem::new(format!("several modules of {place} could be meant: {}", listed(&fitting)))
            .hint("choose one with `--module NAME`")),
    })
}

/// What a plan or an apply is limited to, and what of it is made anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Addresses of modules and resources; none: everything.
    pub targets: Vec<String>,
    /// Instances that are made anew although nothing of them has changed.
    pub replace: Vec<String>,
}

impl Scope {
    /// A module; of the instances that are in the state, those of the resources that `anew` names are made anew.
    ///
    /// `anew` holds addresses without instances, below the module: `terraform_data.install`, as
    /// [`provisioned`](crate::homelab::provisioned) gives them. What is not in the state is made in any case.
    pub fn module<'s>(module: &str, anew: &[String], in_state: impl IntoIterator<Item = &'s String>) -> Self {
        let is_wanted = |address: &str| {
            let plain = plain_address(address);
            let below = plain.strip_prefix(module).and_then(|rest| rest.strip_prefix('.'));
            below.is_some_and(|below| anew.iter().any(|wanted| wanted == below))
        };
        let replace = in_state.into_iter().filter(|address| is_wanted(address)).cloned().collect();
        Self { targets: vec![module.to_owned()], replace }
    }

    /// As options.
    pub(super) fn words(&self) -> impl Iterator<Item = String> {
        let targets = self.targets.iter().map(|address| format!("-target={address}"));
        targets.chain(self.replace.iter().map(|address| format!("-replace={address}")))
    }
}

/// An address without the instances in it: `module.a.x.y` of `module.a["k]"].x.y[0]`.
pub fn plain_address(address: &str) -> String {
    let (mut plain, mut depth, mut in_text, mut escaped) = (String::new(), 0_u32, false, false);
    for c in address.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            '[' if !in_text => depth += 1,
            ']' if !in_text => depth = depth.saturating_sub(1),
            _ if depth == 0 && !in_text => plain.push(c),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("module.a.x.y", "module.a.x.y")]
    #[case("module.a[0].x.y[\"k]\\\"]\"]", "module.a.x.y")]
    fn an_address_without_its_instances(#[case] address: &str, #[case] plain: &str) {
        assert_eq!(plain_address(address), plain);
    }

    #[test]
    fn only_instances_that_are_there_are_made_anew() {
        let state = ["module.m.t.install[0]", "module.m.t.vm", "module.mm.t.install", "t.install"];
        let state = state.map(str::to_owned);
        let scope = Scope::module("module.m", &["t.install".to_owned(), "t.other".to_owned()], &state);
        let words: Vec<_> = scope.words().collect();
        assert_eq!(words, ["-target=module.m", "-replace=module.m.t.install[0]"]);
    }
}
