//! The tokens that this instance knows: hashes in SQLite, and in memory for every request.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use disk::Disk;
use jiff::Timestamp;
use model::limits::{NAME_BYTES_MAX, TOKENS_MAX};
use model::{Clock, Private, Rng, Tenant};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use crate::error::Error;
use crate::routes::Area;
use crate::schema::{self, Part};
use crate::token::{self, Role};

const TABLES: Part = Part {
    name: "access",
    steps: &[&["CREATE TABLE access_token (
            id TEXT PRIMARY KEY,
            hash BLOB NOT NULL UNIQUE,
            tenant TEXT NOT NULL,
            name TEXT NOT NULL,
            roles TEXT NOT NULL,
            scopes TEXT NOT NULL,
            created_at_ms INTEGER NOT NULL,
            created_by TEXT NOT NULL,
            expires_at_ms INTEGER,
            used_at_ms INTEGER,
            UNIQUE (tenant, name)
        ) STRICT"]],
};

/// How coarse "last used" is: it tells a forgotten token from one in use, and follows nobody through the day.
const USED_STEP_MS: i64 = 3_600_000;

/// The file below the data directory that the first administrator's token is written to.
pub const ADMIN_TOKEN_FILE: &str = "admin-token";

/// A token as the instance knows it: never the token itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Account {
    /// Its id: random, unrelated to the token.
    #[schema(example = "5f0c3a9e71b2d844")]
    pub id: String,
    /// Whose it is.
    #[schema(value_type = String, example = "default")]
    pub tenant: Tenant,
    /// What people call it; unique in its tenant.
    pub name: String,
    /// What it may be used for.
    #[schema(value_type = Vec<Role>)]
    pub roles: BTreeSet<Role>,
    /// The parts of the API that it is confined to; empty for all that its roles allow.
    #[schema(value_type = Vec<Area>)]
    pub scopes: BTreeSet<Area>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it stops working.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDraft {
    /// Whose it is.
    pub tenant: Tenant,
    /// What people call it.
    pub name: String,
    /// What it may be used for; at least one.
    pub roles: BTreeSet<Role>,
    /// The parts of the API that it is confined to; empty for all.
    pub scopes: BTreeSet<Area>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

impl TokenDraft {
    /// Says what the token opens and for how long, for the record of who made it.
    pub(crate) fn describe(&self) -> String {
        let roles = words(self.roles.iter().map(|role| role.as_str()));
        let scopes = words(self.scopes.iter().map(|area| area.as_str()));
        let scopes = if scopes.is_empty() { "all" } else { &scopes };
        let expires = self.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
        format!("roles: {roles}; scopes: {scopes}; expires: {expires}")
    }
}

/// The tokens of this instance.
pub struct Tokens {
    pool: SqlitePool,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    known: Mutex<HashMap<u64, Vec<Entry>>>,
}

struct Entry {
    hash: [u8; 32],
    account: Arc<Account>,
    used_at_ms: i64,
    dirty: bool,
}

impl Tokens {
    /// Opens the tokens kept in `pool`, making their table if need be.
    ///
    /// # Errors
    /// When the control state cannot be read or written.
    pub async fn open(pool: SqlitePool, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<Self, Error> {
        schema::migrate(&pool, &TABLES).await?;
        let rows = sqlx::query("SELECT * FROM access_token")
            .fetch_all(&pool)
            .await
            .map_err(Error::state("read the tokens"))?;
        let mut known: HashMap<u64, Vec<Entry>> = HashMap::new();
        for row in &rows {
            let entry = read(row)?;
            known.entry(bucket(&entry.hash)).or_default().push(entry);
        }
        Ok(Self { pool, clock, rng, known: Mutex::new(known) })
    }

    /// Checks a draft against the bounds and against the names already taken.
    ///
    /// # Errors
    /// When a field cannot be accepted.
    pub fn check(&self, draft: &TokenDraft) -> Result<(), Error> {
        let refuse = |field, reason: &str| Err(Error::Token { field, reason: reason.to_owned() });
        if draft.name.is_empty() || draft.name.len() > NAME_BYTES_MAX || draft.name.chars().any(char::is_control) {
            return refuse("name", "expected 1 to 128 bytes without control characters");
        }
        if draft.roles.is_empty() {
            return refuse("roles", "expected at least one role");
        }
        if draft.expires_at.is_some_and(|end| end <= self.clock.now()) {
            return refuse("expires_at", "expected a time to come");
        }
        let accounts = self.all();
        if accounts.len() >= TOKENS_MAX {
            return refuse("name", "there are as many tokens as one instance may have; revoke one");
        }
        if accounts.iter().any(|account| account.tenant == draft.tenant && account.name == draft.name) {
            return refuse("name", "there is a token of that name");
        }
        Ok(())
    }

    /// Makes a token and returns it: the only time that it is seen. The act must be in the ledger before.
    ///
    /// # Errors
    /// When the draft cannot be accepted or the control state cannot be written; then there is no token.
    pub async fn add(&self, draft: TokenDraft, by: &str) -> Result<(Private<String>, Account), Error> {
        self.check(&draft)?;
        let secret = token::mint(&*self.rng);
        let account = self.insert(draft, &secret, by).await?;
        Ok((secret, account))
    }

    async fn insert(&self, draft: TokenDraft, secret: &Private<String>, by: &str) -> Result<Account, Error> {
        let hash = token::hash(secret.expose()).expect("invariant: a minted token has a valid checksum");
        let mut id = [0_u8; 8];
        self.rng.fill(&mut id);
        let account = Account {
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            tenant: draft.tenant,
            name: draft.name,
            roles: draft.roles,
            scopes: draft.scopes,
            created_at: Timestamp::from_millisecond(self.clock.now().as_millisecond()).unwrap_or_default(),
            created_by: by.to_owned(),
            expires_at: draft.expires_at,
            used_at: None,
        };
        let result = sqlx::query(
            "INSERT INTO access_token (id, hash, tenant, name, roles, scopes, created_at_ms, created_by, expires_at_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&account.id)
        .bind(&hash[..])
        .bind(account.tenant.as_str())
        .bind(&account.name)
        .bind(words(account.roles.iter().map(|role| role.as_str())))
        .bind(words(account.scopes.iter().map(|area| area.as_str())))
        .bind(account.created_at.as_millisecond())
        .bind(&account.created_by)
        .bind(account.expires_at.map(Timestamp::as_millisecond))
        .execute(&self.pool)
        .await;
        match result {
            // Two drafts of one name may pass `check` together; the table decides.
            Err(sqlx::Error::Database(refusal)) if refusal.is_unique_violation() => {
                return Err(Error::Token { field: "name", reason: "there is a token of that name".to_owned() });
            }
            other => other.map_err(Error::state("add a token"))?,
        };
        let entry = Entry { hash, account: Arc::new(account.clone()), used_at_ms: 0, dirty: false };
        self.lock().entry(bucket(&hash)).or_default().push(entry);
        Ok(account)
    }

    /// Returns a tenant's tokens, ascending by name.
    #[must_use]
    pub fn list(&self, tenant: &Tenant) -> Vec<Account> {
        let mut accounts = self.all();
        accounts.retain(|account| account.tenant == *tenant);
        accounts.sort_by(|a, b| a.name.cmp(&b.name));
        accounts
    }

    /// Returns a token by its id, whosever it is.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Account> {
        self.all().into_iter().find(|account| account.id == id)
    }

    /// Revokes a token; from the return on it opens nothing. The act must be in the ledger before.
    ///
    /// # Errors
    /// When the control state cannot be written; then the token still works.
    pub async fn revoke(&self, tenant: &Tenant, id: &str) -> Result<bool, Error> {
        sqlx::query("DELETE FROM access_token WHERE tenant = ? AND id = ?")
            .bind(tenant.as_str())
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(Error::state("revoke a token"))?;
        let mut known = self.lock();
        let mut found = false;
        known.retain(|_, entries| {
            entries.retain(|entry| {
                let hit = entry.account.tenant == *tenant && entry.account.id == id;
                found |= hit;
                !hit
            });
            !entries.is_empty()
        });
        Ok(found)
    }

    /// Returns the account behind a token that is presented, unless it is unknown or has expired.
    ///
    /// The look-up goes by 64 bits of the SHA-256 of 160 random bits, which a caller can neither choose nor learn from
    /// timing, and the rest is compared in constant time.
    #[must_use]
    pub fn verify(&self, presented: &str) -> Option<Arc<Account>> {
        let hash = token::hash(presented)?;
        let now = self.clock.now();
        let mut known = self.lock();
        let entry = known.get_mut(&bucket(&hash))?.iter_mut().find(|entry| bool::from(entry.hash.ct_eq(&hash)))?;
        if entry.account.expires_at.is_some_and(|end| end <= now) {
            return None;
        }
        let used_at_ms = now.as_millisecond() / USED_STEP_MS * USED_STEP_MS;
        if used_at_ms > entry.used_at_ms {
            entry.used_at_ms = used_at_ms;
            entry.dirty = true;
        }
        Some(Arc::clone(&entry.account))
    }

    /// Writes down which tokens were used since the last call.
    ///
    /// # Errors
    /// When the control state cannot be written; nothing but "last used" is lost.
    pub async fn flush(&self) -> Result<(), Error> {
        let used: Vec<(String, i64)> = {
            let mut known = self.lock();
            let dirty = known.values_mut().flatten().filter(|entry| entry.dirty);
            dirty
                .map(|entry| {
                    entry.dirty = false;
                    (entry.account.id.clone(), entry.used_at_ms)
                })
                .collect()
        };
        for (id, used_at_ms) in used {
            sqlx::query("UPDATE access_token SET used_at_ms = ? WHERE id = ?")
                .bind(used_at_ms)
                .bind(id)
                .execute(&self.pool)
                .await
                .map_err(Error::state("note the use of a token"))?;
        }
        Ok(())
    }

    /// Tells whether there is no token at all: the first start.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Makes the administrator's token of the default tenant and writes it to `<data_dir>/admin-token`, durable and
    /// readable by the owner alone. To be called on the first start, with the act already in the ledger.
    ///
    /// The file comes first: a crash in between leaves a file whose token opens nothing, and the next start, which
    /// finds no token still, writes it anew.
    ///
    /// # Errors
    /// When the file or the control state cannot be written.
    pub async fn first_start(&self, disk: &dyn Disk, data_dir: &Path) -> Result<(Private<String>, PathBuf), Error> {
        let draft = TokenDraft {
            tenant: Tenant::default(),
            name: "admin".to_owned(),
            roles: [Role::Admin].into(),
            scopes: BTreeSet::new(),
            expires_at: None,
        };
        let secret = token::mint(&*self.rng);
        let path = data_dir.join(ADMIN_TOKEN_FILE);
        let line = Private::new(format!("{}\n", secret.expose()));
        // `Disk` makes files with mode 0600.
        disk::write_atomic(disk, &path, line.expose().as_bytes()).map_err(Error::AdminToken)?;
        self.insert(draft, &secret, "local").await?;
        Ok((secret, path))
    }

    fn all(&self) -> Vec<Account> {
        let known = self.lock();
        known.values().flatten().map(Entry::shown).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Vec<Entry>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn shown(&self) -> Account {
        let used_at = Timestamp::from_millisecond(self.used_at_ms).ok().filter(|_| self.used_at_ms > 0);
        Account { used_at, ..(*self.account).clone() }
    }
}

fn bucket(hash: &[u8; 32]) -> u64 {
    hash.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

fn words<'a>(items: impl Iterator<Item = &'a str>) -> String {
    items.collect::<Vec<_>>().join(" ")
}

fn read(row: &SqliteRow) -> Result<Entry, Error> {
    let failed = || Error::state("read a token");
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed());
    let time = |column: &str| row.try_get::<Option<i64>, _>(column).map_err(failed());
    let hash: Vec<u8> = row.try_get("hash").map_err(failed())?;
    let hash: [u8; 32] = hash.try_into().map_err(|_| Error::Unreadable { what: "the hash of a token" })?;
    let used_at_ms = time("used_at_ms")?.unwrap_or(0);
    let account = Account {
        id: text("id")?,
        tenant: Tenant::new(&text("tenant")?).map_err(|_| Error::Unreadable { what: "the tenant of a token" })?,
        name: text("name")?,
        roles: parse_words(&text("roles")?).ok_or(Error::Unreadable { what: "the roles of a token" })?,
        scopes: parse_words(&text("scopes")?).ok_or(Error::Unreadable { what: "the scopes of a token" })?,
        created_at: instant(time("created_at_ms")?)?.unwrap_or_default(),
        created_by: text("created_by")?,
        expires_at: instant(time("expires_at_ms")?)?,
        used_at: None,
    };
    Ok(Entry { hash, account: Arc::new(account), used_at_ms, dirty: false })
}

/// A word that this version does not know makes the token unreadable: ignoring a scope would widen what it opens.
fn parse_words<T: std::str::FromStr + Ord>(text: &str) -> Option<BTreeSet<T>> {
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}

fn instant(ms: Option<i64>) -> Result<Option<Timestamp>, Error> {
    ms.map(Timestamp::from_millisecond).transpose().map_err(|_| Error::Unreadable { what: "a time of a token" })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use disk::SimDisk;
    use model::{SeededRng, StepClock};

    use super::*;
    use crate::doubles::{now, pool};

    async fn open(pool: &SqlitePool) -> Result<(Tokens, Arc<StepClock>), Error> {
        let clock = Arc::new(StepClock::new(now()));
        let tokens = Tokens::open(pool.clone(), clock.clone(), Arc::new(SeededRng::new(1))).await?;
        Ok((tokens, clock))
    }

    fn draft(name: &str) -> TokenDraft {
        TokenDraft {
            tenant: Tenant::default(),
            name: name.into(),
            roles: [Role::Viewer, Role::Operator].into(),
            scopes: [Area::Checks].into(),
            expires_at: Some(now() + Duration::from_secs(86_400)),
        }
    }

    #[tokio::test]
    async fn tokens_survive_a_restart_and_their_use_is_known_to_the_hour() {
        let pool = pool().await;
        let (tokens, clock) = open(&pool).await.expect("opens");
        let (secret, account) = tokens.add(draft("ci"), "ana").await.expect("adds");
        clock.advance(Duration::from_secs(5_000));
        assert_eq!(tokens.verify(secret.expose()).as_deref(), Some(&account));
        tokens.flush().await.expect("writes");
        tokens.flush().await.expect("has nothing to write");
        let (again, _) = open(&pool).await.expect("opens");
        let found = again.find(&account.id).expect("is there");
        assert_eq!(found.used_at, Some("2026-11-22T19:00:00Z".parse().expect("a time")));
        assert_eq!(Account { used_at: None, ..found }, account);
        assert!(again.verify(secret.expose()).is_some());
        assert!(!again.is_empty());
    }

    #[tokio::test]
    async fn the_database_holds_no_token() {
        let pool = pool().await;
        let (tokens, _) = open(&pool).await.expect("opens");
        let (secret, _) = tokens.add(draft("ci"), "ana").await.expect("adds");
        let row = sqlx::query("SELECT hash, id || name || roles AS words FROM access_token").fetch_one(&pool).await;
        let row = row.expect("one row");
        assert_eq!(row.get::<Vec<u8>, _>("hash"), token::hash(secret.expose()).expect("valid"));
        assert!(!row.get::<String, _>("words").contains(secret.expose().as_str()));
        assert!(!format!("{secret:?}").contains(secret.expose().as_str()));
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_is_not_ignored() {
        for (column, value) in [
            ("roles", "'root'"),
            ("scopes", "'all'"),
            ("tenant", "'A B'"),
            ("hash", "x'00'"),
            ("created_at_ms", "9e17"),
        ] {
            let pool = pool().await;
            let (tokens, _) = open(&pool).await.expect("opens");
            tokens.add(draft("ci"), "ana").await.expect("adds");
            // The statement is put together from this table alone.
            let sql = format!("UPDATE access_token SET {column} = CAST({value} AS INTEGER)");
            let sql = if value.starts_with(['\'', 'x']) {
                format!("UPDATE access_token SET {column} = {value}")
            } else {
                sql
            };
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.expect("updates");
            assert!(matches!(open(&pool).await, Err(Error::Unreadable { .. })), "{column}");
        }
    }

    #[tokio::test]
    async fn the_first_start_leaves_a_token_that_works() {
        let pool = pool().await;
        let (tokens, _) = open(&pool).await.expect("opens");
        assert!(tokens.is_empty());
        let disk = SimDisk::new(1);
        let dir = Path::new("/data");
        disk.create_dir_all(dir).expect("creates");
        disk.set_capacity(Some(4));
        assert!(matches!(tokens.first_start(&disk, dir).await, Err(Error::AdminToken(_))));
        assert!(tokens.is_empty(), "a token that nobody can read would lock everybody out");
        disk.set_capacity(None);
        let (secret, path) = tokens.first_start(&disk, dir).await.expect("writes");
        assert_eq!(path, Path::new("/data/admin-token"));
        let kept = String::from_utf8(disk::read(&disk, &path).expect("reads")).expect("text");
        assert_eq!(kept, format!("{}\n", secret.expose()));
        let account = tokens.verify(kept.trim_end()).expect("opens");
        assert_eq!((account.name.as_str(), account.created_by.as_str()), ("admin", "local"));
        assert!(account.roles.contains(&Role::Admin));
    }

    #[tokio::test]
    async fn a_state_that_cannot_be_written_changes_nothing() {
        let pool = pool().await;
        let (tokens, _) = open(&pool).await.expect("opens");
        let (secret, account) = tokens.add(draft("ci"), "ana").await.expect("adds");
        assert!(tokens.verify(secret.expose()).is_some());
        pool.close().await;
        assert!(matches!(tokens.add(draft("other"), "ana").await, Err(Error::State { .. })));
        assert!(matches!(tokens.revoke(&account.tenant, &account.id).await, Err(Error::State { .. })));
        assert!(matches!(tokens.flush().await, Err(Error::State { .. })));
        assert!(tokens.verify(secret.expose()).is_some());
        assert!(matches!(open(&pool).await, Err(Error::State { .. })));
    }

    #[tokio::test]
    async fn the_table_decides_between_two_of_one_name() {
        let pool = pool().await;
        let (first, _) = open(&pool).await.expect("opens");
        let (second, _) = {
            let clock = Arc::new(StepClock::new(now()));
            let tokens = Tokens::open(pool.clone(), clock.clone(), Arc::new(SeededRng::new(9))).await.expect("opens");
            (tokens, clock)
        };
        first.add(draft("ci"), "ana").await.expect("adds");
        assert!(matches!(second.add(draft("ci"), "ben").await, Err(Error::Token { field: "name", .. })));
    }
}
