//! The last item in stock, and eight buyers in processes of their own.

use std::path::Path;
use std::time::Duration;

use leasehold_examples::{Actor, Outcome, Stage, database, reopen, say, unique, wait_for_cue, work};
use leasehold_fence::sql::Table;

const BUYERS: usize = 8;

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, engine, shop, lock] = &arguments[..]
        && role == "buyer"
    {
        return buy(engine, Path::new(shop), lock).await;
    }
    let stage = Stage::new()?;
    for (what, lock) in [("without the lock", String::new()), ("with the lock", unique("item/42"))] {
        let file = stage.file(&format!("shop {what}"));
        let shop = database(
            &file,
            "CREATE TABLE stock (amount INTEGER); INSERT INTO stock VALUES (1); CREATE TABLE sale (buyer INTEGER)",
        )?;
        let path = file.to_str().ok_or("a path that is no UTF-8")?;
        let start = |_| Actor::start(&["buyer", stage.engine(), path, &lock]);
        let mut buyers = (0..BUYERS).map(start).collect::<Outcome<Vec<_>>>()?;
        for buyer in &mut buyers {
            buyer.says()?;
        }
        for buyer in &mut buyers {
            buyer.go_on()?;
        }
        for buyer in &mut buyers {
            buyer.says()?;
        }
        let sold: u64 = shop.query_row("SELECT count(*) FROM sale", (), |row| row.get::<_, u32>(0))?.into();
        say(format_args!("{what}: 1 in stock, {BUYERS} buyers, {sold} sold"));
    }
    Ok(())
}

async fn buy(engine: &str, shop: &Path, lock: &str) -> Outcome {
    let locks = leasehold::connect(engine).await?;
    let mut shop = reopen(shop)?;
    say("ready");
    wait_for_cue()?;
    let bought = if lock.is_empty() {
        let seen: i64 = shop.query_row("SELECT amount FROM stock", (), |row| row.get(0))?;
        sell(seen, |sql| shop.execute(sql, ()).map(drop))?
    } else {
        let guard = locks.mutex(lock)?.lock().await?;
        let tx = Table::new().enter_blocking(&guard, shop.transaction()?)?;
        let seen: i64 = tx.query_row("SELECT amount FROM stock", (), |row| row.get(0))?;
        let bought = sell(seen, |sql| tx.execute(sql, ()).map(drop))?;
        tx.commit()?;
        guard.release().await?;
        bought
    };
    say(if bought { "bought" } else { "sold out" });
    Ok(())
}

/// What was seen is what is believed, after the payment too.
fn sell(seen: i64, execute: impl Fn(&str) -> rusqlite::Result<()>) -> Outcome<bool> {
    if seen == 0 {
        return Ok(false);
    }
    work(Duration::from_millis(100));
    execute(&format!("UPDATE stock SET amount = {}", seen - 1))?;
    execute(&format!("INSERT INTO sale VALUES ({})", std::process::id()))?;
    Ok(true)
}
