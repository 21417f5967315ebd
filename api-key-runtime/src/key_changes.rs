//! Changes to a key, and the record that results from the changes.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    allowed_ips::AllowedIps,
    error::Error,
    key_fields::{Expiry, check_allowed_ips, check_text},
    key_record::KeyRecord,
    scope::ScopeSet,
};

/// Changes to a key, for [`Admin::update`](crate::admin::Admin::update). Fields without a change
/// keep their values.
///
/// ```
/// use api_key_runtime::admin::KeyChanges;
///
/// let changes = KeyChanges::new()
///     .name("billing, new office")
///     .add_allowed_ips("192.0.2.0/24")?
///     .remove_allowed_ips("198.51.100.7")?
///     .never_expires();
/// # Ok::<(), api_key_runtime::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "changes have no effect until they are passed to `Admin::update`"]
pub struct KeyChanges {
    name: Option<String>,
    owner: Change<String>,
    allowed_ips: Option<AllowedIps>,
    added_ips: Vec<AllowedIps>,
    removed_ips: Vec<AllowedIps>,
    scopes: Option<ScopeSet>,
    added_scopes: Vec<ScopeSet>,
    removed_scopes: Vec<ScopeSet>,
    expiry: Change<Expiry>,
}

/// A change to an optional field of a key.
#[derive(Clone, Debug, Default)]
enum Change<T> {
    #[default]
    Keep,
    Set(T),
    Remove,
}

impl KeyChanges {
    /// Returns an empty set of changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Replaces the application's own user that the key belongs to.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Change::Set(owner.into());
        self
    }

    /// Removes the owner.
    pub fn no_owner(mut self) -> Self {
        self.owner = Change::Remove;
        self
    }

    /// Replaces the IP allow list with these IP addresses and CIDR blocks, separated by spaces.
    ///
    /// # Errors
    /// Returns an error if the text is not a list of IP addresses and CIDR blocks.
    pub fn allowed_ips(mut self, ips: impl AsRef<str>) -> Result<Self, Error> {
        self.allowed_ips = Some(ips.as_ref().parse()?);
        Ok(self)
    }

    /// Adds IP addresses and CIDR blocks to the IP allow list. The update fails for a key that may
    /// be used from any IP address, and for a key with an unreadable list.
    ///
    /// # Errors
    /// Returns an error if the text is not a list of IP addresses and CIDR blocks.
    pub fn add_allowed_ips(mut self, ips: impl AsRef<str>) -> Result<Self, Error> {
        self.added_ips.push(ips.as_ref().parse()?);
        Ok(self)
    }

    /// Removes entries of the IP allow list. The update fails if an entry is not in the list, or if
    /// the list becomes empty or is unreadable.
    ///
    /// # Errors
    /// Returns an error if the text is not a list of IP addresses and CIDR blocks.
    pub fn remove_allowed_ips(mut self, ips: impl AsRef<str>) -> Result<Self, Error> {
        self.removed_ips.push(ips.as_ref().parse()?);
        Ok(self)
    }

    /// Replaces the scopes. An empty text removes all scopes.
    ///
    /// # Errors
    /// Returns an error if the text is not a list of scopes.
    pub fn scopes(mut self, scopes: impl AsRef<str>) -> Result<Self, Error> {
        self.scopes = Some(scopes.as_ref().parse()?);
        Ok(self)
    }

    /// Adds scopes.
    ///
    /// # Errors
    /// Returns an error if the text is not a list of scopes.
    pub fn add_scopes(mut self, scopes: impl AsRef<str>) -> Result<Self, Error> {
        self.added_scopes.push(scopes.as_ref().parse()?);
        Ok(self)
    }

    /// Removes scopes. The update fails if the key lacks one of these scopes.
    ///
    /// # Errors
    /// Returns an error if the text is not a list of scopes.
    pub fn remove_scopes(mut self, scopes: impl AsRef<str>) -> Result<Self, Error> {
        self.removed_scopes.push(scopes.as_ref().parse()?);
        Ok(self)
    }

    /// Sets when the key expires, to the microsecond.
    pub fn expires_at(mut self, end: DateTime<Utc>) -> Self {
        self.expiry = Change::Set(Expiry::At(end));
        self
    }

    /// Sets how long after the update the key expires, to the microsecond.
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.expiry = Change::Set(Expiry::In(lifetime));
        self
    }

    /// Removes the expiry.
    pub fn never_expires(mut self) -> Self {
        self.expiry = Change::Remove;
        self
    }

    /// Returns the record with these changes made at `now`. Nothing is written, so a program can
    /// show a change before making it.
    ///
    /// # Errors
    /// Returns an error if the key is revoked, if an entry or a scope to remove is missing, or if
    /// the changed record would not be valid.
    pub fn apply(&self, before: &KeyRecord, now: DateTime<Utc>) -> Result<KeyRecord, Error> {
        if before.revoked_at.is_some() {
            return Err(Error::revoked(before.id));
        }
        let mut after = before.clone();
        if let Some(name) = &self.name {
            check_text("name", name)?;
            after.name.clone_from(name);
        }
        match &self.owner {
            Change::Keep => {}
            Change::Set(owner) => {
                check_text("owner", owner)?;
                after.owner = Some(owner.clone());
            }
            Change::Remove => after.owner = None,
        }
        after.allowed_ips = self.changed_ips(&before.allowed_ips)?;
        after.scopes = self.changed_scopes(&before.scopes)?;
        match self.expiry {
            Change::Keep => {}
            Change::Set(expiry) => after.expires_at = Some(expiry.from(now)?),
            Change::Remove => after.expires_at = None,
        }
        Ok(after)
    }

    fn changed_ips(&self, before: &AllowedIps) -> Result<AllowedIps, Error> {
        if self.allowed_ips.is_none() && self.added_ips.is_empty() && self.removed_ips.is_empty() {
            // An unreadable list stays as it is.
            return Ok(before.clone());
        }
        let mut ips = self.allowed_ips.as_ref().unwrap_or(before).clone();
        if !ips.as_str().is_empty() {
            // Without one of its entries, the unreadable list `0.0.0.0 10.0.0.1` would allow every
            // address.
            check_allowed_ips(&ips)?;
        }
        if !self.added_ips.is_empty() && ips == AllowedIps::any() {
            return Err(Error::invalid_input(
                "cannot add allowed IPs: the key may be used from any IP address already; replace the IP allow list instead",
            ));
        }
        for added in &self.added_ips {
            ips = ips.or(added.clone());
        }
        let removed: Vec<&str> = entries(&self.removed_ips).collect();
        let kept = without("the allowed IPs", ips.as_str(), &removed)?;
        let ips = AllowedIps::from_stored(&kept);
        check_allowed_ips(&ips)?;
        Ok(ips)
    }

    fn changed_scopes(&self, before: &ScopeSet) -> Result<ScopeSet, Error> {
        let base = self.scopes.as_ref().unwrap_or(before).clone();
        let scopes: ScopeSet =
            std::iter::once(base).chain(self.added_scopes.iter().cloned()).collect();
        let removed: Vec<&str> = self.removed_scopes.iter().flatten().collect();
        // The result is parsed again, because the combined scopes may be too long.
        without("the scopes", scopes.as_str(), &removed)?.parse()
    }
}

fn entries(lists: &[AllowedIps]) -> impl Iterator<Item = &str> {
    lists.iter().flat_map(|list| list.as_str().split_ascii_whitespace())
}

/// Returns `list` without the removed entries and without duplicates.
fn without(what: &str, list: &str, removed: &[&str]) -> Result<String, Error> {
    let entries: Vec<&str> = list.split_ascii_whitespace().collect();
    if let Some(absent) = removed.iter().find(|entry| !entries.contains(entry)) {
        return Err(Error::invalid_input(format!(
            "cannot remove {absent}: {what} of the key do not contain it; choose one of: {list}"
        )));
    }
    let mut kept: Vec<&str> = Vec::new();
    for entry in entries {
        if !removed.contains(&entry) && !kept.contains(&entry) {
            kept.push(entry);
        }
    }
    Ok(kept.join(" "))
}
