//! Makes both guests and says where they are: `cargo run -p laboratory --example guests`.
fn main() -> Result<(), String> {
    println!("{:#?}", laboratory::guests::small_files()?);
    println!("{}", laboratory::guests::debian_disk()?.display());
    Ok(())
}
