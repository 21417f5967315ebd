//! The digest algorithm of a table. All programs that issue keys must use the same algorithm. A
//! service checks the algorithm when the service starts.

use super::{Database, Queries};
use crate::{
    error::Error,
    key::{DigestAlgorithm, Digester},
    log,
};

/// Records the service's digest algorithm as the algorithm of the table. So no program issues keys
/// that the service cannot find. Fails if the table has an algorithm that the service does not
/// know.
pub(crate) fn claim_digest_algorithm(
    database: &Database,
    connection: &mut dyn Queries,
    digester: &Digester,
) -> Result<(), Error> {
    let ours = digester.current_algorithm().as_str();
    let previous = digester.previous_algorithm().map(DigestAlgorithm::as_str);
    let failed =
        |source| Error::database(format!("cannot read the digest algorithm of {database}"), source);
    // A second attempt is needed if another replica starts at the same time.
    for _ in 0..2 {
        let theirs = connection.digest_algorithm().map_err(failed)?;
        match theirs.as_deref() {
            Some(theirs) if theirs == ours => {
                return warn_of_unknown_algorithms(database, connection, digester);
            }
            Some(theirs) if Some(theirs) != previous => break,
            before => {
                if connection.claim_digest_algorithm(before, ours).map_err(failed)? {
                    return warn_of_unknown_algorithms(database, connection, digester);
                }
            }
        }
    }
    Err(Error::config(format!(
        "cannot look up keys of {database}: they are digested with another pepper than \
         APP_KEY_PEPPER, so every key would be unknown. To change the pepper, set the old one in \
         APP_KEY_PEPPER_PREVIOUS (`none` if there was none). With several processes, first restart \
         them all with the old pepper in APP_KEY_PEPPER and the new one in APP_KEY_PEPPER_PREVIOUS"
    )))
}

/// Logs a warning if keys have a digest algorithm that is not configured. The service rejects such
/// keys as unknown.
fn warn_of_unknown_algorithms(
    database: &Database,
    connection: &mut dyn Queries,
    digester: &Digester,
) -> Result<(), Error> {
    let known: Vec<&str> = digester.algorithms().map(DigestAlgorithm::as_str).collect();
    let lost = connection.count_live_except(&known, chrono::Utc::now()).map_err(|source| {
        Error::database(format!("cannot read the API keys of {database}"), source)
    })?;
    if lost > 0 {
        log::warn!(
            "{lost} active keys of {database} are unknown: their pepper is neither APP_KEY_PEPPER \
             nor APP_KEY_PEPPER_PREVIOUS; set APP_KEY_PEPPER_PREVIOUS to their pepper, or replace \
             and revoke these keys"
        );
    }
    Ok(())
}
