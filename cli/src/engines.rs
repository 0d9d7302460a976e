//! `leasehold engines`: what the engines of this build can do and guarantee.

use leasehold::EngineInfo;
use leasehold_core::engine::{Purpose, word};

use crate::args::EnginesArgs;
use crate::exit::{End, Failure};
use crate::output::{json, span, table};

/// An engine with what follows from its capabilities.
#[derive(serde::Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    info: &'a EngineInfo,
    purpose: Purpose,
}

/// Lists the engines.
pub(crate) fn engines(args: &EnginesArgs) -> Result<End, Failure> {
    let engines = leasehold::engines();
    if args.json {
        let rows: Vec<Row<'_>> = engines.iter().map(|info| Row { info, purpose: info.purpose() }).collect();
        json(&rows)?;
    } else {
        let header = [
            "ENGINE",
            "FOR",
            "REACH",
            "DURABILITY",
            "CLOCK",
            "WAKE-UPS",
            "VALIDITY",
            "TTL FROM",
            "SHARED",
            "AT-LEAST",
            "NOTICES DEATH",
            "TOKENS RISE WITH",
        ];
        table(header, &[7], engines.iter().map(row))?;
    }
    Ok(End::Code(0))
}

fn row(info: &EngineInfo) -> [String; 12] {
    let yes = |so: bool| if so { "yes" } else { "no" }.to_owned();
    [
        info.engine.to_owned(),
        word(&info.purpose()),
        word(&info.reach),
        word(&info.durability),
        word(&info.clock),
        word(&info.wakeups),
        word(&info.validity),
        span(info.ttl_min),
        yes(info.shared),
        yes(info.at_least),
        yes(info.notices_death),
        word(&info.tokens_rise),
    ]
}
