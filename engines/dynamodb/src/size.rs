//! How large an item is, by DynamoDB's own count, rounded up.

use leasehold_core::Meta;

/// The most that an item may have, less what is rounded in what follows.
pub(crate) const ITEM_BYTES_MAX: usize = 400 * 1024 - 1024;

/// All that is not a claim: the names of the attributes, the key, the revision, the numbers; and what other clients want
/// to know, in which the owner stands twice.
pub(crate) const ITEM_BYTES: usize = 2048;

/// Of a claim, all but its words: the names of its ten attributes with a byte for each, its id, and six numbers as long
/// as they can be.
const CLAIM_BYTES: usize = 170;

/// A claim.
pub(crate) fn of_claim(meta: &Meta) -> usize {
    CLAIM_BYTES + meta.owner.len() + meta.payload.as_deref().map_or(0, str::len)
}
