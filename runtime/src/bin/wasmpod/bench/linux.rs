//! A Linux container to compare with: an OCI bundle with as little in it as there can be.

use super::contender::LinuxRuntime;
use super::process::output_of;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use wasmpod::{Error, Result};

/// A directory with `config.json` and `rootfs`.
pub(super) struct Bundle {
    pub(super) dir: PathBuf,
    /// What runs in it.
    pub(super) command: Vec<String>,
    /// What that is, for the reader.
    pub(super) what: String,
}

impl Bundle {
    /// Makes it in `dir`, with the settings that `program spec` gives everybody, for `linux_command` or a program that says hello.
    pub(super) fn make(dir: &Path, runtime: LinuxRuntime, program: &Path, linux_command: Option<&str>) -> Result<Self> {
        let bundle = Self::without_config(dir, linux_command)?;
        if runtime != LinuxRuntime::Podman {
            bundle.write_config(program)?;
        }
        Ok(bundle)
    }

    /// The same, for who needs nothing but the root file system.
    pub(super) fn without_config(dir: &Path, linux_command: Option<&str>) -> Result<Self> {
        let (bytes, command, what) = match linux_command {
            Some(text) => users_program(text)?,
            None => (hello()?, vec!["/hello".to_owned()], "a static program that says hello and ends".to_owned()),
        };
        let bundle = Self { dir: dir.to_path_buf(), command, what };
        bundle
            .write_rootfs(&bytes)
            .map_err(|error| Error::io("cannot make a root file system", error).at(dir.display().to_string()))?;
        Ok(bundle)
    }

    /// The file of its program, as the machine sees it.
    pub(super) fn program(&self) -> PathBuf {
        let name = self.command.first().map(|name| name.trim_start_matches('/')).unwrap_or_default();
        self.rootfs().join(name)
    }

    /// Its root file system.
    pub(super) fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    fn write_rootfs(&self, program: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(self.rootfs())?;
        let path = self.program();
        fs::write(&path, program)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
    }

    /// The runtime's own default configuration, with our program in it.
    fn write_config(&self, program: &Path) -> Result<()> {
        let mut spec = Command::new(program);
        spec.arg("spec").current_dir(&self.dir);
        if !rustix::process::geteuid().is_root() {
            spec.arg("--rootless");
        }
        output_of(spec)?;
        let path = self.dir.join("config.json");
        let failed = |error| Error::io("cannot configure a container", error).at(path.display().to_string());
        let unreadable = |error| Error::invalid("the runtime's own configuration cannot be read").because(error);
        let mut config: Value = serde_json::from_slice(&fs::read(&path).map_err(failed)?).map_err(unreadable)?;
        if let Some(process) = config.get_mut("process").and_then(Value::as_object_mut) {
            process.insert("terminal".to_owned(), json!(false));
            process.insert("args".to_owned(), json!(self.command));
        }
        fs::write(&path, config.to_string()).map_err(failed)
    }
}

/// The program that the user names, and how it is called in its root file system.
fn users_program(text: &str) -> Result<(Vec<u8>, Vec<String>, String)> {
    let invalid = |what: &str| Error::invalid(what).at(format!("--linux-command {text}"));
    let mut words =
        shlex::split(text).filter(|words| !words.is_empty()).ok_or_else(|| invalid("is no command: its quotes do not match"))?;
    let path = PathBuf::from(words.first().cloned().unwrap_or_default());
    let bytes = fs::read(&path).map_err(|error| {
        Error::io("cannot be read", error).at(path.display().to_string()).hint("name the file of a statically linked program")
    })?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).ok_or_else(|| invalid("names no file"))?;
    if let Some(first) = words.first_mut() {
        *first = format!("/{name}");
    }
    Ok((bytes, words, format!("{} of this machine", path.display())))
}

/// Where the program's file is in memory.
#[cfg(target_arch = "x86_64")]
const BASE: u64 = 0x40_0000;

/// The smallest static program that says hello: an ELF header, one segment, two system calls.
#[cfg(target_arch = "x86_64")]
fn hello() -> Result<Vec<u8>> {
    const HEADERS: u64 = 64 + 56;
    const MESSAGE: &[u8] = b"hello\n";
    #[rustfmt::skip]
    let code = |message: u32| -> Vec<u8> {
        let [a, b, c, d] = message.to_le_bytes();
        vec![
            0xb8, 1, 0, 0, 0,     // mov eax, 1 (write)
            0xbf, 1, 0, 0, 0,     // mov edi, 1 (standard output)
            0xbe, a, b, c, d,     // mov esi, message
            0xba, 6, 0, 0, 0,     // mov edx, 6
            0x0f, 0x05,           // syscall
            0xb8, 60, 0, 0, 0,    // mov eax, 60 (exit)
            0x31, 0xff,           // xor edi, edi
            0x0f, 0x05,           // syscall
        ]
    };
    let message = u32::try_from(BASE + HEADERS + code(0).len() as u64).unwrap_or_default();
    let code = [code(message).as_slice(), MESSAGE].concat();
    let size = HEADERS + code.len() as u64;
    // 64 bits, little endian, version 1; an executable for x86-64.
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2_u16, 62].iter().flat_map(|half| half.to_le_bytes()));
    elf.extend(1_u32.to_le_bytes());
    // The entry, the program headers behind this one, no sections; no flags.
    elf.extend([BASE + HEADERS, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    elf.extend(0_u32.to_le_bytes());
    // The sizes of the headers and their number: one for a segment, none for sections.
    elf.extend([64_u16, 56, 1, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    // One segment to load: readable and executable, the whole file, aligned to a page.
    elf.extend([1_u32, 5].iter().flat_map(|half| half.to_le_bytes()));
    elf.extend([0, BASE, BASE, size, size, 0x1000].iter().flat_map(|word| word.to_le_bytes()));
    elf.extend(code);
    Ok(elf)
}

/// There is none for this machine.
#[cfg(not(target_arch = "x86_64"))]
fn hello() -> Result<Vec<u8>> {
    Err(Error::invalid("there is no static program that says hello for this processor").hint("name one by --linux-command"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_static_program_says_hello() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = Bundle::without_config(dir.path(), None).unwrap();
        let output = Command::new(bundle.program()).output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, b"hello\n");
    }

    #[test]
    fn a_users_program_is_called_as_in_its_root() {
        let (bytes, command, what) = users_program("/proc/self/exe --flag 'two words'").unwrap();
        assert!(bytes.starts_with(b"\x7fELF"));
        assert_eq!(command, ["/exe", "--flag", "two words"]);
        assert_eq!(what, "/proc/self/exe of this machine");
        assert!(users_program("/does/not/exist").is_err());
    }
}
