//! The scripts, one for each operation.

use std::sync::LazyLock;

use ::redis::Script;

use crate::jobs::job::{MAX_EVENTS, State};
use crate::jobs::queue::MAX_ATTEMPTS;

/// What all scripts begin with.
const COMMON: &str = include_str!("scripts/common.lua");

macro_rules! scripts {
    ($($name:ident: $file:literal,)*) => {
        $(pub static $name: LazyLock<Script> = LazyLock::new(|| script(include_str!($file)));)*
    };
}

scripts! {
    CANCEL: "scripts/cancel.lua",
    DISCARD: "scripts/discard.lua",
    EXTEND_LEASES: "scripts/extend_leases.lua",
    FINISH: "scripts/finish.lua",
    GIVE_BACK: "scripts/give_back.lua",
    LIST: "scripts/list.lua",
    POSITION: "scripts/position.lua",
    POSTPONE_DELIVERY: "scripts/postpone_delivery.lua",
    RECORD_DELIVERY_ATTEMPT: "scripts/record_delivery_attempt.lua",
    REDELIVER: "scripts/redeliver.lua",
    RELEASE: "scripts/release.lua",
    REMOVE: "scripts/remove.lua",
    RENEW: "scripts/renew.lua",
    RESERVE: "scripts/reserve.lua",
    STATS: "scripts/stats.lua",
    SUBMIT: "scripts/submit.lua",
    SWEEP: "scripts/sweep.lua",
    TAKE: "scripts/take.lua",
    TAKE_DELIVERY: "scripts/take_delivery.lua",
    UNKNOWN: "scripts/unknown.lua",
}

fn script(own: &str) -> Script {
    let states = State::ALL.map(|state| format!("'{}'", state.word())).join(", ");
    let constants =
        format!("local MAX_EVENTS, MAX_ATTEMPTS = {MAX_EVENTS}, {MAX_ATTEMPTS}\nlocal STATES = {{{states}}}");
    Script::new(&format!("{constants}\n{COMMON}\n{own}"))
}
