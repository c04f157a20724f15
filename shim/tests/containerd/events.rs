//! What containerd tells those who listen.

use crate::harness::{Containerd, eventually};
use std::io::Read as _;
use std::process::Child;
use std::sync::{Arc, Mutex};

/// A listener to all events of a containerd.
pub(crate) struct Events {
    listener: Child,
    heard: Arc<Mutex<String>>,
}

impl Events {
    /// Listens from now on.
    pub(crate) fn listen(containerd: &Containerd) -> Self {
        let mut listener = containerd.spawn_ctr(&["events"]);
        let (mut stdout, heard) = (listener.stdout.take().unwrap(), Arc::<Mutex<String>>::default());
        let text = Arc::clone(&heard);
        // Ends with the listener.
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut chunk) {
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        });
        let events = Self { listener, heard };
        // It listens once it has shown something.
        eventually("the listener listens", || {
            containerd.ctr(&["namespaces", "label", "default", "a=b"]);
            !events.heard().is_empty()
        });
        events
    }

    /// All that was told so far.
    pub(crate) fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }

    /// Waits for a line about a task's topic, such as `/tasks/exit`, for the `count`th time; that line.
    pub(crate) fn until(&self, topic: &str, count: usize) -> String {
        let mut found = None;
        eventually(topic, || {
            found = self.heard().lines().filter(|line| line.contains(topic)).nth(count - 1).map(str::to_owned);
            found.is_some()
        });
        found.unwrap()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.listener.kill().unwrap();
        self.listener.wait().unwrap();
    }
}
