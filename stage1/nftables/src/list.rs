//! What there is in the packet filter.
//!
//! Responsible for: the chains of a family by name. Must not know: what is in them. Follows linux/netfilter/nf_tables.h.

use crate::attributes::{parse, text};
use crate::batch::{Family, dump};
use crate::connection::{Connection, NftError};

const NFT_MSG_GETCHAIN: u16 = 4;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;

impl Connection {
    /// All chains of the family: the names of table and chain.
    pub fn chains(&mut self, family: Family) -> Result<Vec<(String, String)>, NftError> {
        let request = dump(NFT_MSG_GETCHAIN, family, self.next_sequence());
        let entries = self.ask(&request, "list the chains")?;
        Ok(entries.iter().map(|entry| names(entry)).collect())
    }
}

fn names(entry: &[u8]) -> (String, String) {
    let attributes = parse(entry);
    let find = |wanted| {
        attributes.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| text(value)).unwrap_or_default()
    };
    (find(NFTA_CHAIN_TABLE), find(NFTA_CHAIN_NAME))
}
