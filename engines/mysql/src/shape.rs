//! Whether `distributed_locks`, which may be somebody else's, is of the shape that all its users rely on.

use leasehold_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use crate::failure;
use crate::wire::get;

/// `leasehold:` and the id of a claim.
const OWNER_CHARS: u64 = 42;

const COLUMNS: &str = "
    SELECT LOWER(column_name), column_type, data_type, COALESCE(character_maximum_length, 0),
           COALESCE(datetime_precision, 0), is_nullable = 'NO' AND column_default IS NULL AND extra NOT LIKE '%auto_increment%',
           extra LIKE '%on update%'
      FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'distributed_locks'";

const KEYED: &str = "
    SELECT COUNT(*) FROM (
        SELECT index_name FROM information_schema.statistics
         WHERE table_schema = DATABASE() AND table_name = 'distributed_locks' AND non_unique = 0
         GROUP BY index_name
        HAVING COUNT(*) = 1 AND LOWER(MAX(column_name)) = 'lock_name' AND MAX(sub_part) IS NULL
    ) k";

const INNODB: &str = "
    SELECT COUNT(*) FROM information_schema.tables
     WHERE table_schema = DATABASE() AND table_name = 'distributed_locks' AND engine = 'InnoDB'";

struct Column {
    name: String,
    /// As the server writes it: `varchar(100)`.
    kind: String,
    base: String,
    length: u64,
    precision: u64,
    must_be_given: bool,
    changes_by_itself: bool,
}

/// Looks the table over, if it is there, and tells how many bytes a name may have in it. It is never altered.
pub(crate) async fn check(conn: &mut Conn, place: &str) -> Result<Option<usize>> {
    let fail = |e| failure::request("connect", place, e);
    let rows: Vec<Row> = conn.query(COLUMNS).await.map_err(fail)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let columns: Vec<Column> =
        rows.iter().map(column).collect::<std::result::Result<_, _>>().map_err(fail)?;
    let mut wrong = wrongs(&columns);
    let yes = async |conn: &mut Conn, query| conn.query_first::<bool, _>(query).await;
    if yes(conn, KEYED).await.map_err(fail)? != Some(true) {
        wrong.push("`lock_name` alone is not its primary key".to_owned());
    }
    if yes(conn, INNODB).await.map_err(fail)? != Some(true) {
        wrong.push("its engine is not InnoDB".to_owned());
    }
    if !wrong.is_empty() {
        let message = format!(
            "the table `distributed_locks` is not of the shape that its users agree on, and was left as it is: {}; see \
             what `leasehold schema mysql` prints, or use another database",
            wrong.join("; ")
        );
        return Err(Error::new(ErrorKind::Corrupt, "connect", message).with("database", place));
    }
    let name = columns.iter().find(|column| column.name == "lock_name");
    Ok(name.map(|column| usize::try_from(column.length).unwrap_or(usize::MAX)))
}

fn column(row: &Row) -> std::result::Result<Column, mysql_async::Error> {
    Ok(Column {
        name: get(row, 0)?,
        kind: get(row, 1)?,
        base: get(row, 2)?,
        length: get(row, 3)?,
        precision: get(row, 4)?,
        must_be_given: get(row, 5)?,
        changes_by_itself: get(row, 6)?,
    })
}

fn wrongs(columns: &[Column]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut one = |name: &str, wants: &str, judge: &dyn Fn(&Column) -> Option<&'static str>| match columns
        .iter()
        .find(|column| column.name == name)
    {
        None => wrong.push(format!("there is no column `{name}` ({wants})")),
        Some(column) => {
            if let Some(why) = judge(column) {
                wrong.push(format!("`{name}` is {} and not {wants}: {why}", column.kind));
            }
        }
    };
    one("lock_name", "varbinary(255)", &|column| match column.base.as_str() {
        "varbinary" => None,
        "varchar" | "char" | "text" => {
            Some("text is compared without regard to spaces at its end, or to case")
        }
        _ => Some("a name is bytes"),
    });
    one("owner_id", "varchar(255)", &|column| match column.base.as_str() {
        "varchar" | "varbinary" if column.length >= OWNER_CHARS => None,
        "varchar" | "varbinary" => Some("an owner has 42 characters"),
        _ => Some("an owner is text"),
    });
    one("expires_at", "timestamp(6)", &|column| match column.base.as_str() {
        _ if column.changes_by_itself => Some("it changes by itself when a row does"),
        "timestamp" if column.precision >= 3 => None,
        "timestamp" => Some("it would be rounded"),
        "datetime" => Some("it has another meaning in each time zone"),
        _ => Some("it is a time"),
    });
    one("created_at", "timestamp(6)", &|column| match column.base.as_str() {
        "timestamp" => None,
        "datetime" => Some("it has another meaning in each time zone"),
        _ => Some("it is a time"),
    });
    let known = |name: &str| ["lock_name", "owner_id", "expires_at", "created_at"].contains(&name);
    for column in columns.iter().filter(|column| column.must_be_given && !known(&column.name)) {
        wrong.push(format!("`{}` must be given and has no default", column.name));
    }
    wrong
}
