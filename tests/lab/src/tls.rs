//! A certificate authority that nobody knows but who is told.

use std::{fs, io, net::IpAddr, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// The authority's certificate, and one for a server that it signed, as files.
#[derive(Debug)]
pub(crate) struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// Makes both anew. The server's is valid for one address and `localhost`.
    pub(crate) fn create(server: IpAddr) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "homelab authority");
        let own = params.self_signed(&key).map_err(io::Error::other)?;

        let server_key = KeyPair::generate().map_err(io::Error::other)?;
        let names = vec![server.to_string(), "localhost".to_owned()];
        let mut server_params = CertificateParams::new(names).map_err(io::Error::other)?;
        server_params.distinguished_name.push(DnType::CommonName, "homelab s3");
        let issuer = Issuer::new(params, key);
        let signed = server_params.signed_by(&server_key, &issuer).map_err(io::Error::other)?;

        let authority = Self { folder: tempfile::tempdir()? };
        fs::write(authority.pem(), own.pem())?;
        // MinIO wants these names.
        fs::create_dir(authority.server_folder())?;
        fs::write(authority.server_folder().join("public.crt"), signed.pem())?;
        fs::write(authority.server_folder().join("private.key"), server_key.serialize_pem())?;
        Ok(authority)
    }

    /// The authority's certificate.
    pub(crate) fn pem(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The folder with the server's certificate and key.
    pub(crate) fn server_folder(&self) -> PathBuf {
        self.folder.path().join("server")
    }

    /// What a server of this process needs.
    pub(crate) fn identity(&self) -> io::Result<tokio_native_tls::native_tls::Identity> {
        let folder = self.server_folder();
        let (certificate, key) =
            (fs::read(folder.join("public.crt"))?, fs::read(folder.join("private.key"))?);
        tokio_native_tls::native_tls::Identity::from_pkcs8(&certificate, &key).map_err(io::Error::other)
    }
}
