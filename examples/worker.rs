//! A job worker behind MachineID: every boundary of a job's life.
//!
//! ```sh
//! export PORTCULLIS_AUTHORITY=machineid MACHINEID_ORG_KEY=org_…
//! export SERVICE_NAME=mailer ENVIRONMENT=prod SERVICE_ROLE=worker INSTANCE_ID=i-1
//! cargo run --example worker
//! ```
//! Revoke the device in MachineID's dashboard while it runs: the next boundary ends the process with exit code 77. Without the
//! variables the first boundary does the same, and its one line says what to set.

use std::time::Duration;

use portcullis::{InTask, Refused, boundary, budgeted, once};

#[derive(Clone, Debug, serde::Serialize)]
struct Job {
    id: u64,
    customers: Vec<String>,
}

/// The process may take work at all. Registers the device.
#[boundary(startup)]
async fn start() {
    println!("startup: allowed");
}

/// One unit of work.
#[boundary(before_job)]
#[budgeted(max_steps = 40, max_duration = "5m")]
async fn work(job: Job) -> Result<(), Refused> {
    println!("job {}: started", job.id);
    let text = draft(&job).await;
    spread(&job, &text).await?;
    println!("job {}: done", job.id);
    Ok(())
}

/// Stands for a model call.
#[boundary(before_cost)]
async fn draft(job: &Job) -> String {
    format!("Dear customer, this is about order {}.", job.id)
}

/// The authority is told how wide the work is spread.
#[boundary(before_fan_out, width = job.customers.len())]
async fn spread(job: &Job, text: &str) -> Result<(), Refused> {
    let mut sending = tokio::task::JoinSet::new();
    for customer in &job.customers {
        // Spawned work is counted on this job's account, because it asks for it.
        sending.spawn(send_mail(job.id, customer.clone(), text.to_owned()).in_task());
    }
    for sent in sending.join_all().await {
        sent?;
    }
    Ok(())
}

/// Stands for a mail: once for each job and customer, also if the job is retried.
#[boundary(before_side_effect)]
#[once(action = "mail.send", key = "job:{job}:{customer}", skip(text), claim = claim)]
async fn send_mail(job: u64, customer: String, text: String) -> Result<String, Refused> {
    println!("job {job}: mail to {customer} ({} bytes), idempotency key {}", text.len(), claim.idempotency_key());
    Ok(format!("message-{job}-{customer}"))
}

#[tokio::main]
async fn main() -> Result<(), Refused> {
    start().await;
    for id in 1..=3 {
        let job = Job { id, customers: vec!["ada".into(), "grace".into()] };
        portcullis::scope(format!("job-{id}"), work(job)).await?;
    }
    // Whatever is still running may settle; nothing new is claimed.
    println!("drained: {:?}", portcullis::drain(Duration::from_secs(5)).await);
    Ok(())
}
