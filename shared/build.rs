//! The migrations are embedded: a change there is a change here.
fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
