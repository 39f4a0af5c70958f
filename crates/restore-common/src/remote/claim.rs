//! Claims: one program at a time works on a guest, whatever machine it was started from.
//!
//! A claim is a link on the node, `guest-101`, that names the folder of the run that holds it. Making a link is atomic
//! there, and the folder's file `owner` says who that is.

use std::time::Duration;

use super::{Command, RunId};

/// Exit status of [`claim_command`] when somebody else holds the claim; standard output says who.
pub const HELD: i32 = 17;

/// Folder of claims and runs as `$0`; run, claim, owner, and the runs that are known to be over as arguments.
const SCRIPT: &str = r#"cd "$0" || exit
run=$1 claim=$2 owner=$3
shift 3
exec 8<. && flock 8 || exit
printf '%s\n' "$owner" >"$run/owner" || exit
holder=$(readlink "$claim")
over=
for ended; do [ "$ended" = "$holder" ] && over=1; done
if [ -z "$holder" ] || [ "$holder" = "$run" ] || [ ! -e "$holder/owner" ] || [ "$over" ]; then
ln -sfn "$run" "$claim"
exit
fi
cat "$holder/owner"
exit 17"#;

/// Takes the claim `what` for `run`, which is owned by somebody that `owner` describes in one line. Taking it again is
/// harmless. Runs that are known to be `over` hold nothing, although their claim may still be there.
///
/// It has to run as a job of `run`, whose folder it expects below `root`.
pub fn claim_command<'a>(
    root: &str,
    run: &RunId,
    what: &str,
    owner: &str,
    over: impl IntoIterator<Item = &'a RunId>,
) -> Command {
    Command::write("bash")
        .args(["-c", SCRIPT, root, run.as_str(), what, owner])
        .args(over.into_iter().map(RunId::as_str))
        .limit(Duration::from_secs(60))
}

/// Where the claim `what` is on a host with this [root](super::Host::root).
pub fn claim_path(root: &str, what: &str) -> String {
    format!("{root}/{what}")
}
