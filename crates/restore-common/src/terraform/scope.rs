//! What a plan or an apply is limited to.

use serde::{Deserialize, Serialize};

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
