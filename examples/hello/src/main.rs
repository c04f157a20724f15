//! Prints what it was given (its arguments and its environment) and ends.

use std::env;

fn main() {
    println!("Hello from WebAssembly!");
    for (number, argument) in env::args().enumerate() {
        println!("argument {number}: {argument}");
    }
    for (name, value) in env::vars() {
        println!("variable {name}={value}");
    }
}
