async fn refund(order_id: &str, cents: u64) -> Result<Receipt, RefundError> {
    use {once as _, budgeted as _};
    static __SITE: ::portcullis::__private::Site = ::portcullis::__private::Site::named(
            ::core::env!("CARGO_PKG_NAME"),
            "orders.refund",
        )
        .boundary(
            &[::portcullis::Boundary::BeforeSideEffect],
            ::portcullis::OnRefusal::Exit,
            ::portcullis::OnRefusal::Exit,
        )
        .budget(
            ::portcullis::budget::Limits::new().steps(50),
            ::portcullis::budget::Per::Task,
            ::portcullis::OnRefusal::Return,
        );
    let key = ::portcullis::__private::Key::of(&order_id);
    let payload = ::portcullis::__private::Payload::new()
        .arg("order_id", &order_id)
        .arg("cents", &cents);
    let call = ::portcullis::__private::Call::new(&__SITE).once(key, payload);
    ::portcullis::__private::once::<
        Result<Receipt, RefundError>,
        _,
    >(
            call,
            |refused| ::portcullis::__private::refuse_by_return(refused),
            ::portcullis::__private::Hold,
            #[allow(clippy::disallowed_methods)]
            async move {
                if let ::core::option::Option::Some(edge) = ::core::option::Option::None::<
                    Result<Receipt, RefundError>,
                > {
                    return edge;
                }
                stripe.refund(order_id, cents).await
            },
        )
        .await
}
