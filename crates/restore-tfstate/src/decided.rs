//! What the look at one state came to, and how that is carried out.

use restore_common::{
    procedure::{Plan, Problem, Report, Session, carry_out, plan_text, refuse, settled},
    remote::Host,
    state::Diff,
};

use crate::{
    fallback::{self, Fallback},
    home::{self, Home},
    imports::{self, Imports, Writing},
    recover,
    restore::{self, Restoration},
    site::Site,
    work::{Context, Work},
};

/// What the look at one state came to.
pub(crate) enum Decided {
    Restore(Box<Restoration>, Option<Diff>),
    Fallback(Box<Fallback>),
    Home(Box<Home>),
    Imports(Imports),
    Settled(String),
    Refused(Vec<Problem>),
    Failed(anyhow::Error),
}

impl Decided {
    pub(crate) fn plan_text(&self, site: &Site) -> String {
        match self {
            Self::Restore(what, diff) => plan_text(&restore::plan(site, what, diff.as_ref()), false),
            Self::Fallback(what) => plan_text(&fallback::plan(site, what), false),
            Self::Home(what) => plan_text(&home::plan(site, what), false),
            Self::Imports(what) => plan_text(&imports::plan(site, what), false),
            Self::Settled(_) | Self::Refused(_) | Self::Failed(_) => String::new(),
        }
    }

    pub(crate) fn carry_out(self, session: &Session<'_>, site: &Site, host: &dyn Host) -> Report {
        match self {
            Self::Restore(what, diff) => {
                let plan = restore::plan(site, &what, diff.as_ref());
                work(session, plan, Context::new(host, site, *what))
            }
            Self::Fallback(what) => {
                work(session, fallback::plan(site, &what), Context::new(host, site, *what))
            }
            Self::Home(what) => work(session, home::plan(site, &what), Context::new(host, site, *what)),
            Self::Imports(what) => {
                carry_out(session, imports::plan(site, &what), &mut Writing { host, site, what })
            }
            Self::Settled(words) => settled(session, &site.name(), &words),
            Self::Refused(problems) => refuse(session, &site.name(), problems, None),
            Self::Failed(error) => refuse(session, &site.name(), Vec::new(), Some(&error)),
        }
    }
}

/// Carries a plan out. A lock that is still held when it is over, because the step that gives it back was not reached, is
/// given back then.
fn work<'a, W: Work>(
    session: &Session<'_>,
    plan: Plan<Context<'a, W>>,
    mut context: Context<'a, W>,
) -> Report {
    let report = carry_out(session, plan, &mut context);
    recover::let_go(&mut context);
    report
}
