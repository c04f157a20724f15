//! OCI layouts and archives.
