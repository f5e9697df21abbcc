//! Guarded, but nobody is asked before the effect.

use portcullis::{Refused, boundary, budgeted};

use crate::Done;

#[budgeted(max_steps = 5)]
pub fn only_counted() -> Done {
    std::fs::write("a", "b")?; //~ std::fs::write
    Ok(())
}

#[budgeted(max_steps = 5)]
pub async fn only_counted_later(db: &tokio_postgres::Client) -> Done {
    tokio::fs::write("a", "b").await?; //~ tokio::fs::write
    reqwest::Client::new().post("http://127.0.0.1:1").send().await?; //~ reqwest::RequestBuilder::send
    db.batch_execute("DELETE FROM a").await?; //~ tokio_postgres::Client::batch_execute
    Ok(())
}

#[boundary(startup, before_job, before_fan_out)]
pub fn another_boundary() -> Done {
    std::fs::write("a", "b")?; //~ std::fs::write
    Ok(())
}

/// The arguments are evaluated before anybody is asked.
#[boundary(before_side_effect, resource = std::fs::write("a", "b").is_ok())] //~ std::fs::write
pub fn in_an_argument() -> Result<(), Refused> {
    Ok(())
}

#[boundary(before_side_effect)]
pub fn denied_by_the_user() -> Done {
    #![deny(clippy::disallowed_methods)]
    std::fs::write("a", "b")?; //~ std::fs::write
    Ok(())
}

#[boundary(before_side_effect)]
#[expect(clippy::disallowed_methods, reason = "the user's word stands, and is fulfilled")]
pub fn expected_by_the_user() -> Done {
    std::fs::write("a", "b")?;
    Ok(())
}
