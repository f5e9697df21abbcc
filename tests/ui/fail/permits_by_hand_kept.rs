//! A hand-written call is asked for like any other, and its permit is for its body.
use portcullis::__private::{Call, Site, refuse_by_ending, run_sync};
use portcullis::permit::BeforeSideEffect;
use portcullis::{OnRefusal, Permit};

static SITE: Site<BeforeSideEffect> =
    Site::named("shop", "charge").permit(OnRefusal::Exit, OnRefusal::Exit);

fn taken_out<'a>() -> Option<Permit<'a, BeforeSideEffect>> {
    run_sync(Call::new(&SITE), |refused| refuse_by_ending(refused), |entered| Some(entered.permit))
}

fn put_aside() {
    let mut permit = None;
    run_sync(Call::new(&SITE), |refused| refuse_by_ending(refused), |entered| permit = Some(entered.permit));
}

fn main() {}
