//! The server's own tables in the control state, and how an older set of them becomes the present one.
//!
//! The file is shared with other crates, each with a prefix of its own and a version of its own, so that one crate's
//! change never waits for another's. Ours are `access_` (tokens) and `status_` (history of the status page).

use sqlx::{Row, SqlitePool};

use crate::error::Error;

/// The steps from nothing to the present tables of one part. Steps are only ever added.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) steps: &'static [&'static [&'static str]],
}

/// Brings a part's tables to the present version, in one transaction.
pub(crate) async fn migrate(pool: &SqlitePool, part: &Part) -> Result<(), Error> {
    let failed = || Error::state("bring the tables up to date");
    let mut transaction = pool.begin().await.map_err(failed())?;
    sqlx::query("CREATE TABLE IF NOT EXISTS server_version (part TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT")
        .execute(&mut *transaction)
        .await
        .map_err(failed())?;
    let row = sqlx::query("SELECT version FROM server_version WHERE part = ?")
        .bind(part.name)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed())?;
    let found: i64 = row.map_or(Ok(0), |row| row.try_get(0)).map_err(failed())?;
    let known = i64::try_from(part.steps.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(Error::Newer { part: part.name, found, known });
    }
    for statement in part.steps.iter().skip(usize::try_from(found).unwrap_or(0)).copied().flatten() {
        sqlx::query(*statement).execute(&mut *transaction).await.map_err(failed())?;
    }
    sqlx::query("INSERT INTO server_version (part, version) VALUES (?, ?) ON CONFLICT (part) DO UPDATE SET version = excluded.version")
        .bind(part.name)
        .bind(known)
        .execute(&mut *transaction)
        .await
        .map_err(failed())?;
    transaction.commit().await.map_err(failed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles::pool;

    const ONE: Part = Part { name: "t", steps: &[&["CREATE TABLE t_a (x INTEGER) STRICT"]] };
    const TWO: Part = Part {
        name: "t",
        steps: &[&["CREATE TABLE t_a (x INTEGER) STRICT"], &["ALTER TABLE t_a ADD COLUMN y INTEGER"]],
    };

    #[tokio::test]
    async fn steps_run_once_and_a_newer_file_is_refused() {
        let pool = pool().await;
        for part in [&ONE, &ONE, &TWO, &TWO] {
            migrate(&pool, part).await.expect("migrates");
        }
        sqlx::query("INSERT INTO t_a (x, y) VALUES (1, 2)").execute(&pool).await.expect("has both columns");
        assert!(matches!(migrate(&pool, &ONE).await, Err(Error::Newer { found: 2, known: 1, .. })));
    }

    #[tokio::test]
    async fn a_step_that_fails_leaves_nothing_behind() {
        let pool = pool().await;
        let part = Part { name: "t", steps: &[&["CREATE TABLE t_a (x INTEGER) STRICT", "nonsense"]] };
        assert!(matches!(migrate(&pool, &part).await, Err(Error::State { .. })));
        assert!(sqlx::query("SELECT * FROM t_a").execute(&pool).await.is_err());
    }
}
