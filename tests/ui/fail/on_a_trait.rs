use api_key_runtime::require_app_key;

#[require_app_key]
trait Orders {
    fn len(&self) -> usize;
}

impl Orders for [u8] {
    fn len(&self) -> usize {
        0
    }
}

fn main() {
    let _ = Orders::len(&[][..]);
}
