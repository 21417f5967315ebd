//! How the keys of a table are digested: in one way for all who issue keys, and told where a
//! service knows another.

use super::{Database, Queries};
use crate::{
    error::Error,
    key::{DigestAlgorithm, Digester},
    log,
};

/// Makes the service's way of digesting the table's, so that nobody issues keys the service would
/// not know.
pub(crate) fn claim_digest_algorithm(
    database: &Database,
    connection: &mut dyn Queries,
    digester: &Digester,
) -> Result<(), Error> {
    let ours = digester.current_algorithm().as_str();
    let previous = digester.previous_algorithm().map(DigestAlgorithm::as_str);
    let failed = |source| {
        Error::database(format!("cannot read how the keys of {database} are digested"), source)
    };
    // Twice, because another replica may start at the same time.
    for _ in 0..2 {
        let theirs = connection.digest_algorithm().map_err(failed)?;
        match theirs.as_deref() {
            Some(theirs) if theirs == ours => {
                return warn_of_unknown_ways(database, connection, digester);
            }
            Some(theirs) if Some(theirs) != previous => break,
            before => {
                if connection.claim_digest_algorithm(before, ours).map_err(failed)? {
                    return warn_of_unknown_ways(database, connection, digester);
                }
            }
        }
    }
    Err(Error::config(format!(
        "the keys of {database} are digested under another pepper than APP_KEY_PEPPER says: nobody's key would be known. To change the \
         pepper, set the old one in APP_KEY_PEPPER_PREVIOUS (`none` where there was none); with several processes, first start them all with \
         the new one as the previous one"
    )))
}

/// Keys that were digested in a way nobody configured are unknown, and their holders would be the
/// first to notice.
fn warn_of_unknown_ways(
    database: &Database,
    connection: &mut dyn Queries,
    digester: &Digester,
) -> Result<(), Error> {
    let known: Vec<&str> = digester.algorithms().map(DigestAlgorithm::as_str).collect();
    let lost = connection
        .count_live_except(&known, chrono::Utc::now())
        .map_err(|source| Error::database(format!("cannot read the keys of {database}"), source))?;
    if lost > 0 {
        log::warn!(
            "{lost} active keys of {database} were digested under a pepper that is neither APP_KEY_PEPPER nor APP_KEY_PEPPER_PREVIOUS, so \
             they are unknown: configure that pepper as the previous one, or replace and revoke them"
        );
    }
    Ok(())
}
