use api_key_runtime::require_app_key;

#[require_app_key]
struct Order;

fn main() {
    let _ = Order;
}
