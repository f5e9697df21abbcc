//! `portcullis device`.

use portcullis::authority::{Acted, Device, Local};
use portcullis::ledger::Ledger;
use serde_json::json;

use crate::args::{DeviceAct, Named};
use crate::output::{Failure, Printed, table};

pub(crate) fn run(url: &str, act: DeviceAct) -> Result<Printed, Failure> {
    match act {
        DeviceAct::List => list(&existing(url)?),
        DeviceAct::Register(Named { device, actor }) => {
            let acted = Local::from_url(url)?.register_as(&device, &actor.actor)?;
            said(&device, acted, "registered", "known already; if it was revoked, it still is")
        }
        DeviceAct::Revoke(Named { device, actor }) => {
            let acted = existing(url)?.revoke(&device, &actor.actor)?;
            said(&device, acted, "revoked", "revoked already")
        }
        DeviceAct::Restore(Named { device, actor }) => {
            let acted = existing(url)?.restore(&device, &actor.actor)?;
            said(&device, acted, "restored", "not revoked")
        }
        DeviceAct::Remove(Named { device, actor }) => {
            let acted = existing(url)?.remove(&device, &actor.actor)?;
            said(&device, acted, "removed", "removed already")
        }
    }
}

/// The authority in a file that is there: a revocation in a file that a slip of the pen has made would stop nobody.
pub(crate) fn existing(url: &str) -> Result<Local, Failure> {
    Ledger::open(url)?;
    Ok(Local::from_url(url)?)
}

fn list(local: &Local) -> Result<Printed, Failure> {
    let devices = local.devices()?;
    let rows = devices.iter().map(|device| {
        let state = if device.revoked { "revoked" } else { "active" };
        [device.id.clone(), state.to_owned(), crate::ledger::when(device.changed_at)]
    });
    let text = if devices.is_empty() {
        "no devices: each registers when its process asks its first question".to_owned()
    } else {
        table(["DEVICE", "STATE", "SINCE"], rows.collect())
    };
    Printed::new(text, &devices)
}

fn said(device: &Device, acted: Acted, done: &str, already: &str) -> Result<Printed, Failure> {
    let (changed, what) = match acted {
        Acted::Done => (true, done),
        Acted::Already => (false, already),
        Acted::UnknownDevice => {
            return Err(Failure::not_found(format!(
                "there is no device {device}; `portcullis device list` lists them"
            )));
        }
    };
    Printed::new(format!("{device}: {what}"), json!({ "device": device.as_str(), "changed": changed }))
}
