//! Refunds an order on the embedded defaults: no server, no key.
//!
//! ```sh
//! cargo run --example quickstart
//! ```

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis::authority::{Acted, Device, Local};
use portcullis::{Portcullis, Refused, boundary, budgeted, once};

/// Stands for the payment provider's ledger: how often money really moved.
static MONEY_MOVED: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Receipt {
    id: String,
    cents: u64,
}

#[derive(Debug, thiserror::Error)]
enum RefundError {
    #[error(transparent)]
    Refused(#[from] Refused),
}

#[boundary(before_side_effect)] // an outside authority must say yes, now
#[once(action = "orders.refund", key = "order_id")] // the effect happens once, however often it is retried
#[budgeted(max_steps = 50)] // and a runaway loop stops
async fn refund(order_id: &str, cents: u64) -> Result<Receipt, RefundError> {
    let number = MONEY_MOVED.fetch_add(1, Ordering::SeqCst) + 1;
    Ok(Receipt { id: format!("re_{order_id}_{number}"), cents })
}

#[budgeted(max_steps = 5)]
async fn think() -> Result<(), Refused> {
    Ok(())
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    if let Some(ledger) = std::env::args_os().nth(1) {
        return worker_that_will_be_revoked(&PathBuf::from(ledger)).await;
    }
    let ledger = std::env::temp_dir().join(format!("portcullis-quickstart-{}", std::process::id())).join("ledger.db");
    std::fs::create_dir_all(ledger.parent().ok_or("no directory for the ledger")?)?;
    Portcullis::builder().embedded(&ledger).install()?;

    println!("1. A refund runs once.");
    let first = refund("o-17", 500).await?;
    println!("   first call:  {first:?}");
    let retry = refund("o-17", 500).await?;
    println!("   the retry:   {retry:?}");
    let moved = MONEY_MOVED.load(Ordering::SeqCst);
    println!("   money moved: {moved} time(s)\n");
    assert!(first == retry && moved == 1, "a retry must get the first call's receipt");

    println!("2. The same order with another amount is not the same refund.");
    match refund("o-17", 900).await {
        Err(RefundError::Refused(refused)) => println!("   {refused}\n"),
        Ok(receipt) => return Err(format!("another amount was refunded: {receipt:?}").into()),
    }

    println!("3. A loop that does not end by itself is ended by its budget.");
    let (steps, refused) = portcullis::scope("job-1", async {
        let mut steps = 0;
        loop {
            match think().await {
                Ok(()) => steps += 1,
                Err(refused) => return (steps, refused),
            }
        }
    })
    .await;
    println!("   {steps} steps were taken, then: {refused}\n");
    assert_eq!(steps, 5);

    println!("4. A worker in a process of its own has its device revoked while it works.");
    let code = revoke_a_worker(&ledger)?;
    println!("   its exit code: {code}\n");
    assert_eq!(code, portcullis::EXIT_CODE);

    println!(
        "The ledger is {}; look into it with\n   cargo run -p portcullis-cli -- ledger list --ledger sqlite:{}",
        ledger.display(),
        ledger.display()
    );
    Ok(ExitCode::SUCCESS)
}

const WORKER: &str = "quickstart:local:worker:revoked";

/// The parent's part: waits until the worker has passed its first boundary, revokes its device, lets it go on.
fn revoke_a_worker(ledger: &Path) -> Result<i32, Box<dyn std::error::Error>> {
    let mut worker = Command::new(std::env::current_exe()?)
        .arg(ledger)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(worker.stdout.take().ok_or("no stdout")?).lines();
    println!("   worker: {}", said.next().ok_or("the worker said nothing")??);

    assert_eq!(Local::open(ledger).revoke(&Device::parse(WORKER)?, "quickstart")?, Acted::Done);
    println!("   its device {WORKER} is revoked");
    writeln!(worker.stdin.take().ok_or("no stdin")?, "go on")?;

    for line in said {
        println!("   worker: {}", line?);
    }
    let output = worker.wait_with_output()?;
    print!("   its last words: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.status.code().unwrap_or(-1))
}

/// The worker's part. The second refund never starts, and neither `catch_unwind` nor the line after it sees that.
async fn worker_that_will_be_revoked(ledger: &Path) -> Result<ExitCode, Box<dyn std::error::Error>> {
    Portcullis::builder().embedded(ledger).device(Device::parse(WORKER)?).install()?;
    let receipt = refund("o-18", 100).await?;
    println!("passed its first boundary: {receipt:?}");

    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let swallowed = tokio::spawn(async { refund("o-19", 100).await.is_ok() }).await;
    println!("is still alive: {swallowed:?}");
    Ok(ExitCode::FAILURE)
}
