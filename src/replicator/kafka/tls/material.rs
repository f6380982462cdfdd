//! Certificates and keys in PEM, from files or bytes. An error never shows what is in a key.
//!
//! Floor 6.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::wrong;
use crate::{Error, Result};

/// All of a system's authorities are a quarter of this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where PEM comes from.
#[derive(Clone)]
pub(super) enum Pem {
    /// Read anew each time.
    File(PathBuf),
    Bytes(Arc<[u8]>),
}

impl Pem {
    pub(super) fn bytes(pem: impl Into<Vec<u8>>) -> Pem {
        Pem::Bytes(pem.into().into())
    }

    /// Where it is, for errors.
    pub(super) fn place(&self) -> String {
        match self {
            Pem::File(path) => path.display().to_string(),
            Pem::Bytes(bytes) => format!("{} bytes of PEM", bytes.len()),
        }
    }

    fn read(&self) -> Result<Arc<[u8]>> {
        let path = match self {
            Pem::Bytes(bytes) => return Ok(Arc::clone(bytes)),
            Pem::File(path) => path,
        };
        let cannot = |error| wrong(format!("{}: cannot be read: {error}", self.place()));
        let mut bytes = Vec::new();
        // A pipe or a device could be waited for without an end: a pipe is when it is opened.
        if !fs::metadata(path).map_err(cannot)?.is_file() {
            return Err(self.not("is no file"));
        }
        let file = File::open(path).map_err(cannot)?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
        match bytes.len() as u64 > FILE_BYTES_MAX {
            true => Err(self.not("is larger than 1 MiB")),
            false => Ok(bytes.into()),
        }
    }

    /// The certificates in it, one at least. `whose` is for the error.
    pub(super) fn certificates(&self, whose: &str) -> Result<Vec<CertificateDer<'static>>> {
        let bytes = self.read()?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let found = found.map_err(|error| self.not(broken(&error)))?;
        match found.is_empty() {
            true => Err(self.not(&format!(
                "has no certificate; the one of {whose} is awaited, in PEM: a line \
                 \"-----BEGIN CERTIFICATE-----\" and so on (openssl makes it of DER and PKCS#12)"
            ))),
            false => Ok(found),
        }
    }

    /// The key in it.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>> {
        let bytes = self.read()?;
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
            pem::Error::NoItemsFound if is_encrypted(&bytes) => {
                self.not("has an encrypted key; openssl pkey -in FILE -out NEW decrypts it")
            }
            pem::Error::NoItemsFound => self.not(
                "has no key; this device's is awaited, in PEM: a line \"-----BEGIN PRIVATE \
                 KEY-----\" and so on (RSA PRIVATE KEY, EC PRIVATE KEY)",
            ),
            error => self.not(broken(&error)),
        })
    }

    fn not(&self, what: &str) -> Error {
        wrong(format!("{}: {what}", self.place()))
    }
}

fn is_encrypted(bytes: &[u8]) -> bool {
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}

/// What is wrong with the PEM, and none of it.
fn broken(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "is cut short: a \"-----BEGIN\" has no \"-----END\"; copy it again"
        }
        pem::Error::IllegalSectionStart { .. } => "has a broken \"-----BEGIN\" line; copy it again",
        pem::Error::Base64Decode(_) => "has lines that are no base64; copy it again",
        _ => "is no PEM; copy it again",
    }
}
