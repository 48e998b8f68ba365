//! Fields of client certificates (RFC 5280).

use x509_cert::Certificate;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Any, Decode};

/// The attribute `commonName` (RFC 4519 section 2.3).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Returns the common name of the subject, and the last one of several as the original does. The caller must
/// have verified the certificate.
pub(super) fn common_name(der: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(der).ok()?;
    let subject = certificate.tbs_certificate().subject();
    let names = subject.iter().filter(|attribute| attribute.oid == COMMON_NAME);
    names.filter_map(|attribute| text(&attribute.value)).last()
}

/// Decodes the string types that RFC 5280 allows in names.
fn text(value: &Any) -> Option<String> {
    let utf8 = value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str().to_owned());
    utf8.or_else(|| Some(value.decode_as::<PrintableStringRef<'_>>().ok()?.as_str().to_owned()))
        .or_else(|| Some(value.decode_as::<TeletexStringRef<'_>>().ok()?.as_str().to_owned()))
        .or_else(|| Some(value.decode_as::<Ia5StringRef<'_>>().ok()?.as_str().to_owned()))
}
