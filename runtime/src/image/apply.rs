//! What an image's config adds to a container, and its files as the container's `/`: the merge that Kubernetes leaves to the
//! container runtime.
//!
//! The pod's spec stays plain data: afterwards nothing behind needs to know that there was an image config.

use super::{Contents, Image};
use crate::pod::spec::ContainerSpec;

impl Image {
    /// What a container of this image runs: the program and its arguments; empty when neither the container nor the image says it.
    pub fn argv(&self, container: &ContainerSpec) -> Vec<String> {
        match (&self.contents, container.command.is_empty() && self.config.entrypoint.is_empty()) {
            // The one program of an artifact needs no name; the arguments must not be taken for one.
            (Contents::Module(_), true) => Vec::new(),
            _ => self.config.argv(&container.command, &container.args),
        }
    }

    /// Gives the container what the image's config says and the container does not: command and arguments, variables, working folder.
    /// `command` replaces the image's entrypoint *and* its arguments, `args` the arguments alone; a variable of the container replaces
    /// the image's of that name.
    pub fn configure(&self, container: &mut ContainerSpec) {
        let argv = self.argv(container);
        if !argv.is_empty() {
            (container.command, container.args) = (argv, Vec::new());
        } else if container.args.is_empty() {
            container.args.clone_from(&self.config.cmd);
        }
        let mut env: Vec<(String, String)> = Vec::new();
        for (name, value) in self.config.env.iter().chain(&container.env) {
            match env.iter_mut().find(|(known, _)| known == name) {
                Some(known) => known.1.clone_from(value),
                None => env.push((name.clone(), value.clone())),
            }
        }
        container.env = env;
        if container.working_dir.is_none() {
            container.working_dir.clone_from(&self.config.working_dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Descriptor, ImageConfig, Platform};
    use super::*;
    use crate::pod::spec::ContainerRole;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn image(contents: Contents, entrypoint: &[&str], cmd: &[&str]) -> Image {
        let descriptor = Descriptor::of("application/wasm", b"");
        let config = ImageConfig {
            entrypoint: texts(entrypoint),
            cmd: texts(cmd),
            env: vec![("A".to_owned(), "image".to_owned()), ("B".to_owned(), "image".to_owned())],
            working_dir: Some("/srv".to_owned()),
        };
        let (digest, platform) = (descriptor.digest, Platform::default());
        Image { digest, manifest: descriptor.clone(), config_descriptor: descriptor, config, platform, contents }
    }

    fn configured(image: &Image, command: &[&str], args: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut container = ContainerSpec::new("web", ContainerRole::App, "x");
        (container.command, container.args) = (texts(command), texts(args));
        image.configure(&mut container);
        (container.command, container.args)
    }

    #[test]
    fn command_replaces_entrypoint_and_arguments_and_args_the_arguments() {
        let files = image(Contents::RootFileSystem(Vec::new()), &["/app.wasm", "-v"], &["serve"]);
        assert_eq!(configured(&files, &[], &[]).0, ["/app.wasm", "-v", "serve"]);
        assert_eq!(configured(&files, &[], &["x"]).0, ["/app.wasm", "-v", "x"]);
        assert_eq!(configured(&files, &["/b.wasm"], &[]).0, ["/b.wasm"]);
        assert_eq!(configured(&files, &["/b.wasm"], &["x"]).0, ["/b.wasm", "x"]);
    }

    #[test]
    fn an_artifact_without_entrypoint_leaves_the_name_to_the_container() {
        let module = image(Contents::Module(Descriptor::of("application/wasm", b"")), &[], &["serve"]);
        assert_eq!(configured(&module, &[], &[]), (Vec::new(), texts(&["serve"])));
        assert_eq!(configured(&module, &[], &["x"]), (Vec::new(), texts(&["x"])));
        assert_eq!(configured(&module, &["name"], &["x"]).0, ["name", "x"]);
    }

    #[test]
    fn variables_and_working_folder_of_the_container_come_first() {
        let image = image(Contents::RootFileSystem(Vec::new()), &["/app.wasm"], &[]);
        let mut container = ContainerSpec::new("web", ContainerRole::App, "x");
        container.env = vec![("B".to_owned(), "own".to_owned()), ("C".to_owned(), "own".to_owned())];
        image.configure(&mut container);
        let env: Vec<String> = container.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["A=image", "B=own", "C=own"]);
        assert_eq!(container.working_dir.as_deref(), Some("/srv"));
        container.working_dir = Some("/own".to_owned());
        image.configure(&mut container);
        assert_eq!(container.working_dir.as_deref(), Some("/own"));
    }
}
