//! Linux programs of a few instructions (x86-64), so that runc is measured and not what it runs.

/// Prints a line and ends.
pub(crate) fn hello() -> Vec<u8> {
    program(&[
        &[0xbf, 1, 0, 0, 0],              // mov edi, 1
        &[0x48, 0x8d, 0x35, 21, 0, 0, 0], // lea rsi, [rip + 21]
        &[0xba, 6, 0, 0, 0],              // mov edx, 6
        &[0xb8, 1, 0, 0, 0, 0x0f, 0x05],  // write
        &[0x31, 0xff],                    // xor edi, edi
        &[0xb8, 60, 0, 0, 0, 0x0f, 0x05], // exit
        b"hello\n",
    ])
}

/// Sleeps until it is killed, as the pause program does.
pub(crate) fn sleep() -> Vec<u8> {
    program(&[&[0xb8, 34, 0, 0, 0, 0x0f, 0x05], &[0xeb, 0xf7]]) // pause, again
}

/// An ELF file with one segment.
fn program(code: &[&[u8]]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code = code.concat();
    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut half = |values: &[u16]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    half(&[2, 62, 1, 0]); // executable, x86-64, version 1
    for value in [BASE + HEADERS, 64, 0] {
        file.extend(value.to_le_bytes()); // entry, program headers, no sections
    }
    file.extend([0; 4]);
    let mut half = |values: &[u16]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    half(&[64, 56, 1, 64, 0, 0]);
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]); // load, to be read and executed
    for value in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(value.to_le_bytes());
    }
    file.extend(code);
    file
}
