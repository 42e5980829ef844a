fn main() {
    let answer = 42;
    println!("hello from Rust: {}", answer);
}
