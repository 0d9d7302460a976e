//! `leasehold ls`: what is locked.

use crate::args::LsArgs;
use crate::engine::{connect, runtime};
use crate::exit::{End, Failure};
use crate::output::{json, note, span, table};
use crate::view::{View, look_all};

/// Lists the resources that somebody holds or waits for.
pub(crate) fn ls(url: &str, args: &LsArgs) -> Result<End, Failure> {
    let views = runtime()?.block_on(async { look_all(&connect(url).await?, &args.prefix).await })?;
    if args.json {
        json(&views)?;
    } else if views.is_empty() {
        note("nothing is locked");
    } else {
        let header = ["NAME", "KIND", "HELD BY", "TOKEN", "FOR", "TTL LEFT", "WAITING"];
        table(header, &[3, 4, 5, 6], views.iter().map(row))?;
    }
    Ok(End::Code(0))
}

fn row(view: &View) -> [String; 7] {
    let first = view.holders.first();
    let more = view.holders.len().saturating_sub(1);
    let owner = first.map_or_else(String::new, |claim| claim.meta.owner.to_string());
    [
        view.name.to_string(),
        view.kind(),
        if more > 0 { format!("{owner} +{more}") } else { owner },
        first.and_then(|claim| claim.token).map_or_else(String::new, |token| token.to_string()),
        first.map_or_else(String::new, |claim| span(claim.age)),
        first.map_or_else(String::new, |claim| span(claim.ttl_left)),
        view.waiting.len().to_string(),
    ]
}
