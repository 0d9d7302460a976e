//! `leasehold show`: one lock, with everybody in its queue.

use leasehold::Name;
use leasehold_core::engine::ClaimView;

use crate::args::ShowArgs;
use crate::engine::{connect, runtime};
use crate::exit::{End, Failure};
use crate::output::{data, json, span, table};
use crate::view::{View, look};

/// Shows who holds a lock and who waits for it.
pub(crate) fn show(url: &str, args: &ShowArgs) -> Result<End, Failure> {
    let name = Name::new(&args.name)?;
    let view = runtime()?.block_on(async { look(&connect(url).await?, &name).await })?;
    if args.json {
        json(&view)?;
    } else if view.kind.is_none() {
        data(format_args!("`{name}` is free"))?;
    } else {
        let header = ["STATE", "AS", "OWNER", "TOKEN", "FOR", "TTL LEFT", "SAYS"];
        let claims = view.holders.iter().chain(&view.waiting);
        table(header, &[3, 4, 5], claims.map(|claim| row(&view, claim)))?;
    }
    Ok(End::Code(0))
}

fn row(view: &View, claim: &ClaimView) -> [String; 7] {
    let state = match (claim.token, claim.revoked) {
        (Some(_), true) => "revoked",
        (Some(_), false) => "holds",
        (None, _) => "waits",
    };
    [
        state.into(),
        view.share(claim),
        claim.meta.owner.to_string(),
        claim.token.map_or_else(String::new, |token| token.to_string()),
        span(claim.age),
        span(claim.ttl_left),
        claim.meta.payload.as_deref().unwrap_or_default().to_owned(),
    ]
}
