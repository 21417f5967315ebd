use api_key_runtime::require_app_key;

trait Orders {
    #[require_app_key]
    async fn order() -> &'static str;
}

impl Orders for () {
    async fn order() -> &'static str {
        "order"
    }
}

fn main() {
    let _ = <()>::order();
}
