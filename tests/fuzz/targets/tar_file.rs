//! Tar files that are made as the input says, with headers whose checksums are right: damaged ones end at the first entry.

use arbitrary::{Result, Unstructured};
use tar::{EntryType, Header};

/// Entries of one file.
const ENTRIES_MAX: usize = 24;

const KINDS: [EntryType; 11] = [
    EntryType::Regular,
    EntryType::Directory,
    EntryType::Symlink,
    EntryType::Link,
    EntryType::XHeader,
    EntryType::GNULongName,
    EntryType::GNULongLink,
    EntryType::GNUSparse,
    EntryType::XGlobalHeader,
    EntryType::Fifo,
    EntryType::Char,
];

/// What names are made of.
const PARTS: [&[u8]; 20] = [
    b"a",
    b"b",
    b"/",
    b"//",
    b".",
    b"..",
    b"a/b",
    b"../..",
    b"../../../../outside",
    b"secret",
    b".wh.a",
    b".wh..wh..opq",
    b".wh.",
    b"/",
    b"/a",
    b"a/",
    b"proc/self/root",
    b"\\",
    b"\xff",
    b"a\0b",
];

/// A tar file, whole or cut off.
pub fn make(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    for _ in 0..input.int_in_range(0..=ENTRIES_MAX)? {
        if input.is_empty() {
            break;
        }
        entry(&mut file, input)?;
    }
    match input.arbitrary::<u8>()? {
        // A file that ends in the middle.
        0..16 => file.truncate(input.int_in_range(0..=file.len())?),
        16..32 => {}
        _ => file.resize(file.len() + 1024, 0),
    }
    Ok(file)
}

fn entry(file: &mut Vec<u8>, input: &mut Unstructured<'_>) -> Result<()> {
    let kind = *input.choose(&KINDS)?;
    let mut header = if input.ratio(1, 4)? { Header::new_ustar() } else { Header::new_gnu() };
    let name = name(input)?;
    put(&mut header, 0, 100, &name);
    put(&mut header, 157, 100, &self::name(input)?);
    header.set_entry_type(kind);
    header.set_mode(input.arbitrary::<u16>()?.into());
    header.set_mtime(input.arbitrary::<u32>()?.into());
    let contents = match kind {
        EntryType::XHeader | EntryType::XGlobalHeader => extended(input)?,
        EntryType::GNULongName | EntryType::GNULongLink => [&self::name(input)?, &b"\0"[..]].concat(),
        _ => bytes(input, 40)?,
    };
    header.set_size(contents.len() as u64);
    // A byte of the header that is something else than it should be.
    if input.ratio(1, 8)? {
        let at = input.int_in_range(0..=511_usize)?;
        header.as_mut_bytes()[at] = input.arbitrary()?;
    }
    header.set_cksum();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&contents);
    file.resize(file.len().next_multiple_of(512), 0);
    Ok(())
}

/// Up to `most` bytes of the input.
pub fn bytes(input: &mut Unstructured<'_>, most: usize) -> Result<Vec<u8>> {
    let length = input.int_in_range(0..=most)?.min(input.len());
    Ok(input.bytes(length)?.to_vec())
}

fn name(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut name = Vec::new();
    for _ in 0..=input.int_in_range(0..=3)? {
        name.extend_from_slice(input.choose(&PARTS)?);
    }
    Ok(name)
}

/// The fields of an extended header: those that matter, with values that may not.
fn extended(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    const KEYS: [&str; 9] = [
        "path",
        "linkpath",
        "size",
        "mtime",
        "GNU.sparse.name",
        "GNU.sparse.size",
        "GNU.sparse.major",
        "uid",
        "SCHILY.xattr.user.x",
    ];
    let mut text = Vec::new();
    for _ in 0..=input.int_in_range(0..=2)? {
        let value = match input.arbitrary::<bool>()? {
            true => name(input)?,
            false => input.arbitrary::<i64>()?.to_string().into_bytes(),
        };
        let rest = [format!(" {}=", input.choose(&KEYS)?).as_bytes(), &value, b"\n"].concat();
        let mut length = rest.len() + 1;
        while length.to_string().len() + rest.len() != length {
            length += 1;
        }
        // A length that is wrong now and then: what follows is then read as something else.
        if input.ratio(1, 8)? {
            length = usize::from(input.arbitrary::<u8>()?);
        }
        text.extend_from_slice(length.to_string().as_bytes());
        text.extend_from_slice(&rest);
    }
    Ok(text)
}

fn put(header: &mut Header, at: usize, room: usize, bytes: &[u8]) {
    let length = bytes.len().min(room);
    header.as_mut_bytes()[at..at + length].copy_from_slice(&bytes[..length]);
}
