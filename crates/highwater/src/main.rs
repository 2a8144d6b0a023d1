//! highwater
fn main(){}
