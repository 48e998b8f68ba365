//! What `revoke` asks for.

use common::control::Revocation;
use common::tokens::hash::{HashError, TokenHash};

use crate::command_line::{Session, Which};
use crate::instances::CtlError;
use crate::secret;

/// The request for these options. It has hashes in place of a token.
///
/// # Errors
///
/// Fails if the file of the token can't be read, or is empty.
pub(crate) fn which(which: Which) -> Result<Revocation, CtlError> {
    let Which { session, user, token_file, .. } = which;
    if let Some(Session { number, run }) = session {
        return Ok(Revocation::Session { number, run });
    }
    if let Some(user) = user {
        return Ok(Revocation::User(user));
    }
    let Some(path) = token_file else { return Ok(Revocation::All) };
    let token = secret::read(&path).map_err(CtlError::Config)?;
    match token.parse() {
        _ if token.is_empty() => Err(CtlError::Config(format!("{}: it is empty", path.display()))),
        Ok(hash) => Ok(Revocation::Token { hash, signed: None }),
        Err(error @ HashError::Digits) => Err(CtlError::Config(format!("{}: {error}", path.display()))),
        Err(HashError::Prefix) => {
            Ok(Revocation::Token { hash: TokenHash::of(&token), signed: TokenHash::of_signed(&token) })
        }
    }
}
