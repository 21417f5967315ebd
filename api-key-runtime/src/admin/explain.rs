//! Explanations of why a key is accepted or rejected.

use super::Admin;
use crate::{
    error::Error,
    explain::{AccessRequest, Explanation, Rule, RuleResult},
    key_record::KeyRecord,
    rejection::Reason as RejectionReason,
    request::is_key,
};

impl Admin {
    /// Explains whether a service with these settings accepts a key, and why: the verdict, and the
    /// result of each rule. Nothing is recorded.
    ///
    /// The verdict is for the current record of the key. A service that has cached the key may lag
    /// behind by up to its [`max_staleness`](crate::AppKeysBuilder::max_staleness).
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// use std::net::IpAddr;
    ///
    /// use api_key_runtime::{AppKeys, admin::{AccessRequest, NewKey}};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("explain-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let url = folder.join("shop.db").to_str().ok_or("not Unicode")?.to_owned();
    /// # let admin = AppKeys::builder().database_url(&url).migrate()?.build_admin()?;
    /// let new = NewKey::new("billing").allow("10.0.0.0/8")?.scopes("cakes:read")?;
    /// let id = admin.issue(&new)?.record.id;
    /// let request = AccessRequest::new("10.1.2.3".parse::<IpAddr>()?).scopes("cakes:write")?;
    /// let explained = admin.explain(id, &request)?;
    /// assert_eq!(explained.rejection.map(|reason| reason.as_str()), Some("scope missing"));
    /// for result in explained.rules {
    ///     println!("{}: {} {}", result.rule, result.rejection.is_none(), result.detail);
    /// }
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error if no key has this id, or if the database fails.
    #[doc(alias = "why")]
    pub fn explain(&self, id: i64, request: &AccessRequest) -> Result<Explanation, Error> {
        let record = self.get(id)?;
        let made_by = &record.digest_algorithm;
        if !self.digester.algorithms().any(|algorithm| algorithm == made_by) {
            let detail = format!(
                "key {id} is in the table under another pepper ({made_by}), so no service with this APP_KEY_PEPPER finds it"
            );
            let found = RuleResult::failed(Rule::Found, RejectionReason::Unknown, detail);
            return Ok(Explanation::without_record(vec![found]));
        }
        Ok(self.explain_record(Vec::new(), record, request))
    }

    /// Explains whether a service accepts a key, given the key itself instead of its id; see
    /// [`explain`](Self::explain). Also explains a text that is not a key, and a key that is not in
    /// the table. The key is neither stored nor logged.
    ///
    /// # Errors
    /// Returns an error if the database fails or is a hot standby.
    pub fn explain_secret(
        &self,
        secret: &str,
        request: &AccessRequest,
    ) -> Result<Explanation, Error> {
        let format = self.format_of(secret);
        if format.rejection.is_some() {
            return Ok(Explanation::without_record(vec![format]));
        }
        if let Some(record) = self.find_by_secret(secret)? {
            return Ok(self.explain_record(vec![format], record, request));
        }
        let detail = "the table has no such key under the pepper of these settings";
        let found = RuleResult::failed(Rule::Found, RejectionReason::Unknown, detail);
        Ok(Explanation::without_record(vec![format, found]))
    }

    fn explain_record(
        &self,
        mut checked: Vec<RuleResult>,
        record: KeyRecord,
        request: &AccessRequest,
    ) -> Explanation {
        let found = format!("key {}, digest {}", record.id, record.digest_algorithm);
        checked.push(RuleResult::passed(Rule::Found, found));
        Explanation::of_record(checked, record, request, self.now())
    }

    /// Checks whether a text can be a key. A service makes the same check before it looks up a key.
    fn format_of(&self, secret: &str) -> RuleResult {
        let failed = |detail| RuleResult::failed(Rule::Format, RejectionReason::Malformed, detail);
        if !is_key(secret.as_bytes()) {
            return failed("a key has 1 to 256 characters: letters, digits and -._~+/=");
        }
        if self.format_rules.accepts(secret) {
            return RuleResult::passed(Rule::Format, "");
        }
        failed(if self.format_rules.accept_imported {
            "mistyped or cut off: the text looks like a native key, but its checksum is wrong"
        } else {
            "not a native key with an intact checksum, and imported keys are not accepted (APP_KEY_ACCEPT_IMPORTED)"
        })
    }
}
