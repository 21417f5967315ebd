use api_key_runtime::require_app_key;

struct Orders;

#[require_app_key]
impl Orders {
    fn len(&self) -> usize {
        0
    }
}

fn main() {
    let _ = Orders.len();
}
