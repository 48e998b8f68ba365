//! Warnings about the certificate of an instance and its key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::certificate::{not_after, read_all};
use common::config::Config;
use zeroize::Zeroizing;

/// Time before the expiry of a certificate from which a warning is printed.
const NOTICE: Duration = Duration::from_secs(14 * DAY);
const DAY: u64 = 86400;

/// Permission for all users to read the file.
const READABLE_BY_ALL: u32 = 0o004;

/// Returns the warnings about an instance.
pub(crate) fn problems(config: &Config) -> Vec<String> {
    let Some(tls) = &config.tls else { return Vec::new() };
    let key = tls.key.as_ref().unwrap_or(&tls.certificate);
    let mut problems = Vec::new();
    // Unreadable files are reported elsewhere.
    let file = Zeroizing::new(fs::read(&tls.certificate).unwrap_or_default());
    if let Some(leaf) = read_all(&file).unwrap_or_default().first() {
        problems.extend(not_after(leaf).and_then(|end| ends_soon(&tls.certificate, end, SystemTime::now())));
    }
    if fs::metadata(key).is_ok_and(|file| file.permissions().mode() & READABLE_BY_ALL != 0) {
        problems.push(format!(
            "warning: tls.key: {} is readable by all users\nhelp: chmod o= {}",
            key.display(),
            key.display()
        ));
    }
    problems
}

fn ends_soon(path: &Path, end: SystemTime, now: SystemTime) -> Option<String> {
    let what = match end.duration_since(now) {
        Ok(left) if left > NOTICE => return None,
        Ok(left) => format!("expires in {} days", left.as_secs() / DAY),
        Err(_) => "has expired".into(),
    };
    Some(format!(
        "warning: tls.certificate: {} {what}\nhelp: renew it; the next connection uses the new one",
        path.display(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expiry_of_a_certificate_is_reported_in_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 * DAY);
        let told = |end: u64| {
            let end = SystemTime::UNIX_EPOCH + Duration::from_secs(end);
            let said = ends_soon(Path::new("/c"), end, now)?;
            Some(said.lines().next()?.split("/c ").nth(1)?.to_owned())
        };
        assert_eq!(told(1000 * DAY - 1).as_deref(), Some("has expired"));
        assert_eq!(told(1000 * DAY + 1).as_deref(), Some("expires in 0 days"));
        assert_eq!(told(1013 * DAY + 1).as_deref(), Some("expires in 13 days"));
        assert_eq!(told(1015 * DAY), None);
    }
}
