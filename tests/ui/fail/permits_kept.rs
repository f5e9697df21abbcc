//! A permit is for this call: it can't be returned, leaked or kept.
use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::Mutex;

use portcullis::permit::BeforeCost;
use portcullis::{Permit, boundary};

#[boundary(before_cost, permit = allowed)]
fn returned() -> Option<Permit<'static, BeforeCost>> {
    Some(allowed)
}

#[boundary(before_cost, permit = allowed)]
fn returned_as_if_borrowed<'a>(_from: &'a str) -> Option<Permit<'a, BeforeCost>> {
    Some(allowed)
}

#[boundary(before_cost, permit = allowed)]
fn returned_in_a_box() -> Option<Box<dyn Any>> {
    Some(Box::new(allowed))
}

#[boundary(before_cost, permit = allowed)]
fn returned_in_a_closure() -> Option<Box<dyn Fn() -> String>> {
    Some(Box::new(move || format!("{allowed:?}")))
}

#[boundary(before_cost, permit = allowed)]
fn returned_in_an_iterator() -> Option<Box<dyn Iterator<Item = String>>> {
    Some(Box::new(std::iter::once(allowed).map(|allowed| format!("{allowed:?}"))))
}

#[boundary(before_cost, permit = allowed)]
fn leaked() {
    let _: &'static Permit<'static, BeforeCost> = Box::leak(Box::new(allowed));
}

struct Agent<'a> {
    permit: Option<Permit<'a, BeforeCost>>,
    once: OnceCell<Permit<'a, BeforeCost>>,
}

impl<'a> Agent<'a> {
    #[boundary(before_cost, permit = allowed)]
    fn kept_in_a_struct(&mut self) {
        self.permit = Some(allowed);
    }

    #[boundary(before_cost, permit = allowed)]
    fn kept_in_a_cell(&self) {
        let _ = self.once.set(allowed);
    }
}

#[boundary(before_cost, permit = allowed)]
fn exchanged_for_that_of_another_call(mut other: Permit<'_, BeforeCost>) {
    let mut allowed = allowed;
    std::mem::swap(&mut allowed, &mut other);
}

static KEPT: Mutex<Option<Permit<'static, BeforeCost>>> = Mutex::new(None);

#[boundary(before_cost, permit = allowed)]
fn kept_in_a_static() {
    *KEPT.lock().unwrap() = Some(allowed);
}

thread_local! {
    static OF_THIS_THREAD: RefCell<HashMap<u64, Permit<'static, BeforeCost>>> = RefCell::default();
    static CELL: Cell<Option<Permit<'static, BeforeCost>>> = const { Cell::new(None) };
}

#[boundary(before_cost, permit = allowed)]
fn kept_in_a_map(id: u64) {
    OF_THIS_THREAD.with_borrow_mut(|kept| kept.insert(id, allowed));
}

#[boundary(before_cost, permit = allowed)]
fn kept_in_a_thread_local() {
    CELL.set(Some(allowed));
}

#[boundary(before_cost, permit = allowed)]
fn sent(to: &Sender<Permit<'static, BeforeCost>>) {
    let _ = to.send(allowed);
}

fn main() {}
