//! Certificates to test TLS with, made by `scripts/test-certificates.py`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of certificates, removed with this.
pub struct Certificates(PathBuf);

impl Certificates {
    pub fn make(test: &str) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts");
        let tools = Command::new("bash").arg(scripts.join("test-tools.sh")).output().unwrap();
        assert!(tools.status.success(), "{}", String::from_utf8_lossy(&tools.stderr));
        let said = String::from_utf8(tools.stdout).unwrap();
        let value = |name: &str| said.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('=')).unwrap();
        let dir = std::env::temp_dir().join(format!("hw-certificates-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let made = Command::new(value("PYTHON"))
            .env("PYTHONPATH", value("PYTHONPATH"))
            .args([scripts.join("test-certificates.py"), dir.clone()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(dir)
    }

    /// The certificate of this name.
    pub fn cert(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.pem"))
    }

    /// Its key.
    pub fn key(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}-key.pem"))
    }

    /// What makes a server show this certificate, and ask its clients for one of our CA's.
    pub fn server_args(&self, name: &str) -> [String; 3] {
        let arg = |option: &str, file: PathBuf| format!("--{option}={}", file.display());
        [arg("ssl-ca", self.cert("ca")), arg("ssl-cert", self.cert(name)), arg("ssl-key", self.key(name))]
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
