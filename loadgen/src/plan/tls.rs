//! TLS of a run, as the arguments ask for it.

use std::net::IpAddr;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::arguments::load::LoadArguments;
use crate::tls::Tls;

/// `None` when it was not asked for. `address` is where the target is. The error is for the user.
pub fn tls(arguments: &LoadArguments, address: IpAddr) -> Result<Option<Tls>, String> {
    let Some(mode) = arguments.tls else { return Ok(None) };
    let name = match &arguments.tls_name {
        Some(name) => ServerName::try_from(name.clone())
            .map_err(|_| format!("--tls-name takes a host name or an address, not {name:?}"))?,
        None => name_of(&arguments.target).unwrap_or(ServerName::IpAddress(address.into())),
    };
    let roots = arguments.tls_verify.as_deref().map(roots).transpose()?;
    Tls::new(mode, name, roots, arguments.tls_resume, arguments.tls_version).map(Some)
}

/// The target's host, if it is a name.
fn name_of(target: &str) -> Option<ServerName<'static>> {
    let (host, _) = target.rsplit_once(':')?;
    let name = ServerName::try_from(host.to_owned()).ok()?;
    matches!(name, ServerName::DnsName(_)).then_some(name)
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("--tls-verify {}: {what}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() { Err(wrong(&"there is no certificate in it")) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::CommandLine;

    fn made(arguments: &str) -> Result<Option<Tls>, String> {
        let line = format!("loadgen {arguments}");
        let line = CommandLine::try_parse_from(line.split(' ')).expect("arguments");
        tls(&line.load.expect("a load"), IpAddr::from([127, 0, 0, 1]))
    }

    #[test]
    fn the_name_is_the_one_given_or_the_targets_or_an_address() {
        let name = |arguments: &str| {
            let tls = made(&format!("{arguments} --tls implicit"))?;
            Ok::<_, String>(tls.expect("TLS").name.to_str().into_owned())
        };
        assert_eq!(name("mx.test:25"), Ok("mx.test".to_owned()));
        assert_eq!(name("mx.test:25 --tls-name a.test"), Ok("a.test".to_owned()));
        for target in ["127.0.0.1:25", "[::1]:25"] {
            assert_eq!(name(target), Ok("127.0.0.1".to_owned()), "{target}");
        }
        assert!(name("mx.test:25 --tls-name -").is_err());
    }

    #[test]
    fn roots_that_cannot_be_read_are_told() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("roots.pem");
        assert!(roots(&path).is_err());
        std::fs::write(&path, "nothing\n").expect("written");
        assert!(roots(&path).is_err_and(|why| why.contains("no certificate")));
        let made = ringmx::tls::self_signed::make(&["mx.test".to_owned()]).expect("a certificate");
        std::fs::write(&path, made.chain).expect("written");
        assert_eq!(roots(&path).expect("roots").len(), 1);
    }

    #[test]
    fn without_the_argument_there_is_none() {
        assert!(made("mx.test:25").expect("arguments").is_none());
    }
}
