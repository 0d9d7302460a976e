//! `leasehold unlock`: ends a hold by hand, safely or at once.

use leasehold::{ClaimId, ClaimRef, Client, Error, ErrorKind, Manner, Name, Token};
use leasehold_core::engine::ClaimView;

use crate::args::UnlockArgs;
use crate::engine::{connect, runtime};
use crate::exit::{End, Failure};
use crate::output::{data, json, note, printable};
use crate::view::look;

/// What was done to one holder.
#[derive(Debug, serde::Serialize)]
struct Ended {
    id: ClaimId,
    owner: String,
    token: Option<Token>,
    /// Until when, at the most, the holder may believe that it holds. After that it is out either way.
    believes_ms: u64,
    /// The token to raise at the storage, which then refuses the old holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    raise_to: Option<u64>,
}

/// What was done.
#[derive(Debug, serde::Serialize)]
struct Unlocked {
    name: Name,
    manner: &'static str,
    ended: Vec<Ended>,
}

/// Ends the holds of a lock. Who waits for it is not touched.
pub(crate) fn unlock(url: &str, args: &UnlockArgs) -> Result<End, Failure> {
    let name = Name::new(&args.name)?;
    let ended = runtime()?.block_on(async { end(&connect(url).await?, &name, args.force).await })?;
    if args.json {
        let manner = if args.force { "evict" } else { "revoke" };
        json(&Unlocked { name, manner, ended })?;
    } else if ended.is_empty() {
        note(format_args!("nobody holds `{name}`"));
    } else {
        for one in &ended {
            data(sentence(&name, one))?;
        }
    }
    Ok(End::Code(0))
}

/// Revokes first, also before evicting: from then on no renewal moves the deadline that we tell of.
async fn end(client: &Client, name: &Name, force: bool) -> Result<Vec<Ended>, Failure> {
    let holders = look(client, name).await?.holders;
    if let Some(foreign) = holders.iter().find(|holder| holder.is_foreign()) {
        let message = format!(
            "`{name}` is held by {}, which leasehold cannot end; end it there, or delete the key if nobody uses it",
            foreign.meta.owner
        );
        return Err(Error::new(ErrorKind::Refused, "unlock", message).into());
    }
    for holder in &holders {
        client.unlock(claim(name, holder), Manner::Revoke).await?;
    }
    // Who released of its own accord meanwhile is not there any more.
    let revoked: Vec<ClaimView> = look(client, name)
        .await?
        .holders
        .into_iter()
        .filter(|now| holders.iter().any(|h| h.id == now.id))
        .collect();
    if force {
        for holder in &revoked {
            client.unlock(claim(name, holder), Manner::Evict).await?;
        }
    }
    Ok(revoked
        .iter()
        .map(|holder| Ended {
            id: holder.id,
            owner: holder.meta.owner.to_string(),
            token: holder.token,
            believes_ms: u64::try_from(holder.ttl_left.as_millis()).unwrap_or(u64::MAX),
            raise_to: holder.token.filter(|_| force).map(|token| token.get() + 1),
        })
        .collect())
}

fn claim(name: &Name, holder: &ClaimView) -> ClaimRef {
    ClaimRef { name: name.clone(), id: holder.id }
}

fn sentence(name: &Name, ended: &Ended) -> String {
    let owner = printable(&ended.owner);
    let token = ended.token.map_or_else(|| "?".into(), |token| token.to_string());
    let left = ended.believes_ms;
    match ended.raise_to {
        None => format!(
            "`{name}` is renewed no more for {owner} (token {token}); the next holder follows when it \
             lets go, within {left} ms"
        ),
        Some(raise) => format!(
            "`{name}` is taken from {owner} (token {token}), which may believe that it holds for \
             {left} ms more; raise the fence at the storage to {raise} now, only then it refuses the old holder"
        ),
    }
}
