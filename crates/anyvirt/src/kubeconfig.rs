//! The kubeconfig: a context named `anyvirt` in, the user's other contexts left as they are.

use kube::config::{
    AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Name of our cluster, user and context in a kubeconfig.
pub(crate) const CONTEXT: &str = "anyvirt";

/// What a client needs to reach this server as its administrator.
#[derive(Debug, Clone)]
pub(crate) struct Access<'a> {
    /// `https://127.0.0.1:6443`.
    pub(crate) server: &'a str,
    /// The server's certificate authority, PEM.
    pub(crate) authority_pem: &'a str,
    /// Client certificate, PEM.
    pub(crate) certificate_pem: &'a str,
    /// Its key, PEM.
    pub(crate) key_pem: &'a str,
}

/// Puts our context into `existing` (or into an empty file). The current context is set only where there is none.
pub(crate) fn with_context(existing: Option<Kubeconfig>, access: &Access<'_>) -> Kubeconfig {
    let mut config = existing.unwrap_or_default();
    config.clusters.retain(|cluster| cluster.name != CONTEXT);
    config.auth_infos.retain(|user| user.name != CONTEXT);
    config.contexts.retain(|context| context.name != CONTEXT);
    config.clusters.push(NamedCluster {
        name: CONTEXT.to_owned(),
        cluster: Some(Cluster {
            server: Some(access.server.to_owned()),
            certificate_authority_data: Some(base64(access.authority_pem)),
            ..Cluster::default()
        }),
        ..NamedCluster::default()
    });
    config.auth_infos.push(NamedAuthInfo {
        name: CONTEXT.to_owned(),
        auth_info: Some(AuthInfo {
            client_certificate_data: Some(base64(access.certificate_pem)),
            client_key_data: Some(base64(access.key_pem).into()),
            ..AuthInfo::default()
        }),
        ..NamedAuthInfo::default()
    });
    config.contexts.push(NamedContext {
        name: CONTEXT.to_owned(),
        context: Some(Context {
            cluster: CONTEXT.to_owned(),
            user: Some(CONTEXT.to_owned()),
            ..Context::default()
        }),
        ..NamedContext::default()
    });
    config.kind.get_or_insert_with(|| "Config".to_owned());
    config.api_version.get_or_insert_with(|| "v1".to_owned());
    config
        .current_context
        .get_or_insert_with(|| CONTEXT.to_owned());
    config
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Reads `path`, puts our context in, and replaces the file in one step, readable by its owner only.
/// True if ours is now the current context. Err: which step failed.
pub(crate) fn write(path: &Path, access: &Access<'_>) -> Result<bool, String> {
    let existing = match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => None,
        Ok(text) => Some(Kubeconfig::from_yaml(&text).map_err(|error| {
            format!("{} is no kubeconfig ({error}); move it away or name another file with --kubeconfig", path.display())
        })?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(format!("cannot read kubeconfig {}: {error}", path.display())),
    };
    let config = with_context(existing, access);
    let text = serde_saphyr::to_string(&config)
        .map_err(|error| format!("cannot write a kubeconfig as YAML: {error}"))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let failed = |what: &str, error: std::io::Error| {
        format!("cannot {what} for kubeconfig {}: {error}", path.display())
    };
    std::fs::create_dir_all(folder).map_err(|error| failed("make the folder", error))?;
    let temporary = path.with_extension("anyvirt-new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(|error| failed("make a new file", error))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| failed("write a new file", error))?;
    std::fs::rename(&temporary, path)
        .map_err(|error| failed("put the new file in place", error))?;
    Ok(config.current_context.as_deref() == Some(CONTEXT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: Access<'_> = Access {
        server: "https://127.0.0.1:1",
        authority_pem: "A",
        certificate_pem: "C",
        key_pem: "K",
    };

    #[test]
    fn a_new_file_has_our_context_as_the_current_one_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/kubeconfig");
        assert!(write(&path, &ACCESS).unwrap());
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let read = Kubeconfig::read_from(&path).unwrap();
        assert_eq!(read.current_context.as_deref(), Some("anyvirt"));
    }

    #[test]
    fn other_contexts_stay_and_ours_is_replaced_not_doubled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let other = "apiVersion: v1\nkind: Config\ncurrent-context: work\ncontexts: [{name: work, context: {cluster: c, user: u}}]\n";
        std::fs::write(&path, other).unwrap();
        assert!(!write(&path, &ACCESS).unwrap());
        assert!(
            !write(
                &path,
                &Access {
                    server: "https://127.0.0.1:2",
                    ..ACCESS
                }
            )
            .unwrap()
        );
        let read = Kubeconfig::read_from(&path).unwrap();
        let names: Vec<_> = read
            .contexts
            .iter()
            .map(|context| context.name.as_str())
            .collect();
        assert_eq!(names, ["work", "anyvirt"]);
        assert_eq!(
            read.clusters[0].cluster.as_ref().unwrap().server.as_deref(),
            Some("https://127.0.0.1:2")
        );
    }

    #[test]
    fn a_file_that_is_no_kubeconfig_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, "just: [text").unwrap();
        assert!(write(&path, &ACCESS).unwrap_err().contains("--kubeconfig"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "just: [text");
    }
}
