//! The access file: who may do what, and what each tenant may name. TOML at this edge, checked values behind it.
//!
//! ```toml
//! [[token]]
//! name = "studio-submit"            # who it is, in logs and answers
//! sha256 = "9f86d081884c7d659a2f…"  # of the token; the token itself is nowhere
//! role = "submit"                   # submit, operate, worker, enrol or metrics
//! tenant = "studio"                 # with submit
//! expires = 2027-01-01T00:00:00Z    # may be left out
//!
//! [[tenant]]
//! name = "studio"
//! weight = 2                        # share of the fleet against others; 1 when left out
//! max_slots = 40                    # quotas, none when left out: encodes at a time, 0 to let its work rest;
//! max_open_jobs = 200               # jobs that have not ended;
//! max_film_minutes = 240            # length of a film
//! stores = ["s3://studio/"]         # object sources and outputs lie below one of these
//! ```

use super::role::Role;
use super::token;
use reelmill_common::ids::Label;
use reelmill_common::{Sha256, TenantId};
use reelmill_coordinator_core::{TenantRules, Tenants};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Most tokens of a file: each is compared with what a caller shows.
const TOKENS_MAX: usize = 1_024;
/// Most tenants of a file.
const TENANTS_MAX: usize = 1_024;
/// Most stores of a tenant.
const STORES_MAX: usize = 64;
/// Largest weight of a tenant.
const WEIGHT_MAX: u32 = 1_000;

/// Everything an access file says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Table {
    tokens: Vec<Entry>,
    tenants: BTreeMap<TenantId, Tenant>,
}

/// Whom a token stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) sha256: Sha256,
    pub(crate) role: Role,
    pub(crate) tenant: Option<TenantId>,
    /// Wall clock, milliseconds since the Unix epoch.
    pub(crate) expires_unix_ms: Option<u64>,
}

/// What a tenant may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tenant {
    pub(crate) rules: TenantRules,
    pub(crate) stores: Vec<String>,
}

impl Table {
    /// Reads a file's content.
    pub(crate) fn parse(content: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(content).map_err(|_| "it is not text".to_owned())?;
        // the parser quotes the line it stumbles over; nothing in the file is secret but by mistake
        let file: File = toml::from_str(text).map_err(|e| match e.span() {
            Some(span) => format!("line {}: {}", line(text, span.start), e.message()),
            None => e.message().to_owned(),
        })?;
        bounded(file.token.len(), TOKENS_MAX, "tokens")?;
        bounded(file.tenant.len(), TENANTS_MAX, "tenants")?;
        let tokens = file.token.into_iter().map(Token::checked).collect::<Result<Vec<_>, _>>()?;
        let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
        for entry in &tokens {
            if !names.insert(&entry.name) {
                return Err(format!("two tokens have the name {:?}", entry.name));
            }
            if !hashes.insert(entry.sha256.0) {
                return Err(format!("token {:?} has the sha256 of another", entry.name));
            }
        }
        let mut tenants = BTreeMap::new();
        for tenant in file.tenant {
            let (name, tenant) = tenant.checked()?;
            if tenants.insert(name.clone(), tenant).is_some() {
                return Err(format!("tenant {name} is there twice"));
            }
        }
        Ok(Self { tokens, tenants })
    }

    /// Whom a token stands for. Every entry is looked at, whichever it is.
    pub(crate) fn find(&self, sha256: &Sha256) -> Option<&Entry> {
        let compare =
            |found, entry| if token::same(&Entry::sha256(entry), sha256) { Some(entry) } else { found };
        self.tokens.iter().fold(None, compare)
    }

    /// The stores that a tenant may name; none were given: empty.
    pub(crate) fn stores_of(&self, tenant: &TenantId) -> &[String] {
        self.tenants.get(tenant).map_or(&[], |t| &t.stores)
    }

    /// What each tenant of the file may have; those that only tokens name, as by default.
    pub(crate) fn tenants(&self) -> Tenants {
        let named = self.tokens.iter().filter_map(|t| t.tenant.clone());
        let own = self.tenants.iter().map(|(name, tenant)| (name.clone(), tenant.rules));
        named.map(|name| (name, TenantRules::default())).chain(own).collect()
    }
}

impl Entry {
    fn sha256(&self) -> Sha256 {
        self.sha256
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Token>,
    #[serde(default)]
    tenant: Vec<TenantEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    name: String,
    sha256: String,
    role: String,
    tenant: Option<String>,
    expires: Option<Expiry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expiry {
    Date(toml::value::Datetime),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantEntry {
    name: String,
    weight: Option<u32>,
    max_slots: Option<u32>,
    max_open_jobs: Option<u32>,
    max_film_minutes: Option<u32>,
    #[serde(default)]
    stores: Vec<String>,
}

impl Token {
    fn checked(self) -> Result<Entry, String> {
        let wrong = |why: &str| format!("token {:?}: {why}", self.name);
        Label::parse(&self.name).map_err(|e| wrong(&e.to_string()))?;
        // a token that was put there instead of its hash must not be shown
        let sha256 = Sha256::from_hex(&self.sha256)
            .ok_or_else(|| wrong("sha256 is not 64 hexadecimal digits: `reelmill token new` prints it"))?;
        let role = Role::parse(&self.role).ok_or_else(|| {
            let names: Vec<&str> = Role::ALL.into_iter().map(Role::name).collect();
            wrong(&format!("role {:?} is none of {}", self.role, names.join(", ")))
        })?;
        let tenant = self.tenant.as_deref().map(TenantId::parse).transpose();
        let tenant = tenant.map_err(|e| wrong(&e.to_string()))?;
        match (role, &tenant) {
            (Role::Submit, None) => return Err(wrong("role submit needs a tenant")),
            (Role::Submit, Some(_)) | (_, None) => {}
            (role, Some(_)) => return Err(wrong(&format!("role {role} is of no tenant"))),
        }
        let expires_unix_ms = self.expires.as_ref().map(Expiry::unix_ms).transpose();
        let expires_unix_ms = expires_unix_ms.map_err(|why| wrong(&why))?;
        Ok(Entry { name: self.name.clone(), sha256, role, tenant, expires_unix_ms })
    }
}

impl Expiry {
    fn unix_ms(&self) -> Result<u64, String> {
        let text = match self {
            Self::Date(date) => date.to_string(),
            Self::Text(text) => text.clone(),
        };
        let time = humantime::parse_rfc3339(&text)
            .map_err(|_| format!("expires {text:?} is no time in UTC: write it as 2027-01-01T00:00:00Z"))?;
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl TenantEntry {
    fn checked(self) -> Result<(TenantId, Tenant), String> {
        let wrong = |why: &str| format!("tenant {:?}: {why}", self.name);
        let name = TenantId::parse(&self.name).map_err(|e| wrong(&e.to_string()))?;
        let weight = self.weight.unwrap_or(1);
        if !(1..=WEIGHT_MAX).contains(&weight) {
            return Err(wrong(&format!("weight {weight} is not between 1 and {WEIGHT_MAX}")));
        }
        bounded(self.stores.len(), STORES_MAX, "stores of a tenant")?;
        for store in &self.stores {
            let url = url::Url::parse(store).map_err(|e| wrong(&format!("store {store:?}: {e}")))?;
            // what URLs are compared with has to be written as they are, without `..` and the like
            let is_plain = url.as_str().trim_end_matches('/') == store.trim_end_matches('/');
            if !matches!(url.scheme(), "s3" | "gs" | "az" | "memory") || url.host_str().is_none() || !is_plain
            {
                return Err(wrong(&format!("store {store:?} is no object URL such as s3://bucket/prefix/")));
            }
        }
        let rules = TenantRules {
            weight,
            max_slots: self.max_slots,
            max_open_jobs: self.max_open_jobs.map(|jobs| jobs as usize),
            max_film_ms: self.max_film_minutes.map(|minutes| u64::from(minutes) * 60_000),
        };
        Ok((name, Tenant { rules, stores: self.stores }))
    }
}

fn bounded(found: usize, most: usize, what: &str) -> Result<(), String> {
    if found <= most { Ok(()) } else { Err(format!("{found} {what}: {most} is the limit")) }
}

fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn wrong(text: &str) -> String {
        Table::parse(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn a_file_is_read_whole() {
        let text = format!(
            "[[token]]\nname = \"a\"\nsha256 = \"{HASH}\"\nrole = \"submit\"\ntenant = \"studio\"\n\
             expires = 1970-01-01T00:00:01Z\n[[tenant]]\nname = \"studio\"\nweight = 3\nmax_slots = 0\n\
             max_open_jobs = 7\nmax_film_minutes = 90\nstores = [\"s3://s/in/\"]\n"
        );
        let table = Table::parse(text.as_bytes()).unwrap();
        let studio = TenantId::parse("studio").unwrap();
        let entry = table.find(&Sha256::from_hex(HASH).unwrap()).unwrap();
        assert_eq!(
            (entry.name.as_str(), entry.role, &entry.tenant),
            ("a", Role::Submit, &Some(studio.clone()))
        );
        assert_eq!(entry.expires_unix_ms, Some(1_000));
        assert_eq!(table.find(&Sha256::of(b"another")), None);
        let rules = TenantRules {
            weight: 3,
            max_slots: Some(0),
            max_open_jobs: Some(7),
            max_film_ms: Some(5_400_000),
        };
        assert_eq!(
            (table.stores_of(&studio), table.tenants().of(&studio)),
            (&["s3://s/in/".to_owned()][..], rules)
        );
        assert_eq!(Table::parse(b"").unwrap(), Table::default());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_no_secret() {
        let token = |rest: &str| format!("[[token]]\nname = \"a\"\nsha256 = \"{HASH}\"\n{rest}\n");
        let twice = format!("{}{}", token("role = \"metrics\""), token("role = \"worker\""));
        let leaked = "[[token]]\nname = \"a\"\nsha256 = \"reelmill_s3cret\"\nrole = \"metrics\"\n";
        for (text, says) in [
            (token("role = \"king\""), "submit, operate, worker, enrol, metrics"),
            (token("role = \"submit\""), "needs a tenant"),
            (token("role = \"worker\"\ntenant = \"t\""), "of no tenant"),
            (token("role = \"operate\"\ntenant = \"T\""), "a-z"),
            (token("role = \"metrics\"\nexpires = \"soon\""), "2027-01-01T00:00:00Z"),
            (token("role = \"metrics\"\ncolour = 1"), "line 5"),
            (twice, "the name \"a\""),
            (leaked.to_owned(), "64 hexadecimal digits"),
            ("[[tenant]]\nname = \"t\"\nweight = 0\n".to_owned(), "between 1 and 1000"),
            ("[[tenant]]\nname = \"t\"\nmax_slots = -1\n".to_owned(), "line 3"),
            ("[[tenant]]\nname = \"t\"\nmax_jobs = 1\n".to_owned(), "line 3"),
            ("[[tenant]]\nname = \"t\"\nstores = [\"/films\"]\n".to_owned(), "store"),
            ("[[tenant]]\nname = \"t\"\nstores = [\"s3://b/a/../c\"]\n".to_owned(), "s3://bucket/prefix/"),
            ("[[tenant]]\nname = \"t\"\n[[tenant]]\nname = \"t\"\n".to_owned(), "twice"),
            ("token = 7".to_owned(), "line 1"),
        ] {
            let error = wrong(&text);
            assert!(error.contains(says), "{says:?} in {error:?}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
