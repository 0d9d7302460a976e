//! Faults of tokens: numbers that do not rise when they should.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use leasehold::claim::{Claim, ClaimId, Leave, Refresh};
use leasehold::engine::Standing;
use leasehold::{Engine, Env, Name, Result, Token};

use super::{Fault, Inner, Memo, broken};

/// One more than the largest token.
const TOKEN_END: u64 = 1 << 53;

/// A fault that gives held claims other tokens.
trait Mints: std::fmt::Debug + Send + Sync + 'static {
    fn mint(&self, name: &Name, id: ClaimId, token: Token) -> u64;

    fn left(&self, _id: ClaimId) {}
}

fn with_token(standing: Standing, mint: impl FnOnce(Token) -> u64) -> Standing {
    match standing {
        Standing::Held { token, ttl } => {
            let number = mint(token).clamp(1, TOKEN_END - 1);
            Standing::Held { token: Token::new(number).expect("it has been clamped"), ttl }
        }
        other => other,
    }
}

impl<M: Mints> Fault for M {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        let key = claim.key();
        let standing = to.join(claim).await?;
        Ok(with_token(standing, |token| self.mint(&key.name, key.id, token)))
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        let key = ask.claim.clone();
        let standing = to.refresh(ask).await?;
        Ok(with_token(standing, |token| self.mint(&key.name, key.id, token)))
    }

    async fn leave(&self, to: &Inner, ask: Leave) -> Result<()> {
        self.left(ask.claim.id);
        to.leave(ask).await
    }
}

/// Every answer has a new token.
#[derive(Debug, Default)]
pub(crate) struct TokenAnew(Mutex<u64>);

impl Mints for TokenAnew {
    fn mint(&self, _name: &Name, _id: ClaimId, token: Token) -> u64 {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *asked += 1;
        token.get() + *asked
    }
}

/// Tokens fall.
#[derive(Debug, Default)]
pub(crate) struct TokensFall;

impl Mints for TokensFall {
    fn mint(&self, _name: &Name, _id: ClaimId, token: Token) -> u64 {
        TOKEN_END - token.get()
    }
}

/// All holds of a name have the token of the first.
#[derive(Debug, Default)]
pub(crate) struct TokensRepeat(Mutex<HashMap<Name, u64>>);

impl Mints for TokensRepeat {
    fn mint(&self, name: &Name, _id: ClaimId, token: Token) -> u64 {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *first.entry(name.clone()).or_insert(token.get())
    }
}

/// Who follows a dead holder has its token.
#[derive(Debug, Default)]
pub(crate) struct TokenOfTheDead(Mutex<Graves>);

#[derive(Debug, Default)]
struct Graves {
    last: HashMap<Name, (ClaimId, u64)>,
    left: HashSet<ClaimId>,
}

impl Mints for TokenOfTheDead {
    fn mint(&self, name: &Name, id: ClaimId, token: Token) -> u64 {
        let mut graves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let token = match graves.last.get(name) {
            Some((last, token)) if *last == id || !graves.left.contains(last) => *token,
            _ => token.get(),
        };
        graves.last.insert(name.clone(), (id, token));
        token
    }

    fn left(&self, id: ClaimId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).left.insert(id);
    }
}

/// Tokens start again at one with the engine.
#[derive(Debug, Default)]
pub(crate) struct TokensRestart(OnceLock<u64>);

impl Mints for TokensRestart {
    fn mint(&self, _name: &Name, _id: ClaimId, token: Token) -> u64 {
        token.get() - self.0.get_or_init(|| token.get() - 1)
    }
}

/// Tokens are readings of the wall clock.
#[derive(Debug)]
pub(crate) struct TokensFromWallClock {
    env: Env,
    given: Memo<u64>,
}

impl TokensFromWallClock {
    pub(crate) fn around(engine: Arc<dyn Engine>, env: &Env) -> Arc<dyn Engine> {
        broken(Self { env: env.clone(), given: Memo::default() }, engine)
    }
}

impl Mints for TokensFromWallClock {
    fn mint(&self, _name: &Name, id: ClaimId, _token: Token) -> u64 {
        self.given.first(id, || self.env.clock.wall_micros())
    }
}

/// Proposals fall on deaf ears.
#[derive(Debug, Default)]
pub(crate) struct NeverRaises;

impl Fault for NeverRaises {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        to.join(Claim { raise: None, ..claim }).await
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        to.refresh(Refresh { raise: None, ..ask }).await
    }
}

/// Says that it accepts a proposal, and gives out lower tokens afterwards.
#[derive(Debug, Default)]
pub(crate) struct RaiseForgotten;

impl Fault for RaiseForgotten {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        let raise = claim.raise;
        let standing = to.join(Claim { raise: None, ..claim }).await?;
        Ok(with_token(standing, |token| raise.map_or(token, |raise| raise.max(token)).get()))
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        let raise = ask.raise;
        let standing = to.refresh(Refresh { raise: None, ..ask }).await?;
        Ok(with_token(standing, |token| raise.map_or(token, |raise| raise.max(token)).get()))
    }
}

/// Accepts what is not above all before.
#[derive(Debug, Default)]
pub(crate) struct TakesAnyProposal;

impl Fault for TakesAnyProposal {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        let raise = claim.raise;
        Ok(with_token(to.join(claim).await?, |token| raise.unwrap_or(token).get()))
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        let raise = ask.raise;
        Ok(with_token(to.refresh(ask).await?, |token| raise.unwrap_or(token).get()))
    }
}

/// Takes a proposal before it looks whether the claim is there.
#[derive(Debug, Default)]
pub(crate) struct RaisesForTheDead(Memo<Claim>);

impl Fault for RaisesForTheDead {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        self.0.put(claim.id, claim.clone());
        to.join(claim).await
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        let (id, raise) = (ask.claim.id, ask.raise);
        let standing = to.refresh(ask).await?;
        if let (Standing::Gone, Some(_), Some(known)) = (&standing, raise, self.0.get(id)) {
            let stand_in = Claim { id: ClaimId(!id.0), raise, ..known };
            let key = stand_in.key();
            to.join(stand_in).await?;
            to.leave(Leave { claim: key, manner: leasehold::claim::Manner::Release }).await?;
        }
        Ok(standing)
    }
}
